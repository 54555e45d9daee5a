package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func drainCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "drain", Usage: "let a worker finish its unit, and give it no more work", ArgsUsage: "PI|WORKER", Flags: daemonFlags(),
		Action: func(c *cli.Context) error { return drain(c, std, true) },
	}
}

func undrainCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "undrain", Usage: "give a drained worker work again", ArgsUsage: "PI|WORKER", Flags: daemonFlags(),
		Action: func(c *cli.Context) error { return drain(c, std, false) },
	}
}

func drain(c *cli.Context, std streams, on bool) error {
	args, err := arguments(c, "PI")
	if err != nil {
		return err
	}
	drained, err := client(c).Drain(c.Context, args[0], on)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, drained)
	}
	text := "accepts work again"
	if on {
		text = "accepts no more work"
		if drained.Job != 0 {
			text += fmt.Sprintf("; it finishes %s of job %d", drained.Unit, drained.Job)
		}
	}
	_, err = fmt.Fprintf(std.out, "%s %s\n", drained.Pi, text)
	return err
}
