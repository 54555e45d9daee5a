package queue

import (
	"context"
	"iter"
	"sync"
	"time"

	"pibootd/internal/pause"
)

// watchEvery is the shortest interval between two reports to one watcher.
const watchEvery = 250 * time.Millisecond

// Watch yields the job at once and again after each change, at most four times a
// second, until the job has ended. It stops earlier if ctx ends, or after yielding
// an error, which matches ErrNoJob if there is no such job.
func (q *Queue) Watch(ctx context.Context, id int64) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		changed, stop := q.watches.add(id)
		defer stop()
		for {
			job, err := q.Job(ctx, id)
			if ctx.Err() != nil {
				return
			}
			if !yield(job, err) || err != nil || job.State.Ended() {
				return
			}
			if !pause.For(ctx, watchEvery) || !received(ctx, changed) {
				return
			}
		}
	}
}

// received waits for c. It returns false if ctx ended first.
func received(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c:
		return true
	}
}

// watches wakes the goroutines that wait for a change of a job.
type watches struct {
	mu        sync.Mutex
	byJob     map[int64]map[chan struct{}]bool
	followers map[*follower]bool // of all jobs
}

func newWatches() *watches {
	return &watches{byJob: map[int64]map[chan struct{}]bool{}, followers: map[*follower]bool{}}
}

// add returns a channel that receives after each change of a job, and a function
// that ends the subscription.
func (ws *watches) add(job int64) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byJob[job] == nil {
		ws.byJob[job] = map[chan struct{}]bool{}
	}
	ws.byJob[job][c] = true
	return c, func() { ws.remove(job, c) }
}

func (ws *watches) remove(job int64, c chan struct{}) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.byJob[job], c)
	if len(ws.byJob[job]) == 0 {
		delete(ws.byJob, job)
	}
}

// notify wakes the goroutines that wait for a change of a job.
func (ws *watches) notify(job int64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for c := range ws.byJob[job] {
		wake(c)
	}
	for f := range ws.followers {
		f.note(job)
	}
}
