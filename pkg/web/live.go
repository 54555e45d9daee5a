package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A live is what the dashboard shows, as one JSON object: collections by name, in
// them things by key. Those who follow it get a snapshot and then each change, as a
// merge patch. Changes are kept for a while, so that a follower whose connection
// broke gets what it has missed.
type live struct {
	epoch string // of this process; the numbers of another's changes mean nothing

	mu      sync.Mutex
	state   map[string]any
	changes [][]byte      // the latest patches; the last one made state
	size    int           // of changes, in bytes
	seq     int64         // of the last of changes
	changed chan struct{} // closed and replaced with each change
	ready   chan struct{} // closed once state is whole
	follow  int           // followers
	woken   chan struct{} // the first one has come
	touched chan struct{} // a request has changed something
	nudged  chan struct{} // a request has changed files
}

// Limits of the changes that are kept.
const (
	maxLiveChanges = 1000
	maxLiveBytes   = 4 << 20
)

func newLive() *live {
	return &live{epoch: rand.Text()[:8], state: map[string]any{}, changed: make(chan struct{}), ready: make(chan struct{}), woken: make(chan struct{}, 1), touched: make(chan struct{}, 1), nudged: make(chan struct{}, 1)}
}

// touch has what is in memory looked at soon, because a request has changed something.
func (l *live) touch() { signal(l.touched) }

// nudge has files and operations looked at soon, too.
func (l *live) nudge() { signal(l.nudged) }

// signal leaves a signal unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// replace makes is the collection of that name.
func (l *live) replace(name string, is map[string]any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, _ := l.state[name].(map[string]any)
	patch := mergePatch(was, is)
	if len(patch) == 0 && was != nil {
		return nil
	}
	text, err := json.Marshal(map[string]any{name: patch})
	if err != nil {
		return err
	}
	l.state[name] = is
	l.addLocked(text)
	return nil
}

// collection returns a copy of a collection, whose things are not to be changed.
func (l *live) collection(name string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	is, _ := l.state[name].(map[string]any)
	return maps.Clone(is)
}

// set replaces one thing of a collection; nil removes it.
func (l *live) set(name, key string, is map[string]any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	collection, _ := l.state[name].(map[string]any)
	if collection == nil {
		collection = map[string]any{}
		l.state[name] = collection
	}
	was, known := collection[key].(map[string]any)
	var patch any
	if is != nil {
		delta := mergePatch(was, is)
		if known && len(delta) == 0 {
			return nil
		}
		patch = delta
	} else if !known {
		return nil
	}
	text, err := json.Marshal(map[string]any{name: map[string]any{key: patch}})
	if err != nil {
		return err
	}
	if collection[key] = is; is == nil {
		delete(collection, key)
	}
	l.addLocked(text)
	return nil
}

func (l *live) addLocked(patch []byte) {
	l.seq++
	l.changes, l.size = append(l.changes, patch), l.size+len(patch)
	for len(l.changes) > maxLiveChanges || l.size > maxLiveBytes && len(l.changes) > 1 {
		l.size -= len(l.changes[0])
		l.changes[0] = nil
		l.changes = l.changes[1:]
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// since returns the patches after the change number seq, or the whole state if they
// are no longer kept; to is the number of the last one. changed is closed when there
// are more.
func (l *live) since(seq int64) (snapshot []byte, patches [][]byte, to int64, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if missed := l.seq - seq; seq >= 0 && missed >= 0 && missed <= int64(len(l.changes)) {
		return nil, l.changes[len(l.changes)-int(missed):], l.seq, l.changed, nil
	}
	snapshot, err = json.Marshal(l.state)
	return snapshot, nil, l.seq, l.changed, err
}

// join adds a follower, until leave. wait returns when the state is whole.
func (l *live) join() (wait <-chan struct{}, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.follow++; l.follow == 1 {
		signal(l.woken)
	}
	return l.ready, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.follow--
	}
}

func (l *live) followed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.follow > 0
}

// became whole, or is not kept up to date any more.
func (l *live) setReady(whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if whole {
		close(l.ready)
	} else {
		l.ready = make(chan struct{})
	}
}

// liveIdle is how long a stream is silent at most, so that both sides notice when
// the other is gone.
const liveIdle = 15 * time.Second

// followLive answers with a stream of server-sent events: "snapshot" has the whole
// state, "change" a JSON merge patch of it. A client that comes back with the header
// Last-Event-ID, or with that id as the parameter "after", gets what it has missed.
func (s *Server) followLive(followers *slots) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.serveLive(w, r, followers) }
}

func (s *Server) serveLive(w http.ResponseWriter, r *http.Request, followers *slots) {
	done, err := followers.take(clientOf(r))
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer done()
	whole, leave := s.live.join()
	defer leave()
	select {
	case <-whole:
	case <-r.Context().Done():
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // a proxy before this must pass it on at once
	if err := s.sendLive(r.Context(), w, s.live.seqOf(cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")))); err != nil {
		s.Log.Debug("following ended", "component", "web", "err", err)
	}
}

// seqOf returns the number in an event's id; -1 for one of another process.
func (l *live) seqOf(id string) int64 {
	number, ours := strings.CutPrefix(id, l.epoch+"-")
	seq, err := strconv.ParseInt(number, 10, 64)
	if !ours || err != nil {
		return -1
	}
	return seq
}

func (s *Server) sendLive(ctx context.Context, w http.ResponseWriter, seq int64) error {
	idle := time.NewTicker(liveIdle)
	defer idle.Stop()
	for {
		snapshot, patches, to, changed, err := s.live.since(seq)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if snapshot != nil {
			writeLive(&out, "snapshot", s.live.epoch, to, snapshot)
		}
		for i, patch := range patches {
			writeLive(&out, "change", s.live.epoch, to-int64(len(patches)-1-i), patch)
		}
		if err := sendNow(w, out.Bytes()); err != nil {
			return err
		}
		seq = to
		select {
		case <-changed:
		case <-idle.C:
			if err := sendNow(w, []byte(":\n\n")); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// writeLive writes an event; data has no newline, because it is JSON.
func writeLive(out *bytes.Buffer, name, epoch string, seq int64, data []byte) {
	fmt.Fprintf(out, "id: %s-%d\nevent: %s\ndata: ", epoch, seq, name)
	out.Write(data)
	out.WriteString("\n\n")
}

func sendNow(w http.ResponseWriter, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	return control.Flush()
}
