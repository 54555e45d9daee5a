package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves the flags of a command line before its arguments, because
// the flag parser treats everything after the first argument as arguments. After
// "--" everything is an argument.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) == 0 || slices.Contains(args, "--generate-bash-completion") {
		return args
	}
	out := args[:1:1]
	commands, known := app.Commands, app.Flags
	server, rest := cutServer(args[1:])
	for len(rest) > 0 {
		command := find(commands, rest[0])
		if command == nil {
			break
		}
		out = append(out, rest[0])
		commands, known, rest = command.Subcommands, command.Flags, rest[1:]
	}
	flags, arguments := split(known, rest)
	out = append(append(out, server...), flags...)
	if len(arguments) > 0 {
		out = append(append(out, "--"), arguments...)
	}
	return out
}

// cutServer cuts off the flags about a server that stand before the command.
func cutServer(args []string) (server, rest []string) {
	for len(args) > 0 {
		name, _, hasValue := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		isServer := func(f cli.Flag) bool { return strings.HasPrefix(args[0], "-") && f.Names()[0] == name }
		n := 1
		if !hasValue {
			n = 2
		}
		if !slices.ContainsFunc(serverFlags(), isServer) || len(args) < n {
			break
		}
		server, args = append(server, args[:n]...), args[n:]
	}
	return server, args
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, command := range commands {
		if command.HasName(name) {
			return command
		}
	}
	return nil
}

// split separates flags, each with its value, from arguments.
func split(known []cli.Flag, args []string) (flags, arguments []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return flags, append(arguments, args[i+1:]...)
		case arg == "--help" || arg == "-h":
			return []string{"--help"}, nil // with arguments, the library would look for a command of that name
		case !strings.HasPrefix(arg, "-") || arg == "-":
			arguments = append(arguments, arg)
		default:
			flags = append(flags, arg)
			if hasValue(known, arg) && i+1 < len(args) {
				i++
				flags = append(flags, args[i])
			}
		}
	}
	return flags, arguments
}

// hasValue reports whether the word after flag is its value.
func hasValue(known []cli.Flag, flag string) bool {
	name := strings.TrimLeft(flag, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, candidate := range known {
		if !slices.Contains(candidate.Names(), name) {
			continue
		}
		_, isBool := candidate.(*cli.BoolFlag)
		return !isBool
	}
	return false
}
