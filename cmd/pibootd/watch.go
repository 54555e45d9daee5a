package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/timeline"
	"pibootd/pkg/web"
)

func watchCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "show what the Pis do while they boot and work",
		ArgsUsage: "[PI|WORKER]",
		Flags: daemonFlags(
			&cli.BoolFlag{Name: "all", Usage: fmt.Sprintf("show the whole history first instead of the last %d events", recent)},
			&cli.BoolFlag{Name: "no-follow", Usage: "show the history only"},
		),
		Action: func(c *cli.Context) error { return watch(c, std) },
	}
}

// recent is how many old events are shown before the live ones.
const recent = 20

func watch(c *cli.Context, std streams) error {
	if c.Args().Len() > 1 {
		_, err := arguments(c, "[PI]")
		return err
	}
	board := c.Args().First()
	past, err := history(c, board)
	if err != nil {
		return err
	}
	last := int64(0)
	if len(past) > 0 {
		last = past[len(past)-1].ID
	}
	if !c.Bool("all") && len(past) > recent {
		past = past[len(past)-recent:]
	}
	for _, event := range past {
		if err := printEvent(c, std, event); err != nil {
			return err
		}
	}
	if err := printDiagnosis(c, std, board); err != nil || c.Bool("no-follow") {
		return err
	}
	return follow(c, std, board, last)
}

// printDiagnosis prints how the one board is that is watched. What changes later is an event.
func printDiagnosis(c *cli.Context, std streams, ref string) error {
	if ref == "" || c.Bool("json") {
		return nil
	}
	board, err := client(c).Pi(c.Context, ref)
	if refusal := (web.Refusal{}); errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
		return nil // a worker on another machine
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(std.out, diagnosisText(board.Diagnosis))
	return err
}

func history(c *cli.Context, board string) ([]timeline.Event, error) {
	var past []timeline.Event
	for event, err := range client(c).Events(c.Context, board) {
		if err != nil {
			return nil, err
		}
		past = append(past, event)
	}
	return past, nil
}

func follow(c *cli.Context, std streams, board string, after int64) error {
	for event, err := range client(c).Follow(c.Context, board, after) {
		if c.Context.Err() != nil {
			return nil // the user has seen enough
		}
		if err == nil {
			err = printEvent(c, std, event)
		}
		if err != nil {
			return err
		}
	}
	if c.Context.Err() != nil {
		return nil
	}
	return errDaemonGone
}

func printEvent(c *cli.Context, std streams, event timeline.Event) error {
	if c.Bool("json") {
		return printJSONLine(std.out, event)
	}
	_, err := fmt.Fprintln(std.out, event)
	return err
}
