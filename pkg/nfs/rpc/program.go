package rpc

import "net/netip"

// A Program is what one RPC program number answers in its one version.
type Program struct {
	Number, Version uint32
	Procedures      []Procedure // by number
}

// A Procedure answers one kind of call.
type Procedure struct {
	// Run reads the arguments from the call and returns its reply, marked (see
	// Mark): the header (see Accepted, Refused) and the results.
	Run func(*Call) []byte
	// Once marks a procedure that must not run again when its call is repeated.
	Once bool
	// Quick reports whether a call with these arguments seldom waits for a
	// disk; nil: never.
	Quick func(args Decoder) bool
	// Results is the largest size of the results to these arguments, in bytes;
	// nil: small.
	Results func(args Decoder) uint32
}

// A Call is one request that is to be answered.
type Call struct {
	XID         uint32
	Client      netip.Addr
	Port        uint16 // of the client
	Credentials Credentials
	Args        Decoder
	Reply       *Buffer   // may hold the reply
	Key         ReplayKey // of a procedure that runs once
}

// A kind is what is known about a call before it runs.
type kind struct {
	quick bool
	large bool // in its results
}

// memory is how much of the memory budget a call of this kind needs. A call that
// runs on the connection's own goroutine uses the connection's own buffers.
func (k kind) memory() int {
	switch {
	case k.large:
		return largeCall
	case k.quick:
		return 0
	}
	return smallCall
}

// kindOf is the kind of the call in rec; the zero kind if it cannot be read.
func kindOf(programs []Program, rec []byte) kind {
	d := Decoder{Buf: rec}
	d.Take(3 * 4) // xid, message type, RPC version
	number, _, proc := d.Uint32(), d.Uint32(), d.Uint32()
	for range 2 { // credentials and verifier
		d.Uint32()
		d.Opaque(MaxAuthBody)
	}
	for _, p := range programs {
		if p.Number == number && proc < uint32(len(p.Procedures)) && !d.Bad {
			quick, results := p.Procedures[proc].Quick, p.Procedures[proc].Results
			return kind{quick: quick != nil && quick(d), large: results != nil && results(d) > smallResults}
		}
	}
	return kind{}
}

// find returns the procedure that h calls, or the reply that refuses the call.
func find(programs []Program, h header) (Procedure, []byte) {
	for _, p := range programs {
		if p.Number != h.prog {
			continue
		}
		if p.Version != h.vers {
			e := Encoder{Buf: Refused(h.xid, ProgMismatch)}
			e.Uint32(p.Version)
			e.Uint32(p.Version)
			return Procedure{}, e.Buf
		}
		if h.proc >= uint32(len(p.Procedures)) {
			return Procedure{}, Refused(h.xid, ProcUnavail)
		}
		return p.Procedures[h.proc], nil
	}
	return Procedure{}, Refused(h.xid, ProgUnavail)
}
