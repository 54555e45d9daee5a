package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// board looks at one board: what it would be served, what it may mount, how far
// its last boot came.
func (d *Doctor) board(ctx context.Context, board registry.Pi) []Finding {
	finding := func(level Level, text, todo string) Finding {
		return Finding{Subject: board.Name, Level: level, Text: text, Todo: todo}
	}
	var found []Finding
	if _, err := d.Fleet.BootFiles(board); err != nil {
		found = append(found, finding(Problem, "its boot files cannot be made: "+err.Error(), "add it again, or put its boot directory right"))
	}
	proof, err := d.Fleet.Prove(ctx, board)
	if err != nil {
		found = append(found, finding(Problem, strings.ReplaceAll(err.Error(), "\n", "; "), "restart pibootd, which opens every export anew; its log says more"))
	} else {
		found = append(found, finding(OK, strings.Join(proof, "; "), ""))
	}
	return append(found, d.lastBoot(ctx, board))
}

// bootTime is how long a board may be quiet within a boot.
const bootTime = 2 * time.Minute

// lastBoot says how far a board came.
func (d *Doctor) lastBoot(ctx context.Context, board registry.Pi) Finding {
	f := Finding{Subject: board.Name, Level: Warning}
	for _, w := range d.Workers() {
		if w.Name == board.Serial.String() && w.Online {
			f.Level, f.Text = OK, "its worker is online"
			return f
		}
	}
	last, err := d.lastStep(ctx, board)
	switch {
	case errors.Is(err, errNeverSeen):
		f.Text = "it was never heard of"
		f.Todo = "power it on; docs/boot.md says how each model is told to boot from the network"
	case err != nil:
		f.Level, f.Text = Problem, err.Error()
	case time.Since(last.At) < bootTime:
		f.Level, f.Text = OK, fmt.Sprintf("it is booting: %s %s", stepOf[last.Kind].did, when(last.At))
	default:
		step := stepOf[last.Kind]
		f.Text, f.Todo = fmt.Sprintf("it %s %s, and then nothing more", step.did, when(last.At)), step.todo
		if step.wrong {
			f.Level = Problem
		}
		if last.Detail != "" {
			f.Text += ": " + last.Detail
		}
	}
	return f
}

// A step is where a boot can end.
type step struct {
	did, todo string
	wrong     bool // and not just switched off
}

const consoleTodo = "look at its console: the kernel does not come as far as its root; pibootd show-pi --boot prints its kernel arguments"

// stepOf has the events that are steps of a boot.
var stepOf = map[timeline.Kind]step{
	timeline.Discover:      {did: "asked for an address", wrong: true, todo: "it was not offered one: the daemon's log says why"},
	timeline.Offer:         {did: "was offered an address", todo: "it did not take it: another DHCP server may have been first, see dhcp above"},
	timeline.Request:       {did: "asked for its address", todo: "it was not given it: the daemon's log says why", wrong: true},
	timeline.Ack:           {did: "got its address", todo: "it asked for no files: is network boot on? See docs/boot.md"},
	timeline.Nak:           {did: "was refused an address", todo: "power it off and on; if that repeats, another DHCP server gave it that address", wrong: true},
	timeline.Declined:      {did: "found its address in use by another host", todo: "find that host, or give the board another address", wrong: true},
	timeline.File:          {did: "loaded a file", todo: consoleTodo},
	timeline.FileMissing:   {did: "asked for a file that it has not", todo: consoleTodo},
	timeline.FileAborted:   {did: "asked for a file's size", todo: consoleTodo},
	timeline.FileFailed:    {did: "could not load a file", todo: "look at the network between: cable, switch, a firewall", wrong: true},
	timeline.Mount:         {did: "mounted its root", todo: "its worker does not report: systemctl status pibootd-worker on the board, or it was switched off"},
	timeline.MountRefused:  {did: "was refused its root", todo: "it came from another address than the registered one, or mounts another path", wrong: true},
	timeline.Unmount:       {did: "unmounted its root", todo: "it was shut down"},
	timeline.WorkerOnline:  {did: "reported its worker", todo: "the network or the board went away"},
	timeline.WorkerOffline: {did: "lost its worker", todo: "it was switched off, or look at systemctl status pibootd-worker on the board"},
}

var errNeverSeen = errors.New("no event of it")

// lastStep returns the newest event of a board that is a step of a boot.
func (d *Doctor) lastStep(ctx context.Context, board registry.Pi) (timeline.Event, error) {
	last, err := timeline.Event{}, errNeverSeen
	for after := int64(0); ; {
		events, readErr := d.Timeline.Events(ctx, board.Serial.String(), after, eventsPage)
		if readErr != nil {
			return last, readErr
		}
		for _, e := range events {
			after = e.ID
			if _, ok := stepOf[e.Kind]; ok {
				last, err = e, nil
			}
		}
		if len(events) < eventsPage {
			return last, err
		}
	}
}

// eventsPage is how many events are read at a time; the timeline keeps some
// thousand of a board.
const eventsPage = 500
