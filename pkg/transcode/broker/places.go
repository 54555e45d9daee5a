package broker

import (
	"net"
	"slices"
)

// A place is what one of many takes where there is room for some.
type place struct {
	key  string   // whose it is, for the bound per key
	conn net.Conn // what is closed when it has to make room
}

// places bound how many there are at once, in all and of one key. The newest gets
// in: the oldest of its key makes room, or else the oldest of the key that has
// most, so that nobody who asks for many keeps out who asks for one. They are not
// safe for concurrent use.
type places struct {
	most, perKey int
	// keepOnly leaves each key its only place: when there is no room in all but by
	// such, the newest does not get in.
	keepOnly bool

	taken []*place // the oldest first
}

// take makes room for p and reports whether it got in. out is what has to make
// room, if not nil; the caller closes it.
func (ps *places) take(p *place) (out *place, ok bool) {
	switch {
	case ps.count(p.key) >= ps.perKey:
		out = ps.drop(p.key)
	case len(ps.taken) >= ps.most:
		largest := ps.largest()
		if ps.keepOnly && ps.count(largest) < 2 {
			return nil, false
		}
		out = ps.drop(largest)
	}
	ps.taken = append(ps.taken, p)
	return out, true
}

func (ps *places) count(key string) int {
	n := 0
	for _, p := range ps.taken {
		if p.key == key {
			n++
		}
	}
	return n
}

// largest returns the key that has most places; of several that with the oldest.
func (ps *places) largest() (largest string) {
	counts := map[string]int{}
	for _, p := range ps.taken {
		counts[p.key]++
	}
	for _, p := range ps.taken {
		if counts[p.key] > counts[largest] {
			largest = p.key
		}
	}
	return largest
}

// drop takes the oldest place of a key away from whoever has it.
func (ps *places) drop(key string) *place {
	i := slices.IndexFunc(ps.taken, func(p *place) bool { return p.key == key })
	out := ps.taken[i]
	ps.taken = slices.Delete(ps.taken, i, i+1)
	return out
}

// free gives a place back; one that was taken away is given back already.
func (ps *places) free(p *place) {
	if i := slices.Index(ps.taken, p); i >= 0 {
		ps.taken = slices.Delete(ps.taken, i, i+1)
	}
}
