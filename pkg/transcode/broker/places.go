package broker

import (
	"net"
	"slices"
)

// A place is one slot of a limited number.
type place struct {
	key  string   // its owner, for the limit per key
	conn net.Conn // closed when the place is taken away
}

// places limits the places in use, in total and per key. A new one always succeeds by
// evicting the oldest of its key or, if all are in use, the oldest of the key with
// the most. So a client that asks for many cannot keep out one that asks for one. It
// is not safe for concurrent use.
type places struct {
	most, perKey int
	// keepOnly protects the only place of a key: if every place in use is one, a new
	// one is refused.
	keepOnly bool

	held []*place // the oldest first
}

// reserve adds p and reports whether it was accepted. out is the evicted place, if
// not nil, which the caller closes.
func (ps *places) reserve(p *place) (out *place, ok bool) {
	switch {
	case ps.count(p.key) >= ps.perKey:
		out = ps.drop(p.key)
	case len(ps.held) >= ps.most:
		largest := ps.largest()
		if ps.keepOnly && ps.count(largest) < 2 {
			return nil, false
		}
		out = ps.drop(largest)
	}
	ps.held = append(ps.held, p)
	return out, true
}

func (ps *places) count(key string) int {
	n := 0
	for _, p := range ps.held {
		if p.key == key {
			n++
		}
	}
	return n
}

// largest returns the key with the most places; of several, the one with the oldest.
func (ps *places) largest() (largest string) {
	counts := map[string]int{}
	for _, p := range ps.held {
		counts[p.key]++
	}
	for _, p := range ps.held {
		if counts[p.key] > counts[largest] {
			largest = p.key
		}
	}
	return largest
}

// drop removes the oldest place of a key.
func (ps *places) drop(key string) *place {
	i := slices.IndexFunc(ps.held, func(p *place) bool { return p.key == key })
	out := ps.held[i]
	ps.held = slices.Delete(ps.held, i, i+1)
	return out
}

// free releases a place. It does nothing if the place was evicted.
func (ps *places) free(p *place) {
	if i := slices.Index(ps.held, p); i >= 0 {
		ps.held = slices.Delete(ps.held, i, i+1)
	}
}
