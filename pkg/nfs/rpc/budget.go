package rpc

import (
	"context"
	"slices"
	"sync"
)

const (
	// smallCall is the memory charged for a call without large parts: for its
	// arguments and results while they wait for a thread or a slow client.
	smallCall = 2 * smallBuffer

	// largeCall is the memory charged for a call with large arguments or large
	// results. No call has both.
	largeCall = bigBuffer + smallBuffer
)

// A memoryBudget is the memory that the calls of all clients share while they
// are read and answered. A call reserves all it needs at once and holds nothing
// else meanwhile, so calls cannot deadlock.
//
// Beyond its first call, a client gets at most half of what it leaves free.
// A single client can therefore use a third of the budget, and a client that
// comes later always finds some memory, even while others hold theirs until
// they are disconnected.
type memoryBudget struct {
	mu      sync.Mutex
	free    int
	waiting []*waiter // oldest first
}

// A waiter is a call that waits for memory.
type waiter struct {
	client *client
	n      int
	ready  chan struct{} // closed once it has its memory
}

func newMemoryBudget(size int) *memoryBudget { return &memoryBudget{free: max(size, 2*largeCall)} }

// try reserves n bytes, at most largeCall, for a call of client. It reports
// false if the call has to wait.
func (b *memoryBudget) try(client *client, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 || !b.fitsLocked(client, n) {
		return false
	}
	b.chargeLocked(client, n)
	return true
}

// wait reserves n bytes as soon as possible. It returns an error only if ctx
// ends first.
func (b *memoryBudget) wait(ctx context.Context, client *client, n int) error {
	w := &waiter{client, n, make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, w)
	b.admitLocked()
	b.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		b.leave(w)
		return ctx.Err()
	}
}

// release returns n bytes that a call of client has reserved.
func (b *memoryBudget) release(client *client, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chargeLocked(client, -n)
	b.admitLocked()
}

// leave removes w from the queue, or returns its memory if it has some already.
func (b *memoryBudget) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, w); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	} else {
		b.chargeLocked(w.client, -w.n)
	}
	b.admitLocked()
}

func (b *memoryBudget) fitsLocked(client *client, n int) bool {
	if client.memory > 0 {
		n = 2 * (client.memory + n)
	}
	return n <= b.free
}

func (b *memoryBudget) chargeLocked(client *client, n int) {
	client.memory += n
	b.free -= n
}

// admitLocked admits waiters as far as the budget allows. Nobody overtakes a
// client that holds nothing, because it would otherwise wait for as long as
// smaller calls keep coming.
func (b *memoryBudget) admitLocked() {
	full := false
	b.waiting = slices.DeleteFunc(b.waiting, func(w *waiter) bool {
		if full || !b.fitsLocked(w.client, w.n) {
			full = full || w.client.memory == 0
			return false
		}
		b.chargeLocked(w.client, w.n)
		close(w.ready)
		return true
	})
}
