// Package turns has the changes of one thing made one after the other, and those of different
// things side by side, with no mutex held over their I/O.
package turns

import (
	"context"
	"sync"
)

// Turns are the things that are being changed. The zero value is ready to use. The methods are safe
// for concurrent use.
type Turns[Key comparable] struct {
	mu   sync.Mutex
	ends map[Key]chan struct{} // closed when the change of that thing ends
}

// Begin waits until no other change of key is under way, or ctx ends: it then returns ctx's error.
// The caller calls end, once.
func (t *Turns[Key]) Begin(ctx context.Context, key Key) (end func(), err error) {
	for {
		other, end := t.try(key)
		if end != nil {
			return end, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try returns end, or when to try again.
func (t *Turns[Key]) try(key Key) (other <-chan struct{}, end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other, busy := t.ends[key]; busy {
		return other, nil
	}
	if t.ends == nil {
		t.ends = map[Key]chan struct{}{}
	}
	own := make(chan struct{})
	t.ends[key] = own
	return nil, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.ends, key)
		close(own)
	}
}
