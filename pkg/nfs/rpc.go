package nfs

import (
	"errors"

	"pibootd/pkg/nfs/rpc"
)

// Message types and states of RFC 5531 §9.
const (
	msgCall  = 0
	msgReply = 1

	msgAccepted = 0
	msgDenied   = 1

	rpcMismatch = 0
	authError   = 1

	acceptSuccess      = 0
	acceptProgUnavail  = 1
	acceptProgMismatch = 2
	acceptProcUnavail  = 3
	acceptGarbageArgs  = 4
	acceptSystemErr    = 5

	authBadCred = 1

	flavorNone = 0
	flavorSys  = 1

	maxAuthBody    = 400
	maxMachineName = 255
	maxGroups      = 16
)

// A header is the start of a call (RFC 5531 §9, call_body).
type header struct {
	xid, prog, vers, proc uint32
	caller                identity
	anonymous             bool // no credentials: AUTH_NONE
}

var (
	errNotCall    = errors.New("not a call")
	errRPCVersion = errors.New("not RPC version 2")
	errCredential = errors.New("credentials are neither AUTH_NONE nor valid AUTH_SYS")
)

// parseHeader reads a call's header from d. On errRPCVersion and errCredential
// xid is set, so that they can be answered.
func parseHeader(d *decoder) (header, error) {
	h := header{xid: d.Uint32()}
	if d.Uint32() != msgCall || d.Bad {
		return h, errNotCall
	}
	if d.Uint32() != rpc.Version || d.Bad {
		return h, errRPCVersion
	}
	h.prog, h.vers, h.proc = d.Uint32(), d.Uint32(), d.Uint32()
	flavor, body := d.Uint32(), d.Opaque(maxAuthBody)
	d.Uint32()            // the verifier's flavor: AUTH_SYS has none to check
	d.Opaque(maxAuthBody) // and its body
	if d.Bad {
		return h, errCredential
	}
	switch flavor {
	case flavorNone:
		h.anonymous = true
		return h, nil
	case flavorSys:
		var err error
		h.caller, err = parseAuthSys(body)
		return h, err
	}
	return h, errCredential
}

// parseAuthSys reads an AUTH_SYS body (RFC 5531, appendix A).
func parseAuthSys(body []byte) (identity, error) {
	d := newDecoder(body)
	d.Uint32() // stamp
	d.Opaque(maxMachineName)
	id := identity{uid: d.Uint32(), gid: d.Uint32()}
	n := d.Uint32()
	if d.Bad || n > maxGroups {
		return identity{}, errCredential
	}
	for range n {
		id.groups = append(id.groups, d.Uint32())
	}
	if d.Bad {
		return identity{}, errCredential
	}
	return id, nil
}

// newReply starts a reply, leaving room for the record mark.
func newReply(e *encoder, xid, stat uint32) {
	e.Buf = append(e.Buf, 0, 0, 0, 0)
	e.Uint32(xid)
	e.Uint32(msgReply)
	e.Uint32(stat)
}

// accepted starts the reply to a call that got as far as its program.
func accepted(e *encoder, xid, stat uint32) {
	newReply(e, xid, msgAccepted)
	e.Uint32(flavorNone) // our verifier
	e.Uint32(0)
	e.Uint32(stat)
}

// denied is the reply to a call whose header was refused with err.
func denied(xid uint32, err error) []byte {
	var e encoder
	newReply(&e, xid, msgDenied)
	if errors.Is(err, errRPCVersion) {
		e.Uint32(rpcMismatch)
		e.Uint32(rpc.Version)
		e.Uint32(rpc.Version)
		return e.Buf
	}
	e.Uint32(authError)
	e.Uint32(authBadCred)
	return e.Buf
}

// refused is the reply to a call that was accepted but not run.
func refused(xid, stat uint32) []byte {
	var e encoder
	accepted(&e, xid, stat)
	return e.Buf
}

// A program is what one RPC program number answers in its one version.
type program struct {
	number, version uint32
	procedures      []procedure // by number
}

// A procedure answers one kind of call.
type procedure struct {
	name string
	// run reads the arguments from the call and writes the results to it. It
	// returns errGarbage, and only that, for arguments that cannot be read.
	run func(*call) error
	// once marks a procedure that must not run again when its call is repeated.
	once bool
	// quick reports whether a call with these arguments seldom waits for a
	// disk; nil: it may well.
	quick func(args decoder) bool
	// results is how many bytes the results to these arguments may have; nil:
	// few.
	results func(args decoder) uint32
}

func always(decoder) bool { return true }

// A kind is what is known of a call before it is run.
type kind struct {
	quick bool
	large bool // in its results
}

// room is how much of the room of all clients such a call takes. One that runs
// on the connection's own goroutine has the connection's own buffers.
func (k kind) room() int {
	switch {
	case k.large:
		return largeCall
	case k.quick:
		return 0
	}
	return smallCall
}

// kindOf is the kind of the call in rec. One that cannot be read is of none.
func kindOf(programs []program, rec []byte) kind {
	d := newDecoder(rec)
	d.Take(3 * 4) // xid, message type, RPC version
	number, _, proc := d.Uint32(), d.Uint32(), d.Uint32()
	for range 2 { // credentials and verifier
		d.Uint32()
		d.Opaque(maxAuthBody)
	}
	for _, p := range programs {
		if p.number == number && proc < uint32(len(p.procedures)) && !d.Bad {
			quick, results := p.procedures[proc].quick, p.procedures[proc].results
			return kind{quick: quick != nil && quick(d), large: results != nil && results(d) > smallResults}
		}
	}
	return kind{}
}

// find returns the procedure that h calls, or the reply that says why not.
func find(programs []program, h header) (procedure, []byte) {
	for _, p := range programs {
		if p.number != h.prog {
			continue
		}
		if p.version != h.vers {
			e := encoder{rpc.Encoder{Buf: refused(h.xid, acceptProgMismatch)}}
			e.Uint32(p.version)
			e.Uint32(p.version)
			return procedure{}, e.Buf
		}
		if h.proc >= uint32(len(p.procedures)) {
			return procedure{}, refused(h.xid, acceptProcUnavail)
		}
		return p.procedures[h.proc], nil
	}
	return procedure{}, refused(h.xid, acceptProgUnavail)
}
