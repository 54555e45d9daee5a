package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/doctor"
)

func doctorCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "check the network, disks, exports and boards, and explain problems",
		ArgsUsage: "[PI...]", Description: "doctor checks the named Pis, or all of them. Without a running daemon it checks what would keep pibootd serve from starting.",
		Flags: daemonFlags(
			&cli.StringFlag{Name: "interface", Aliases: []string{"i"}, Usage: "check the network `INTERFACE` if no daemon is running"},
			&cli.StringFlag{Name: "config", Usage: "check the configuration `FILE` if no daemon is running", DefaultText: installedConfig + ", if it exists"},
		),
		Action: func(c *cli.Context) error { return examine(c, std) },
	}
}

func examine(c *cli.Context, std streams) error {
	m := newMeter(std)
	if std.terminal {
		m.show(progress{label: "checking, which takes some seconds"})
	}
	found, err := client(c).Examine(c.Context, c.Args().Slice())
	m.clear()
	if isNotRunning(err) && !isRemote(c) {
		found, err = examineWithoutDaemon(c), nil
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = printJSON(std.out, found)
	} else {
		err = printFindings(std.out, found)
	}
	problems := 0
	for _, f := range found {
		if f.Level == doctor.Problem {
			problems++
		}
	}
	if problems > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d findings are problems", problems, len(found)))
	}
	return err
}

// printFindings prints a finding as one line, and what to do below it. Texts of
// boards and of other servers could contain control characters.
func printFindings(w io.Writer, found []doctor.Finding) error {
	width := 0
	for _, f := range found {
		width = max(width, len(f.Subject))
	}
	var out strings.Builder
	for _, f := range found {
		fmt.Fprintf(&out, "%-8s %-*s  %s\n", f.Level, width, f.Subject, strings.Map(graphic, f.Text))
		if f.Todo != "" {
			fmt.Fprintf(&out, "%-8s %-*s  -> %s\n", "", width, "", strings.Map(graphic, f.Todo))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func graphic(r rune) rune {
	if unicode.IsGraphic(r) {
		return r
	}
	return '?'
}
