package rpc

import "errors"

// Message types and states of RFC 5531 §9.
const (
	// Version is that of ONC RPC.
	Version = 2

	MsgCall  = 0
	MsgReply = 1

	MsgAccepted = 0
	MsgDenied   = 1

	rpcMismatch = 0
	authError   = 1

	Success      = 0
	ProgUnavail  = 1
	ProgMismatch = 2
	ProcUnavail  = 3
	GarbageArgs  = 4
	SystemErr    = 5

	authBadCred = 1

	AuthNone = 0
	AuthSys  = 1

	MaxAuthBody    = 400
	maxMachineName = 255
	maxGroups      = 16
)

// A header is the start of a call (RFC 5531 §9, call_body).
type header struct {
	xid, prog, vers, proc uint32
	cred                  Credentials
}

// Credentials are the user and groups that a call claims to come from.
type Credentials struct {
	UID, GID  uint32
	Groups    []uint32
	Anonymous bool // AUTH_NONE: there are no others
}

var (
	errNotCall    = errors.New("not a call")
	errRPCVersion = errors.New("not RPC version 2")
	errCredential = errors.New("credentials are neither AUTH_NONE nor valid AUTH_SYS")
)

// parseHeader reads a call's header from d. On errRPCVersion and errCredential
// xid is set, so that they can be answered.
func parseHeader(d *Decoder) (header, error) {
	h := header{xid: d.Uint32()}
	if d.Uint32() != MsgCall || d.Bad {
		return h, errNotCall
	}
	if d.Uint32() != Version || d.Bad {
		return h, errRPCVersion
	}
	h.prog, h.vers, h.proc = d.Uint32(), d.Uint32(), d.Uint32()
	flavor, body := d.Uint32(), d.Opaque(MaxAuthBody)
	d.Uint32()            // the verifier's flavor: AUTH_SYS has none to check
	d.Opaque(MaxAuthBody) // and its body
	if d.Bad {
		return h, errCredential
	}
	switch flavor {
	case AuthNone:
		h.cred.Anonymous = true
		return h, nil
	case AuthSys:
		var err error
		h.cred, err = parseAuthSys(body)
		return h, err
	}
	return h, errCredential
}

// parseAuthSys reads an AUTH_SYS body (RFC 5531, appendix A).
func parseAuthSys(body []byte) (Credentials, error) {
	d := Decoder{Buf: body}
	d.Uint32() // stamp
	d.Opaque(maxMachineName)
	cred := Credentials{UID: d.Uint32(), GID: d.Uint32()}
	n := d.Uint32()
	if d.Bad || n > maxGroups {
		return Credentials{}, errCredential
	}
	for range n {
		cred.Groups = append(cred.Groups, d.Uint32())
	}
	if d.Bad {
		return Credentials{}, errCredential
	}
	return cred, nil
}

// newReply starts a reply, leaving room for the record mark.
func newReply(e *Encoder, xid, stat uint32) {
	e.Buf = append(e.Buf, 0, 0, 0, 0)
	e.Uint32(xid)
	e.Uint32(MsgReply)
	e.Uint32(stat)
}

// Accepted starts the reply to a call that got as far as its program.
func Accepted(e *Encoder, xid, stat uint32) {
	newReply(e, xid, MsgAccepted)
	e.Uint32(AuthNone) // our verifier
	e.Uint32(0)
	e.Uint32(stat)
}

// denied is the reply to a call whose header was refused with err.
func denied(xid uint32, err error) []byte {
	var e Encoder
	newReply(&e, xid, MsgDenied)
	if errors.Is(err, errRPCVersion) {
		e.Uint32(rpcMismatch)
		e.Uint32(Version)
		e.Uint32(Version)
		return e.Buf
	}
	e.Uint32(authError)
	e.Uint32(authBadCred)
	return e.Buf
}

// Refused is the reply to a call that was accepted but not run.
func Refused(xid, stat uint32) []byte {
	var e Encoder
	Accepted(&e, xid, stat)
	return e.Buf
}
