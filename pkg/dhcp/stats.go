package dhcp

import (
	"slices"
	"sync/atomic"
)

// kinds are the messages in the order of their counters.
var kinds = [...]Kind{Discover, Offer, Request, Ack, Nak, Decline, Release, Inform}

func (k Kind) index() int { return slices.Index(kinds[:], k) }

// counters are what a Server counts.
type counters struct {
	received, sent                                  [len(kinds)]atomic.Uint64
	malformed, unanswered, overload, unsent, panics atomic.Uint64
}

// Stats are counts since the Server was made.
type Stats struct {
	Received map[Kind]uint64 // well-formed messages
	Sent     map[Kind]uint64 // answers

	Malformed  uint64 // packets that are no client's message
	Unanswered uint64 // messages that get no answer, such as those of strangers
	Overload   uint64 // messages dropped because too many answers were waiting
	Unsent     uint64 // answers that the network did not take
	Panics     uint64 // messages that the server failed on
}

// Stats returns the counts so far. It is safe for concurrent use.
func (s *Server) Stats() Stats {
	c := &s.stats
	stats := Stats{
		Received: map[Kind]uint64{}, Sent: map[Kind]uint64{},
		Malformed: c.malformed.Load(), Unanswered: c.unanswered.Load(), Overload: c.overload.Load(),
		Unsent: c.unsent.Load(), Panics: c.panics.Load(),
	}
	for i, kind := range kinds {
		stats.Received[kind] = c.received[i].Load()
		stats.Sent[kind] = c.sent[i].Load()
	}
	return stats
}
