package web

import (
	"net/http"
	"sync"
	"time"
)

const (
	// viewerStays is how long a player counts after its last answer. It asks for the next part or
	// segment within this time while it plays.
	viewerStays = 10 * time.Second
	// maxViewers bounds what is remembered of a stream.
	maxViewers = 4096
)

// viewers counts who watches live streams: players, by their address and the program that they say
// they are.
type viewers struct {
	mu     sync.Mutex
	stream map[string]map[viewer]*watch
}

type viewer struct {
	addr  string
	agent string
}

// A watch is what a player does.
type watch struct {
	waits int       // its requests that are not answered yet
	last  time.Time // the last answer
}

// begin notes a request of a player. When it has been answered, the caller calls end.
func (v *viewers) begin(stream string, r *http.Request) (end func()) {
	who := viewer{clientOf(r), r.UserAgent()}
	who.agent = who.agent[:min(len(who.agent), 200)]
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stream == nil {
		v.stream = map[string]map[viewer]*watch{}
	}
	watching := v.stream[stream]
	if watching == nil {
		watching = map[viewer]*watch{}
		v.stream[stream] = watching
	}
	w := watching[who]
	if w == nil && len(watching) >= maxViewers {
		return func() {}
	}
	if w == nil {
		w = &watch{}
		watching[who] = w
	}
	w.waits++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		w.waits--
		w.last = time.Now()
	}
}

// count returns how many watch a stream, and forgets who no longer does.
func (v *viewers) count(stream string, now time.Time) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	watching := v.stream[stream]
	for who, w := range watching {
		if w.waits == 0 && now.Sub(w.last) > viewerStays {
			delete(watching, who)
		}
	}
	if len(watching) == 0 {
		delete(v.stream, stream)
	}
	return len(watching)
}
