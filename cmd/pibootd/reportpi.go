package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"pibootd/internal/durable"
)

func reportCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "pack what is known of a Pi into one file for a bug report",
		ArgsUsage: "PI",
		Description: describePi + " The file has its settings, diagnosis, events and log, versions, the configuration, and the requests of the last boot. " +
			"Passwords, tokens and keys are removed. Names and addresses are not: read it before you publish it.",
		Flags:  daemonFlags(&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`; - is standard output", DefaultText: "NAME-report.md"}),
		Action: func(c *cli.Context) error { return writeReport(c, std) },
	}
}

func writeReport(c *cli.Context, std streams) error {
	args, err := arguments(c, "PI")
	if err != nil {
		return err
	}
	board, err := client(c).Pi(c.Context, args[0])
	if err != nil {
		return err
	}
	made, err := client(c).Report(c.Context, board.Serial.String())
	if err != nil {
		return err
	}
	file := c.String("output")
	if file == "" {
		file = board.Name + "-report.md"
	}
	if c.Bool("json") {
		return printJSON(std.out, made)
	}
	if file == "-" {
		_, err := io.WriteString(std.out, made.Text)
		return err
	}
	if err := durable.WriteFile(file, []byte(made.Text), 0o600); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	_, err = fmt.Fprintf(std.out, "%s written, %s; read it before you publish it: it has names and addresses\n", file, byteText(int64(len(made.Text))))
	return err
}
