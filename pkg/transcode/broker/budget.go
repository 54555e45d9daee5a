package broker

import (
	"sync"
	"time"
)

// Limits of a worker's logins to an external server, which does not report how many
// connections are open. Each lasts as long as a pass, so that these limits bound the
// connections. A worker logs in when its connection is lost or its pass ends.
const (
	loginsAtOnce  = 8
	loginsPerPass = 16 // within the time of a pass, further ones
)

// A budget counts each worker's logins. It holds only registered names, because only
// logins with a correct token count. It is safe for concurrent use.
type budget struct {
	every time.Duration // one more login

	mu    sync.Mutex
	ready map[string]time.Time // when all of a worker's logins are there again
}

func newBudget(pass time.Duration) *budget {
	return &budget{every: pass / loginsPerPass, ready: map[string]time.Time{}}
}

// spend reports whether a worker may log in now, and counts the login.
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
