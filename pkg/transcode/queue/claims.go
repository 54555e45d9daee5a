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

// An attemptKey names an attempt of all jobs. A unit can have two running attempts.
type attemptKey struct {
	unitKey
	attempt int
}

// A claim is a worker's hold on a running attempt. SQLite stores that it runs; its
// progress and deadline are kept in memory, because a restart renews all deadlines.
type claim struct {
	key      attemptKey
	worker   string
	session  string // of the worker, from its claim
	total    int    // video frames to encode
	spec     transcode.Unit
	request  transcode.Request
	granted  time.Time
	adopted  bool // granted before the daemon started, at an unknown time
	deadline time.Time
	heard    time.Time // time of the last progress; zero: none yet
	frames   int
	fps      float64
	headSeen bool // what its probe has shown first was looked at
}

// claims holds the running attempts.
type claims struct {
	mu        sync.Mutex
	byKey     map[attemptKey]claim
	accepting map[attemptKey]bool // those whose result is being verified
}

func newClaims() *claims {
	return &claims{byKey: map[attemptKey]claim{}, accepting: map[attemptKey]bool{}}
}

// beginAccept marks the result of an attempt as being verified, until endAccept. It
// reports false if it is already.
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

// adopt adds a claim that the store has, unless it was granted since the store was
// read.
func (cs *claims) adopt(c claim) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, granted := cs.byKey[c.key]; !granted {
		c.adopted = true
		cs.byKey[c.key] = c
	}
}

// drop removes a claim.
func (cs *claims) drop(key attemptKey) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.byKey, key)
}

// get returns a claim if this worker holds it.
func (cs *claims) get(worker string, key attemptKey) (claim, bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.byKey[key]
	return c, ok && c.worker == worker
}

// unheard reports whether a worker's attempt has had no progress since it was
// granted.
func (cs *claims) unheard(worker string, key attemptKey) bool {
	c, ok := cs.get(worker, key)
	return ok && c.heard.IsZero()
}

// ofWorker returns a worker's claim on a unit.
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

// isAccepting reports whether the result of an attempt is being verified.
func (cs *claims) isAccepting(key attemptKey) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.accepting[key]
}

// ofJob returns the claims of a job.
func (cs *claims) ofJob(job int64) []claim {
	return slices.DeleteFunc(cs.all(), func(c claim) bool { return c.key.job != job })
}

// all returns the claims.
func (cs *claims) all() []claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Collect(maps.Values(cs.byKey))
}

// progress records a worker's progress, and reports whether it holds the claim.
func (cs *claims) progress(worker string, p transcode.Progress, now, deadline time.Time) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	key := attemptKey{unitKey{p.Job, p.Unit}, p.Attempt}
	c, ok := cs.byKey[key]
	if !ok || c.worker != worker {
		return false
	}
	if liveUnit(c.spec) {
		deadline = now.Add(min(liveTTL, deadline.Sub(now)))
	}
	c.deadline, c.heard = deadline, now
	c.frames = min(max(p.Frames, 0), c.total)
	c.fps = min(max(p.FPS, 0), maxFPS)
	cs.byKey[key] = c
	return true
}

// firstHead reports whether a worker has a claim on a probe whose beginning was not looked at
// before, and is now.
func (cs *claims) firstHead(worker string, key attemptKey) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.byKey[key]
	if !ok || c.worker != worker || c.headSeen {
		return false
	}
	c.headSeen = true
	cs.byKey[key] = c
	return true
}

// maxFPS bounds the frame rate that a worker can report.
const maxFPS = 100_000

// extend gives a claim a new deadline if this worker holds it.
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

// ofUnits returns the claims of a job by unit: of two, the one with more frames.
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

// byWorker returns the one claim of each worker.
func (cs *claims) byWorker() map[string]claim {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	list := make(map[string]claim, len(cs.byKey))
	for _, c := range cs.byKey {
		list[c.worker] = c
	}
	return list
}
