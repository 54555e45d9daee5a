package queue

import (
	"sync"
	"time"

	"pibootd/pkg/transcode"
)

// A unitKey names a unit of all jobs.
type unitKey struct {
	job  int64
	unit string
}

// A claim is a running attempt. SQLite knows that it runs; how far it is and
// when it expires is known here only, since a restart gives all claims a new
// deadline anyway.
type claim struct {
	key      unitKey
	worker   string
	attempt  int
	total    int // video frames to encode
	deadline time.Time
	heard    bool // its worker has told of progress
	frames   int
	fps      float64
}

// claims holds the running attempts.
type claims struct {
	mu    sync.Mutex
	byKey map[unitKey]claim
}

func newClaims() *claims { return &claims{byKey: map[unitKey]claim{}} }

func (cs *claims) put(c claim) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if known, ok := cs.byKey[c.key]; ok && known.attempt >= c.attempt {
		return
	}
	cs.byKey[c.key] = c
}

// drop forgets a claim, unless a later attempt has taken its place.
func (cs *claims) drop(key unitKey, attempt int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c, ok := cs.byKey[key]; ok && c.attempt <= attempt {
		delete(cs.byKey, key)
	}
}

// progress notes what a worker says of its claim, and reports whether it has it.
func (cs *claims) progress(worker string, p transcode.Progress, deadline time.Time) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	key := unitKey{p.Job, p.Unit}
	c, ok := cs.byKey[key]
	if !ok || c.worker != worker || c.attempt != p.Attempt {
		return false
	}
	c.deadline, c.heard = deadline, true
	c.frames = min(max(p.Frames, 0), c.total)
	c.fps = min(max(p.FPS, 0), maxFPS)
	cs.byKey[key] = c
	return true
}

// unheard reports whether nothing was heard of an attempt since it was granted.
func (cs *claims) unheard(key unitKey, attempt int) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.byKey[key]
	return ok && c.attempt == attempt && !c.heard
}

// maxFPS bounds what a worker can claim to do.
const maxFPS = 100_000

// extend gives a claim a new deadline if this worker has it.
func (cs *claims) extend(worker string, key unitKey, attempt int, deadline time.Time) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c, ok := cs.byKey[key]; ok && c.worker == worker && c.attempt == attempt {
		c.deadline = deadline
		cs.byKey[key] = c
	}
}

// expired returns the claims whose deadline is before now.
func (cs *claims) expired(now time.Time) []claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var list []claim
	for _, c := range cs.byKey {
		if c.deadline.Before(now) {
			list = append(list, c)
		}
	}
	return list
}

// ofJob returns the claims of a job by unit.
func (cs *claims) ofJob(job int64) map[string]claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	list := map[string]claim{}
	for key, c := range cs.byKey {
		if key.job == job {
			list[key.unit] = c
		}
	}
	return list
}

// byWorker returns the one claim that each worker has.
func (cs *claims) byWorker() map[string]claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	list := make(map[string]claim, len(cs.byKey))
	for _, c := range cs.byKey {
		list[c.worker] = c
	}
	return list
}
