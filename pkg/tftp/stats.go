package tftp

import "sync/atomic"

// counters are what a Server counts.
type counters struct {
	malformed, repeated, dropped            atomic.Uint64
	sent, missing, aborted, failed, refused atomic.Uint64
	bytes                                   atomic.Uint64
}

// Stats are counts since the Server was made.
type Stats struct {
	Transfers map[Outcome]uint64 // that have ended
	Bytes     uint64             // acknowledged by clients

	Malformed uint64 // packets that are no request
	Repeated  uint64 // requests that a running transfer answers already
	Dropped   uint64 // requests above MaxTransfers or a client's own limit
}

// Stats returns the counts so far. It is safe for concurrent use.
func (s *Server) Stats() Stats {
	c := &s.stats
	stats := Stats{Transfers: map[Outcome]uint64{}, Bytes: c.bytes.Load(), Malformed: c.malformed.Load(), Repeated: c.repeated.Load(), Dropped: c.dropped.Load()}
	for _, o := range []Outcome{Sent, Missing, Aborted, Failed, Refused} {
		stats.Transfers[o] = c.of(o).Load()
	}
	return stats
}

func (c *counters) of(o Outcome) *atomic.Uint64 {
	switch o {
	case Sent:
		return &c.sent
	case Missing:
		return &c.missing
	case Aborted:
		return &c.aborted
	case Refused:
		return &c.refused
	}
	return &c.failed
}
