package broker

import (
	"sync"
	"time"
)

// How often a worker may log in to a server that is not ours, which tells nobody
// how many of its connections are open: each lasts as long as a pass, so that this
// bounds them. A worker logs in when its connection is lost and its pass ends.
const (
	loginsAtOnce  = 8
	loginsPerPass = 16 // within the time of a pass, further ones
)

// A budget is what is left of each worker's logins. Only who has a right token
// spends any, so it holds no more names than are registered. It is safe for
// concurrent use.
type budget struct {
	every time.Duration // one more login

	mu    sync.Mutex
	ready map[string]time.Time // when all of a worker's logins are there again
}

func newBudget(pass time.Duration) *budget {
	return &budget{every: pass / loginsPerPass, ready: map[string]time.Time{}}
}

// spend reports whether a worker may log in now, and notes that it does.
func (b *budget) spend(worker string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ready := b.ready[worker]
	if ready.Before(now) {
		ready = now
	}
	ready = ready.Add(b.every)
	if ready.Sub(now) > loginsAtOnce*b.every {
		return false
	}
	b.ready[worker] = ready
	return true
}
