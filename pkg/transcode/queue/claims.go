package queue

import (
	"maps"
	"slices"
	"sync"
	"time"

	"pibootd/pkg/transcode"
)

// A unitKey names a unit of all jobs.
type unitKey struct {
	job  int64
	unit string
}

// An attemptKey names an attempt of all jobs. A unit can have two that run.
type attemptKey struct {
	unitKey
	attempt int
}

// A claim is a running attempt. SQLite knows that it runs; how far it is and
// when it expires is known here only, since a restart gives all claims a new
// deadline anyway.
type claim struct {
	key      attemptKey
	worker   string
	session  string // of the worker, as its claim said
	total    int    // video frames to encode
	spec     transcode.Unit
	request  transcode.Request
	granted  time.Time
	adopted  bool // it was granted before the daemon started, nobody knows when
	deadline time.Time
	heard    time.Time // when its worker last told of progress; zero: never
	frames   int
	fps      float64
}

// claims holds the running attempts.
type claims struct {
	mu        sync.Mutex
	byKey     map[attemptKey]claim
	accepting map[attemptKey]bool // those whose result is being looked at
}

func newClaims() *claims {
	return &claims{byKey: map[attemptKey]claim{}, accepting: map[attemptKey]bool{}}
}

// beginAccept reports whether nobody looks at the result of an attempt yet, and
// notes that somebody does until endAccept.
func (cs *claims) beginAccept(key attemptKey) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.accepting[key] {
		return false
	}
	cs.accepting[key] = true
	return true
}

func (cs *claims) endAccept(key attemptKey) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.accepting, key)
}

func (cs *claims) put(c claim) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.byKey[c.key] = c
}

// drop forgets a claim.
func (cs *claims) drop(key attemptKey) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.byKey, key)
}

// get returns a claim if this worker has it.
func (cs *claims) get(worker string, key attemptKey) (claim, bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.byKey[key]
	return c, ok && c.worker == worker
}

// unheard reports whether nothing was heard of a worker's attempt since it was
// granted.
func (cs *claims) unheard(worker string, key attemptKey) bool {
	c, ok := cs.get(worker, key)
	return ok && c.heard.IsZero()
}

// ofWorker returns the claim that a worker has on a unit.
func (cs *claims) ofWorker(worker string, unit unitKey) (claim, bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for key, c := range cs.byKey {
		if key.unitKey == unit && c.worker == worker {
			return c, true
		}
	}
	return claim{}, false
}

// all returns the claims.
func (cs *claims) all() []claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Collect(maps.Values(cs.byKey))
}

// progress notes what a worker says of its claim, and reports whether it has it.
func (cs *claims) progress(worker string, p transcode.Progress, now, deadline time.Time) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	key := attemptKey{unitKey{p.Job, p.Unit}, p.Attempt}
	c, ok := cs.byKey[key]
	if !ok || c.worker != worker {
		return false
	}
	c.deadline, c.heard = deadline, now
	c.frames = min(max(p.Frames, 0), c.total)
	c.fps = min(max(p.FPS, 0), maxFPS)
	cs.byKey[key] = c
	return true
}

// maxFPS bounds what a worker can claim to do.
const maxFPS = 100_000

// extend gives a claim a new deadline if this worker has it.
func (cs *claims) extend(worker string, key attemptKey, deadline time.Time) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c, ok := cs.byKey[key]; ok && c.worker == worker {
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

// ofUnits returns the claims of a job by unit: of two, the one that is further.
func (cs *claims) ofUnits(job int64) map[string]claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	list := map[string]claim{}
	for key, c := range cs.byKey {
		if known, ok := list[key.unit]; key.job == job && (!ok || c.frames > known.frames) {
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
