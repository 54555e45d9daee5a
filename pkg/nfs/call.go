package nfs

import (
	"fmt"
	"net/netip"
	"runtime/debug"
)

// A call is one request that is being answered.
type call struct {
	server    *Server
	service   *service
	client    netip.Addr
	caller    identity
	anonymous bool
	in        decoder
	encoder   // the results
	reply     *buffer
}

// answer runs the call in rec and returns the reply with its record mark; nil
// means silence. The reply may be in buf.
func (v *service) answer(rec []byte, cl *client, programs []program, buf *buffer) []byte {
	d := decoder{buf: rec}
	h, err := parseHeader(&d)
	if err == errNotCall {
		v.server.log().Debug("bad request", "addr", cl.addr, "err", err)
		return nil
	}
	if err != nil {
		return marked(denied(h.xid, err))
	}
	p, no := find(programs, h)
	if no != nil {
		return marked(no)
	}
	c := &call{server: v.server, service: v, client: cl.addr, caller: h.caller, anonymous: h.anonymous, in: d, reply: buf}
	if !p.once {
		return marked(c.run(h.xid, p))
	}
	e, first := cl.replays.begin(h, d.buf)
	if !first {
		<-e.done
		return e.out
	}
	out := marked(c.run(h.xid, p))
	e.finish(out)
	return out
}

// run runs p and returns its reply.
func (c *call) run(xid uint32, p procedure) []byte {
	accepted(&c.encoder, xid, acceptSuccess)
	c.server.running <- struct{}{}
	err := c.protect(p)
	<-c.server.running
	switch {
	case err == nil:
		return c.buf
	case err == errGarbage:
		c.server.log().Debug("bad request", "addr", c.client, "call", p.name, "err", err)
		return refused(xid, acceptGarbageArgs)
	}
	c.server.log().Error("call broke off", "addr", c.client, "call", p.name, "err", err)
	return refused(xid, acceptSystemErr)
}

// protect runs p. A panic in it costs that call, not the daemon.
func (c *call) protect(p procedure) (err error) {
	defer recovered(&err)
	return p.run(c)
}

// recovered turns a panic into an error. It is to be deferred.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}

// status writes the status that stands for err and reports whether it is OK.
func (c *call) status(err error) bool {
	s := statusOf(err)
	c.uint32(uint32(s))
	if s == statusIO || s == statusServerFault {
		c.server.log().Warn("file system refused a call", "addr", c.client, "err", err)
	}
	return s == statusOK
}
