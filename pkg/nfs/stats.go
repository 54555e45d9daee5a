package nfs

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A ProcedureStats is what the calls of one procedure in one export came to,
// since the export was made or, outside of exports, since the server started.
type ProcedureStats struct {
	Export    string            // its path; empty for calls that reached none
	Procedure string            // e.g. READ, MNT, GETPORT
	Calls     uint64            // that were answered
	Failed    map[string]uint64 // of these, by why, e.g. NFS3ERR_NOENT
	BytesIn   uint64            // of arguments
	BytesOut  uint64            // of results
	Took      time.Duration     // all calls together, from call received to result made
	Latency   []LatencyBucket   // ascending; calls above the last are in Calls only
}

// A LatencyBucket says how many calls took at most so long.
type LatencyBucket struct {
	AtMost time.Duration
	Calls  uint64
}

// Stats returns what was counted, ordered by export and procedure. Procedures
// that were never called are left out. What is counted while Stats runs may
// be in some of the numbers and not in others.
func (s *Server) Stats() []ProcedureStats {
	if s.ready() != nil {
		return nil
	}
	all := s.counters.stats("")
	for _, t := range s.exports.all() {
		all = append(all, t.counters.stats(t.export.Path)...)
	}
	slices.SortFunc(all, func(a, b ProcedureStats) int {
		if c := strings.Compare(a.Export, b.Export); c != 0 {
			return c
		}
		return strings.Compare(a.Procedure, b.Procedure)
	})
	return all
}

// latencies are the upper bounds of the latency buckets, from what the page
// cache answers to what a busy disk does.
var latencies = [...]time.Duration{
	50 * time.Microsecond, 200 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, time.Second, 5 * time.Second,
}

// counters count calls, by procedure. The map does not change once made.
type counters map[string]*counter

func newCounters(programs ...program) counters {
	cs := counters{}
	for _, p := range programs {
		for _, proc := range p.procedures {
			cs[proc.name] = new(counter)
		}
	}
	return cs
}

func (cs counters) stats(export string) []ProcedureStats {
	var all []ProcedureStats
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		if cs[name].calls.Load() == 0 {
			continue
		}
		p := cs[name].stats()
		p.Export, p.Procedure = export, name
		all = append(all, p)
	}
	return all
}

// A counter counts the calls of a procedure. The zero value is ready for use.
type counter struct {
	calls, in, out, took atomic.Uint64
	failed               [maxOutcome]atomic.Uint64 // by outcome; that of OK stays 0
	latency              [len(latencies)]atomic.Uint64
}

// count adds a call.
func (c *counter) count(end outcome, in, out int, took time.Duration) {
	c.calls.Add(1)
	c.in.Add(uint64(in))
	c.out.Add(uint64(out))
	c.took.Add(uint64(took))
	if end != 0 {
		c.failed[end].Add(1)
	}
	for i, d := range latencies {
		if took <= d {
			c.latency[i].Add(1)
			break
		}
	}
}

func (c *counter) stats() ProcedureStats {
	p := ProcedureStats{BytesIn: c.in.Load(), BytesOut: c.out.Load(), Took: time.Duration(c.took.Load())}
	for i := range c.failed {
		if n := c.failed[i].Load(); n > 0 {
			if p.Failed == nil {
				p.Failed = map[string]uint64{}
			}
			p.Failed[outcome(i).String()] = n
		}
	}
	sum := uint64(0)
	for i, d := range latencies {
		sum += c.latency[i].Load()
		p.Latency = append(p.Latency, LatencyBucket{AtMost: d, Calls: sum})
	}
	p.Calls = c.calls.Load() // last, for it counts first: never less than its parts
	return p
}

// An outcome is how a call ended, in a number small enough for an array: a
// status up to statusStale as it is, one from 10001 on after these, and then
// the two RPC errors that a known procedure can come to.
type outcome uint8

const (
	outcomeGarbage = outcome(statusStale) + 10
	outcomeBroke   = outcome(statusStale) + 11
	maxOutcome     = outcome(statusStale) + 12
)

func outcomeOf(s status) outcome {
	if s > statusStale {
		return outcome(s - 10000 + statusStale)
	}
	return outcome(s)
}

func (o outcome) String() string {
	switch {
	case o == outcomeGarbage:
		return "GARBAGE_ARGS"
	case o == outcomeBroke:
		return "SYSTEM_ERR"
	case o > outcome(statusStale):
		return (10000 + status(o) - statusStale).String()
	}
	return status(o).String()
}
