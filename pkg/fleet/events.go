package fleet

import (
	"fmt"
	"strings"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// WorkerEvent records on a board's timeline that its worker is online or offline. It
// is the queue's OnWorker.
func (f *Fleet) WorkerEvent(e queue.WorkerEvent) {
	kind, detail := timeline.WorkerOffline, ""
	if e.Left {
		detail = "stopped"
	}
	if e.Online {
		kind = timeline.WorkerOnline
		detail = fmt.Sprintf("worker %s, %d CPUs", e.Hello.Version, e.Hello.CPUs)
	}
	f.recordWorker(e.Worker, kind, detail)
	if e.Online && e.Hello.Protocol != transcode.Protocol {
		f.recordWorker(e.Worker, timeline.Outdated, e.Hello.Locked)
	}
}

// unitKinds are the events of units.
var unitKinds = map[string]timeline.Kind{
	queue.EventClaimed: timeline.Claimed,
	queue.EventDone:    timeline.UnitDone,
}

// UnitEvent records what happened to a unit on its worker's timeline. It is the
// queue's OnUnit.
func (f *Fleet) UnitEvent(e queue.UnitEvent) {
	kind, ok := unitKinds[e.Event]
	detail := fmt.Sprintf("job %d unit %s attempt %d", e.Job, e.Unit, e.Attempt)
	if !ok {
		kind = timeline.UnitFailed
		detail = strings.TrimRight(fmt.Sprintf("%s %s: %s", detail, strings.ReplaceAll(e.Event, "_", " "), e.Detail), ": ")
	}
	f.recordWorker(e.Worker, kind, detail)
}

// recordWorker records an event of the board, or other machine, that a worker
// runs on.
func (f *Fleet) recordWorker(worker string, kind timeline.Kind, detail string) {
	event := timeline.Event{At: time.Now(), Board: worker, Kind: kind, Detail: detail}
	if serial, err := pi.ParseSerial(worker); err == nil {
		if board, ok := f.Registry.BySerial(serial); ok {
			event.Name = board.Name
		}
	} else if m, ok := f.Registry.MachineByName(worker); ok {
		event.Name = m.Name
	}
	f.Timeline.Record(event)
}
