package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode/queue"
)

// bootTime is the longest silence of a board within a boot.
const bootTime = 2 * time.Minute

// lastBoot reports how far a board came.
func (d *Doctor) lastBoot(ctx context.Context, board registry.Pi) Finding {
	for _, w := range d.Workers() {
		if w.Name == board.Serial.String() && w.Online {
			return working(board, w)
		}
	}
	f := Finding{Subject: board.Name, Level: Warning}
	t, err := d.lastTrip(ctx, board)
	step := t.step()
	switch {
	case err != nil:
		f.Level, f.Text = Problem, err.Error()
	case t.last.Kind == "":
		f.Text = "it has never been seen"
		f.Todo = "power it on; docs/boot.md says how each model is set to boot from the network"
	case time.Since(t.last.At) < bootTime:
		f.Level, f.Text = OK, fmt.Sprintf("it is booting: it %s %s", step.did, when(t.last.At))
	default:
		f.Text, f.Todo = fmt.Sprintf("it %s %s, and then nothing more", step.did, when(t.last.At)), step.todo
		if step.wrong {
			f.Level = Problem
		}
		if what := strings.TrimSpace(t.last.File + " " + t.last.Detail); what != "" {
			f.Text += ": " + what
		}
	}
	return f
}

// working describes a worker that is online.
func working(board registry.Pi, w queue.Worker) Finding {
	f := Finding{Subject: board.Name, Level: OK, Text: "its worker is online"}
	if w.Hello.FFmpeg != "" { // its first hello comes before it has tried ffmpeg
		f.Text += ", with ffmpeg " + w.Hello.FFmpeg
	}
	if w.Hello.Locked != "" {
		f.Level, f.Text = Warning, "its worker is online and refuses work: "+w.Hello.Locked
		f.Todo = "see to that on the board; it looks again by itself"
	}
	return f
}

// A trip is the progress of a board since power-on.
type trip struct {
	last   timeline.Event // the furthest; zero for a board that was never seen
	kernel bool           // last is a DHCP message of the kernel, and not of boot code
}

// isDHCP reports whether an event has three possible causes: boot code, the kernel
// and the running system.
func isDHCP(k timeline.Kind) bool {
	return k == timeline.Discover || k == timeline.Offer || k == timeline.Request || k == timeline.Ack
}

// follow returns t after another event.
func (t trip) follow(e timeline.Event) trip {
	if _, ok := stepOf[e.Kind]; !ok {
		return t
	}
	soon := e.At.Sub(t.last.At) < bootTime
	switch {
	case !isDHCP(e.Kind):
		return trip{last: e}
	case t.kernel || t.last.Kind == timeline.File:
		// Boot code has loaded its files, so the kernel asks now.
		return trip{last: e, kernel: soon}
	case hasSystem(t.last.Kind) && (e.Kind != timeline.Discover || soon && !isEnd(t.last.Kind)):
		return t // the running system asks again, or renews its lease
	}
	return trip{last: e}
}

// hasSystem reports whether the system in the root causes an event.
func hasSystem(k timeline.Kind) bool {
	return k == timeline.Mount || k == timeline.MountRefused || k == timeline.WorkerOnline || isEnd(k)
}

func isEnd(k timeline.Kind) bool { return k == timeline.Unmount || k == timeline.WorkerOffline }

func (t trip) step() step {
	if s, ok := kernelStep[t.last.Kind]; ok && t.kernel {
		return s
	}
	return stepOf[t.last.Kind]
}

// A step is a point at which a boot can end.
type step struct {
	did, todo string
	wrong     bool // it cannot be a board that was just switched off
}

const (
	consoleTodo = "look at its console: the kernel does not come as far as its root; pibootd show-pi prints its kernel arguments"
	refusedTodo = "the daemon's log says why; if it asked for another server's address, see dhcp above"
)

// stepOf maps events to the steps of a boot.
var stepOf = map[timeline.Kind]step{
	timeline.Discover:      {did: "asked for an address", wrong: true, todo: "it was not offered one: the daemon's log says why"},
	timeline.Offer:         {did: "was offered an address", todo: "it did not accept it: another DHCP server may have been first, see dhcp above"},
	timeline.Request:       {did: "asked for an address and got none", wrong: true, todo: refusedTodo},
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

// kernelStep has the steps that differ if the kernel asks for the address.
var kernelStep = map[timeline.Kind]step{
	timeline.Discover: {did: "loaded its kernel, which asked for an address", todo: stepOf[timeline.Discover].todo, wrong: true},
	timeline.Offer:    {did: "loaded its kernel, which was offered an address", todo: stepOf[timeline.Offer].todo},
	timeline.Request:  {did: "loaded its kernel, which asked for an address and got none", todo: refusedTodo, wrong: true},
	timeline.Ack:      {did: "loaded its kernel, which got its address", todo: "it does not mount its root: look at its console; pibootd show-pi prints its kernel arguments", wrong: true},
}

// lastTrip reads all events of a board.
func (d *Doctor) lastTrip(ctx context.Context, board registry.Pi) (trip, error) {
	t := trip{}
	for after := int64(0); ; {
		events, err := d.Timeline.Events(ctx, board.Serial.String(), after, eventsPage)
		if err != nil {
			return t, err
		}
		for _, e := range events {
			after = e.ID
			t = t.follow(e)
		}
		if len(events) < eventsPage {
			return t, nil
		}
	}
}

// eventsPage is the number of events that are read at a time; the timeline keeps
// some thousand for each board.
const eventsPage = 500
