package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/fleet"
	"pibootd/pkg/registry"
)

func editPiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "edit-pi",
		Usage:     "change a Pi's settings",
		ArgsUsage: "PI", Description: describePi + " Settings that are not given stay as they are. 0 unsets a number.",
		Flags: daemonFlags(append(slices.Concat(withoutDefaults(settingFlags()), clearFlags(new(registry.Settings).Table())),
			&cli.BoolFlag{Name: "force", Usage: "change the address even if the Pi is running or another host uses the new one"})...),
		Action: func(c *cli.Context) error { return editPi(c, std) },
	}
}

func editPi(c *cli.Context, std streams) error {
	args, err := arguments(c, "PI")
	if err != nil {
		return err
	}
	edit, err := editOf(c)
	if err != nil {
		return usageError{hintedError{err, helpHint(c)}}
	}
	edit.Force = c.Bool("force")
	edited, err := client(c).EditPi(c.Context, args[0], edit)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, edited)
	}
	board, err := client(c).Pi(c.Context, edited.Pi.Serial.String())
	if err != nil {
		return err
	}
	return printEdited(std.out, edited, board.Online)
}

// editOf reads the flags that were given.
func editOf(c *cli.Context) (e fleet.Edit, err error) {
	table := e.Settings.Table()
	if e.Fields, err = clearedSettings(c, table); err != nil {
		return e, err
	}
	e.Fields = append(e.Fields, readSettings(c, table)...)
	if c.IsSet("name") {
		name := c.String("name")
		e.Name = &name
	}
	if c.IsSet("ip") {
		ip, err := parseIP(c)
		if err != nil {
			return e, err
		}
		e.IP = &ip
	}
	if len(e.Fields) == 0 && e.Name == nil && e.IP == nil {
		return e, errors.New("no setting to change was given")
	}
	return e, nil
}

func printEdited(w io.Writer, edited fleet.Edited, online bool) error {
	var out strings.Builder
	if len(edited.Changed) == 0 {
		fmt.Fprintf(&out, "%s already has these settings: nothing changed\n", edited.Pi.Name)
	} else {
		fmt.Fprintf(&out, "%s changed\n", edited.Pi.Name)
	}
	for _, change := range edited.Changed {
		fmt.Fprintf(&out, "  %s\n", change)
	}
	if len(edited.Proof) > 0 {
		fmt.Fprintf(&out, "  export to %s only, proved by a mount\n", edited.Pi.IP)
	}
	if online {
		out.WriteString(takesEffect(edited.Changed))
	}
	_, err := io.WriteString(w, out.String())
	return err
}
