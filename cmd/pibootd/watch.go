package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pibootd/internal/pause"
	"pibootd/pkg/boardlog"
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
			&cli.BoolFlag{Name: "logs", Usage: "show what the Pis log, too"},
			&cli.StringFlag{Name: "grep", Usage: "show only events and lines with `TEXT`, in upper or lower case"},
		),
		Action: func(c *cli.Context) error {
			err := watch(c, std)
			if errors.Is(err, context.Canceled) {
				return nil // the user ends it, whatever it does at that moment
			}
			return err
		},
	}
}

const (
	// recent is how many old events are shown before the live ones, and recentLines how
	// many old lines of logs.
	recent      = 20
	recentLines = 200
)

// A shown is an event or a line of a log.
type shown struct {
	at   time.Time
	item fmt.Stringer
}

func watch(c *cli.Context, std streams) error {
	if c.Args().Len() > 1 {
		_, err := arguments(c, "[PI]")
		return err
	}
	err := watchBoard(c, std, c.Args().First())
	if c.Context.Err() != nil {
		return nil // the user has seen enough
	}
	return err
}

func watchBoard(c *cli.Context, std streams, board string) error {
	s := screenOf(c, std)
	event, line, err := printPast(c, std, s, board)
	if err != nil {
		return err
	}
	if c.String("grep") == "" {
		err = printDiagnosis(c, std, board)
	}
	if err != nil || c.Bool("no-follow") {
		return err
	}
	return follow(c, std, board, event, line, s)
}

// screenOf returns the terminal that standard output is; nil: it is none, or programs
// read it.
func screenOf(c *cli.Context, std streams) *screen {
	if !std.screen || c.Bool("json") {
		return nil
	}
	return &screen{out: std.out, width: std.width, colour: os.Getenv("NO_COLOR") == ""}
}

// printPast prints what has happened, and returns the numbers of the last event and line.
func printPast(c *cli.Context, std streams, s *screen, board string) (event, line int64, err error) {
	past, event, err := history(c, board)
	if err == nil && c.Bool("logs") {
		var logged []shown
		logged, line, err = logHistory(c, board)
		past = slices.Concat(past, logged)
		slices.SortStableFunc(past, func(a, b shown) int { return a.at.Compare(b.at) })
	}
	for _, one := range past {
		if err := printShown(c, std, s, one); err != nil {
			return 0, 0, err
		}
	}
	return event, line, err
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

// history returns the events to show first, and the number of the last one that there is.
func history(c *cli.Context, board string) (past []shown, last int64, err error) {
	for event, err := range client(c).Events(c.Context, board) {
		if err != nil {
			return nil, 0, err
		}
		last = event.ID
		if matches(c, event) {
			past = append(past, shown{event.At, event})
		}
	}
	if !c.Bool("all") && len(past) > recent {
		past = past[len(past)-recent:]
	}
	return past, last, nil
}

func matches(c *cli.Context, event timeline.Event) bool {
	return strings.Contains(strings.ToLower(event.String()), strings.ToLower(c.String("grep")))
}

// logHistory returns the lines to show first, and the number of the last one that there is.
func logHistory(c *cli.Context, board string) (past []shown, last int64, err error) {
	q := boardlog.Query{Board: board, Last: recentLines, Contains: c.String("grep")}
	if c.Bool("all") {
		q.Last = 0
	}
	for {
		lines, err := client(c).Logs(c.Context, q)
		if err != nil {
			return nil, 0, err
		}
		for _, line := range lines {
			past = append(past, shown{line.At, line})
			q.After = cmp.Or(line.ID, q.After)
		}
		if q.Last > 0 || len(lines) == 0 {
			return past, q.After, nil
		}
	}
}

// follow shows events and lines as they come.
func follow(c *cli.Context, std streams, board string, event, line int64, s *screen) error {
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	items, ended := make(chan shown), make(chan error, 2)
	send := func(one shown) bool {
		select {
		case items <- one:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() { ended <- followEvents(ctx, c, board, event, send) }()
	if c.Bool("logs") {
		go func() { ended <- followLogs(ctx, c, board, line, send) }()
	}
	ticks := barsOf(ctx, s)
	for {
		select {
		case one := <-items:
			if err := printShown(c, std, s, one); err != nil {
				return err
			}
		case err := <-ended:
			return cmp.Or(err, errDaemonGone)
		case <-ticks:
			if err := drawBars(ctx, c, board, s); err != nil {
				return err
			}
		}
	}
}

// barsOf says when the bars of a screen are to be drawn: at once, and each second.
func barsOf(ctx context.Context, s *screen) <-chan time.Time {
	if s == nil {
		return nil
	}
	ticks := make(chan time.Time)
	go func() {
		for ok := true; ok; ok = pause.For(ctx, time.Second) {
			select {
			case ticks <- time.Now():
			case <-ctx.Done():
			}
		}
	}()
	return ticks
}

// drawBars draws the bars of all boards, or of the one that is watched.
func drawBars(ctx context.Context, c *cli.Context, board string, s *screen) error {
	boards, err := client(c).Pis(ctx)
	if err != nil {
		return err
	}
	if board != "" {
		boards = slices.DeleteFunc(boards, func(one web.Pi) bool {
			return one.Name != board && one.Serial.String() != board && one.MAC.String() != board
		})
	}
	return s.draw(boards, time.Now())
}

func followEvents(ctx context.Context, c *cli.Context, board string, after int64, send func(shown) bool) error {
	for event, err := range client(c).Follow(ctx, board, after) {
		if err != nil {
			return err
		}
		if matches(c, event) && !send(shown{event.At, event}) {
			break
		}
	}
	return nil
}

func followLogs(ctx context.Context, c *cli.Context, board string, after int64, send func(shown) bool) error {
	for line, err := range client(c).FollowLogs(ctx, boardlog.Query{Board: board, After: after, Contains: c.String("grep")}) {
		if err != nil {
			return err
		}
		if !send(shown{line.At, line}) {
			break
		}
	}
	return nil
}

// printShown prints an event or a line, on a screen with its colour.
func printShown(c *cli.Context, std streams, s *screen, one shown) error {
	if c.Bool("json") {
		return printJSONLine(std.out, one.item)
	}
	if s == nil {
		_, err := fmt.Fprintln(std.out, one.item)
		return err
	}
	colour := faint
	if event, ok := one.item.(timeline.Event); ok {
		colour = colourOf(event.Kind)
	}
	return s.print(s.paint(colour, one.item.String()))
}
