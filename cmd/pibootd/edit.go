package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/fleet"
)

func editPiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "edit-pi",
		Usage:     "change a Pi's settings",
		ArgsUsage: "PI", Description: describePi + " Settings that are not given stay as they are.",
		Flags: daemonFlags(append(settingFlags(),
			&cli.BoolFlag{Name: "no-args", Usage: "remove all added kernel arguments"},
			&cli.BoolFlag{Name: "no-labels", Usage: "remove all labels"},
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
func editOf(c *cli.Context) (fleet.Edit, error) {
	var e fleet.Edit
	given := 0
	ifSet := func(flag string, apply func()) {
		if c.IsSet(flag) {
			given++
			apply()
		}
	}
	ifSet("name", func() { v := c.String("name"); e.Name = &v })
	ifSet("muxid", func() { v := c.Int("muxid"); e.MuxID = &v })
	ifSet("muxhwdec", func() { v := c.Bool("muxhwdec"); e.HWDecode = &v })
	ifSet("volatile", func() { v := c.Bool("volatile"); e.Volatile = &v })
	ifSet("gpu-mem", func() { v := c.Int("gpu-mem"); e.GPUMem = &v })
	ifSet("boot-menu", func() { v := c.String("boot-menu"); e.BootMenu = &v })
	ifSet("arg", func() { v := c.StringSlice("arg"); e.Args = &v })
	ifSet("config", func() { e.Config = c.StringSlice("config") })
	ifSet("label", func() { v := c.StringSlice("label"); e.Labels = &v })
	ifSet("weight", func() { v := c.Float64("weight"); e.Weight = &v })
	ifSet("no-labels", func() { e.Labels = &[]string{} })
	ifSet("no-args", func() { e.Args = &[]string{} })
	var err error
	ifSet("ip", func() {
		ip, parseErr := parseIP(c)
		e.IP, err = &ip, parseErr
	})
	switch {
	case err != nil:
		return e, err
	case given == 0:
		return e, errors.New("no setting to change was given")
	case c.IsSet("arg") && c.IsSet("no-args"):
		return e, errors.New("--arg and --no-args exclude each other")
	case c.IsSet("label") && c.IsSet("no-labels"):
		return e, errors.New("--label and --no-labels exclude each other")
	}
	return e, nil
}

// isWeight and isLabels recognize the changes that take effect without a reboot.
func isWeight(change string) bool { return strings.HasPrefix(change, "weight ") }
func isLabels(change string) bool { return strings.HasPrefix(change, "labels ") }

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
	if online && slices.ContainsFunc(edited.Changed, func(change string) bool { return !isWeight(change) && !isLabels(change) }) {
		fmt.Fprintln(&out, "it is running: this takes effect at its next boot")
	}
	if online && slices.ContainsFunc(edited.Changed, isWeight) {
		fmt.Fprintln(&out, "its worker applies the weight within half a minute")
	}
	if online && slices.ContainsFunc(edited.Changed, isLabels) {
		fmt.Fprintln(&out, "its worker applies the labels to the next unit that it requests")
	}
	_, err := io.WriteString(w, out.String())
	return err
}
