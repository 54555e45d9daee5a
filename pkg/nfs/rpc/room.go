package rpc

import (
	"context"
	"slices"
	"sync"
)

const (
	// smallCall is what a call may take that is not large: its arguments and
	// its results, as they are while they wait for a thread or a slow client.
	smallCall = 2 * smallBuffer

	// largeCall is what one takes that has a large part: few have one, and
	// none has two.
	largeCall = bigBuffer + smallBuffer
)

// A room is the memory that the calls of all clients share while they are read
// and answered. It is taken for a whole call at once, and by one that holds
// nothing that another could wait for, so that nobody waits for ever.
//
// Beyond its first call a client may have half of what it leaves free. So one
// that is alone has a third of it all, and however much a few take and keep,
// until they are cut off, a client that comes later finds something.
type room struct {
	mu      sync.Mutex
	free    int
	waiting []*visitor // in the order in which they came
}

// A visitor waits for room.
type visitor struct {
	client *client
	n      int
	in     chan struct{} // closed once it has it
}

func newRoom(size int) *room { return &room{free: max(size, 2*largeCall)} }

// try takes n bytes for a call of client, at most largeCall, if nobody has to
// wait for them.
func (r *room) try(client *client, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 || !r.fitsLocked(client, n) {
		return false
	}
	r.takeLocked(client, n)
	return true
}

// wait is try, but waits. It returns an error only if ctx ends first.
func (r *room) wait(ctx context.Context, client *client, n int) error {
	v := &visitor{client, n, make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, v)
	r.admitLocked()
	r.mu.Unlock()
	select {
	case <-v.in:
		return nil
	case <-ctx.Done():
		r.leave(v)
		return ctx.Err()
	}
}

// give returns n bytes that were taken for a call of client.
func (r *room) give(client *client, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.takeLocked(client, -n)
	r.admitLocked()
}

// leave ends v's waiting.
func (r *room) leave(v *visitor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, v); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	} else {
		r.takeLocked(v.client, -v.n)
	}
	r.admitLocked()
}

func (r *room) fitsLocked(client *client, n int) bool {
	if client.room > 0 {
		n = 2 * (client.room + n)
	}
	return n <= r.free
}

func (r *room) takeLocked(client *client, n int) {
	client.room += n
	r.free -= n
}

// admitLocked lets in those who wait, as far as there is room. A client that
// has nothing yet is overtaken by nobody, or it would wait for as long as
// others come that need less.
func (r *room) admitLocked() {
	full := false
	r.waiting = slices.DeleteFunc(r.waiting, func(v *visitor) bool {
		if full || !r.fitsLocked(v.client, v.n) {
			full = full || v.client.room == 0
			return false
		}
		r.takeLocked(v.client, v.n)
		close(v.in)
		return true
	})
}
