package nfs

import "errors"

// Message types and states of RFC 5531 §9.
const (
	rpcVersion = 2

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
	h := header{xid: d.uint32()}
	if d.uint32() != msgCall || d.bad {
		return h, errNotCall
	}
	if d.uint32() != rpcVersion || d.bad {
		return h, errRPCVersion
	}
	h.prog, h.vers, h.proc = d.uint32(), d.uint32(), d.uint32()
	flavor, body := d.uint32(), d.opaque(maxAuthBody)
	d.uint32()            // the verifier's flavor: AUTH_SYS has none to check
	d.opaque(maxAuthBody) // and its body
	if d.bad {
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
	d := decoder{buf: body}
	d.uint32() // stamp
	d.opaque(maxMachineName)
	id := identity{uid: d.uint32(), gid: d.uint32()}
	n := d.uint32()
	if d.bad || n > maxGroups {
		return identity{}, errCredential
	}
	for range n {
		id.groups = append(id.groups, d.uint32())
	}
	if d.bad {
		return identity{}, errCredential
	}
	return id, nil
}

// newReply starts a reply, leaving room for the record mark.
func newReply(e *encoder, xid, stat uint32) {
	e.buf = append(e.buf, 0, 0, 0, 0)
	e.uint32(xid)
	e.uint32(msgReply)
	e.uint32(stat)
}

// accepted starts the reply to a call that got as far as its program.
func accepted(e *encoder, xid, stat uint32) {
	newReply(e, xid, msgAccepted)
	e.uint32(flavorNone) // our verifier
	e.uint32(0)
	e.uint32(stat)
}

// denied is the reply to a call whose header was refused with err.
func denied(xid uint32, err error) []byte {
	var e encoder
	newReply(&e, xid, msgDenied)
	if errors.Is(err, errRPCVersion) {
		e.uint32(rpcMismatch)
		e.uint32(rpcVersion)
		e.uint32(rpcVersion)
		return e.buf
	}
	e.uint32(authError)
	e.uint32(authBadCred)
	return e.buf
}

// refused is the reply to a call that was accepted but not run.
func refused(xid, stat uint32) []byte {
	var e encoder
	accepted(&e, xid, stat)
	return e.buf
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
	d := decoder{buf: rec}
	d.take(3 * 4) // xid, message type, RPC version
	number, _, proc := d.uint32(), d.uint32(), d.uint32()
	for range 2 { // credentials and verifier
		d.uint32()
		d.opaque(maxAuthBody)
	}
	for _, p := range programs {
		if p.number == number && proc < uint32(len(p.procedures)) && !d.bad {
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
			e := encoder{buf: refused(h.xid, acceptProgMismatch)}
			e.uint32(p.version)
			e.uint32(p.version)
			return procedure{}, e.buf
		}
		if h.proc >= uint32(len(p.procedures)) {
			return procedure{}, refused(h.xid, acceptProcUnavail)
		}
		return p.procedures[h.proc], nil
	}
	return procedure{}, refused(h.xid, acceptProgUnavail)
}
