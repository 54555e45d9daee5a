package queue

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
)

// maxWorkers bounds the number of workers that are kept.
const maxWorkers = 1024

// A Worker is what the queue knows about a worker since the daemon started.
type Worker struct {
	Name     string          `json:"name"`
	Hello    transcode.Hello `json:"hello"`
	LastSeen time.Time       `json:"last_seen"`
	Ahead    time.Duration   `json:"clock_ahead_ns,omitzero"` // of the worker's clock, when it last said hello; 0: unknown
	Online   bool            `json:"online"`
	Job      int64           `json:"job,omitempty"`  // of the unit that it has claimed; 0: none
	Unit     string          `json:"unit,omitempty"` // "" if it has claimed none
	Attempt  int             `json:"attempt,omitempty"`
	Frames   int             `json:"frames,omitempty"`
	FPS      float64         `json:"fps,omitempty"`
	Drained  bool            `json:"drained,omitempty"` // it accepts no more work until it is undrained
	Labels   []string        `json:"labels,omitempty"`  // those of its current registration
}

// free reports whether a worker accepts work.
func (w Worker) free() bool { return w.Online && !w.Drained && w.Hello.Locked == "" }

// otherBuild returns the reason why a worker of this protocol gets no work, with
// the remedy; "" if it may get some.
func otherBuild(worker string, protocol int) string {
	if protocol == transcode.Protocol {
		return ""
	}
	todo, is := "replace pibootd-worker by this pibootd's", "older"
	if _, err := pi.ParseSerial(worker); err == nil {
		todo = "restart the board"
	}
	if protocol > transcode.Protocol {
		todo, is = "upgrade pibootd", "newer"
	}
	// The remedy comes first, because tables show only the beginning of the text.
	return fmt.Sprintf("%s: its worker is %s than pibootd (protocol %d; want %d)", todo, is, protocol, transcode.Protocol)
}

// A WorkerEvent reports that a worker came online or went offline.
type WorkerEvent struct {
	Worker string
	Online bool
	Left   bool            // offline, because it was stopped
	Hello  transcode.Hello // the latest
}

// Workers returns every worker that has said hello, by name.
func (q *Queue) Workers() []Worker {
	list := q.workers.list()
	claimed := q.claims.byWorker()
	for i := range list {
		c, ok := claimed[list[i].Name]
		if !ok {
			continue
		}
		w := &list[i]
		w.Job, w.Unit, w.Attempt, w.Frames, w.FPS = c.key.job, c.key.unit, c.key.attempt, c.frames, c.fps
	}
	return list
}

// notifyWorker reports that a worker came online or went offline.
func (q *Queue) notifyWorker(name string) {
	w, ok := q.workers.get(name)
	if !ok {
		return
	}
	q.log.Info("worker", "pi", name, "online", w.Online)
	if q.onWorker != nil {
		q.onWorker(WorkerEvent{Worker: name, Online: w.Online, Left: !w.Online && w.Hello.Leaving, Hello: w.Hello})
	}
}

// workers keeps the workers that have said hello.
type workers struct {
	labels func(worker string) []string // called without mu held

	mu       sync.Mutex
	byName   map[string]Worker
	memories map[string]memory
}

// A memory is what the store keeps about a worker.
type memory struct {
	drained bool
	speeds  []transcode.Speed
}

func newWorkers(labels func(worker string) []string) *workers {
	if labels == nil {
		labels = func(string) []string { return nil }
	}
	return &workers{labels: labels, byName: map[string]Worker{}, memories: map[string]memory{}}
}

func (ws *workers) memory(name string) memory {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.memories[name]
}

func (ws *workers) remember(name string, m memory) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.memories[name] = m
}

func (ws *workers) drained(name string) bool { return ws.memory(name).drained }

func (ws *workers) drain(name string, on bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	m := ws.memories[name]
	m.drained = on
	ws.memories[name] = m
}

func (ws *workers) measured(name string, speeds []transcode.Speed) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	m := ws.memories[name]
	m.speeds = speeds
	ws.memories[name] = m
}

// hello records a Hello. It reports whether the worker was offline before, or is now because
// it was stopped, or used another protocol. If there are too many names, hello drops the one that has been
// silent longest.
func (ws *workers) hello(name string, hello transcode.Hello, now time.Time) (came bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w, known := ws.byName[name]
	if !known && len(ws.byName) >= maxWorkers {
		delete(ws.byName, ws.quietestLocked())
	}
	if hello.FFmpeg == "" && hello.NoFFmpeg == "" {
		hello.NoFFmpeg = w.Hello.NoFFmpeg // it was started again, and tries it again
	}
	is := Worker{Name: name, Hello: hello, LastSeen: now, Online: !hello.Leaving}
	if at := hello.Machine.Time; !at.IsZero() {
		is.Ahead = at.Sub(now)
	}
	ws.byName[name] = is
	return w.Online != is.Online || w.Hello.Protocol != hello.Protocol
}

func (ws *workers) quietestLocked() string {
	var quietest Worker
	for _, w := range ws.byName {
		if quietest.Name == "" || w.LastSeen.Before(quietest.LastSeen) {
			quietest = w
		}
	}
	return quietest.Name
}

// seen records a sign of life of a worker that has said hello.
func (ws *workers) seen(name string, now time.Time) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w, ok := ws.byName[name]; ok && w.Online {
		w.LastSeen = now
		ws.byName[name] = w
	}
}

// expire marks the workers that were last seen before then as offline and returns
// their names.
func (ws *workers) expire(then time.Time) []string {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	var gone []string
	for name, w := range ws.byName {
		if w.Online && w.LastSeen.Before(then) {
			w.Online = false
			ws.byName[name] = w
			gone = append(gone, name)
		}
	}
	return gone
}

func (ws *workers) get(name string) (Worker, bool) {
	w, ok := ws.remembered(name)
	w.Labels = ws.labels(name)
	return w, ok
}

// barred returns the reason why a worker gets no work at all, or "" if it may get
// some. After a restart of the daemon a worker must say hello first.
func (ws *workers) barred(name string) string {
	w, known := ws.remembered(name)
	if !known {
		return "this worker has not said hello yet"
	}
	return otherBuild(name, w.Hello.Protocol)
}

func (ws *workers) remembered(name string) (Worker, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w, ok := ws.byName[name]
	w.Name, w.Drained = name, ws.memories[name].drained
	return w, ok
}

// free counts the workers that can accept work for r.
func (ws *workers) free(r transcode.Request) int {
	n := 0
	for _, w := range ws.list() {
		if w.free() && r.For(w.Hello.MuxID, w.Labels) {
			n++
		}
	}
	return n
}

// otherBuild reports whether a worker that can accept work for r has another ffmpeg
// than each of these.
func (ws *workers) otherBuild(r transcode.Request, than []string) bool {
	all, builds := ws.list(), map[string]bool{}
	for _, w := range all {
		if slices.Contains(than, w.Name) {
			builds[w.Hello.FFmpeg] = true
		}
	}
	return slices.ContainsFunc(all, func(w Worker) bool {
		return w.free() && r.For(w.Hello.MuxID, w.Labels) && !builds[w.Hello.FFmpeg]
	})
}

func (ws *workers) list() []Worker {
	list := ws.allRemembered()
	for i := range list {
		list[i].Labels = ws.labels(list[i].Name)
	}
	return list
}

func (ws *workers) allRemembered() []Worker {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	list := slices.SortedFunc(maps.Values(ws.byName), func(a, b Worker) int { return strings.Compare(a.Name, b.Name) })
	for i := range list {
		list[i].Drained = ws.memories[list[i].Name].drained
	}
	return list
}
