package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

// The scripts ask pibootd itself for the possible next words.
const (
	bashCompletion = `_pibootd() {
  local cur="${COMP_WORDS[COMP_CWORD]}" words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  if [[ "$cur" == -* ]]; then words+=("$cur"); fi
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o default -F _pibootd pibootd
`
	zshCompletion = `#compdef pibootd
_pibootd() {
  local -a found
  local cur="${words[CURRENT]}" asked=("${(@)words[1,CURRENT-1]}")
  if [[ "$cur" == -* ]]; then asked+=("$cur"); fi
  found=("${(@f)$("${asked[@]}" --generate-bash-completion 2>/dev/null)}")
  compadd -a found || _files
}
compdef _pibootd pibootd
`
)

// setCompletion makes commands complete visible flags only: the library offers
// hidden ones too.
func setCompletion(app *cli.App) {
	walk(app.Commands, app.Name, func(_ string, command *cli.Command) {
		if command.BashComplete != nil {
			return
		}
		offered := &cli.Command{Subcommands: command.Subcommands}
		for _, flag := range visibleFlags(command) {
			offered.Flags = append(offered.Flags, flag)
		}
		command.BashComplete = cli.DefaultCompleteWithFlags(offered)
	})
}

func completionCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "print a completion script for bash or zsh",
		Description: "To complete commands and options in the present shell: source <(pibootd completion bash)",
		ArgsUsage:   "bash|zsh",
		BashComplete: func(*cli.Context) {
			fmt.Fprintln(std.out, "bash\nzsh")
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "SHELL")
			if err != nil {
				return err
			}
			switch args[0] {
			case "bash":
				_, err = io.WriteString(std.out, bashCompletion)
			case "zsh":
				_, err = io.WriteString(std.out, zshCompletion)
			default:
				err = usageError{fmt.Errorf("no completion for %q; want bash or zsh", args[0])}
			}
			return err
		},
	}
}
