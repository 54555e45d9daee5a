package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/config"
)

func configCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:   "config",
		Usage:  "check a configuration file, or print an example",
		Action: unknownCommand,
		Subcommands: []*cli.Command{
			{Name: "check", Usage: "check a configuration file and list every problem", ArgsUsage: "FILE", Flags: []cli.Flag{jsonFlag()}, Action: func(c *cli.Context) error { return checkConfig(c, std) }},
			{Name: "example", Usage: "print every setting with its default and explanation", Flags: []cli.Flag{jsonFlag()}, Action: func(c *cli.Context) error { return exampleConfig(c, std) }},
		},
	}
}

func checkConfig(c *cli.Context, std streams) error {
	args, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	parsed, err := config.Load(args[0])
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, parsed)
	}
	_, err = fmt.Fprintf(std.out, "%s: no problems found\n", args[0])
	return err
}

func exampleConfig(c *cli.Context, std streams) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, config.Default())
	}
	_, err := io.WriteString(std.out, config.Example())
	return err
}
