package nfs

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/nfs/rpc"
)

// replyHead is what a reply has before its results: the record mark and the
// header of an accepted call.
const replyHead = 4 + 6*4

// A call is one request that is being answered.
type call struct {
	server    *Server
	service   *service
	client    netip.Addr
	port      uint16 // of the client
	caller    identity
	anonymous bool
	in        decoder
	encoder   // the results
	reply     *buffer

	// again is when a process that was killed began this same call; nil: none
	// did. What it has done of it is no error now.
	again *unix.StatxTimestamp

	tree *tree   // the export of the first handle that was good; nil: none
	end  outcome // how it ended
}

// answer runs the call in rec and returns the reply with its record mark; nil
// means silence. The reply may be in buf.
func (v *service) answer(rec []byte, from peer, programs []program, buf *buffer) []byte {
	d := newDecoder(rec)
	h, err := parseHeader(&d)
	if err == errNotCall {
		v.server.log().Debug("bad request", "addr", from.addr, "err", err)
		return nil
	}
	if err != nil {
		return marked(denied(h.xid, err))
	}
	p, no := find(programs, h)
	if no != nil {
		return marked(no)
	}
	c := &call{
		server: v.server, service: v, client: from.addr, port: from.port,
		caller: h.caller, anonymous: h.anonymous, in: d, reply: buf,
	}
	if !p.once {
		out := c.run(h.xid, p)
		return markedWith(out, buf.follows())
	}
	key := replayKeyOf(h, d.Buf)
	e, first := from.replays.begin(key)
	if !first {
		<-e.done
		return e.out
	}
	out := c.runOnce(key, p)
	e.finish(out)
	return out
}

// runOnce runs a call that must not run twice, and returns its reply, or that
// of the process that has run it and was killed.
func (c *call) runOnce(key replayKey, p procedure) []byte {
	if p.name == "WRITE" { // does no harm the second time, and there are many
		return marked(c.run(key.xid, p))
	}
	running, again, out := c.server.journal.begin(c.client, key)
	if out != nil {
		return out
	}
	c.again = again
	err := running.write(nil)
	out = marked(c.run(key.xid, p))
	if err = errors.Join(err, running.write(out)); err != nil {
		c.server.log().Warn("a call is not remembered over a restart", "addr", c.client, "call", p.name, "err", err)
	}
	return out
}

// run runs p, counts it and returns its reply.
func (c *call) run(xid uint32, p procedure) []byte {
	start, in := time.Now(), len(c.in.Buf)
	out := c.perform(xid, p)
	counters := c.server.counters
	if c.tree != nil {
		counters = c.tree.counters
	}
	if n := counters[p.name]; n != nil {
		n.count(c.end, in, len(out)-replyHead+c.reply.follows(), time.Since(start))
	}
	return out
}

// perform runs p and returns its reply.
func (c *call) perform(xid uint32, p procedure) []byte {
	c.Buf = c.reply.b[:0]
	accepted(&c.encoder, xid, acceptSuccess)
	c.server.running <- struct{}{}
	err := c.protect(p)
	<-c.server.running
	switch {
	case err == nil:
		c.keep()
		return c.Buf
	case err == errGarbage:
		c.server.log().Debug("bad request", "addr", c.client, "call", p.name, "err", err)
		c.end = outcomeGarbage
		return refused(xid, acceptGarbageArgs)
	}
	c.server.log().Error("call broke off", "addr", c.client, "call", p.name, "err", err)
	c.end = outcomeBroke
	return refused(xid, acceptSystemErr)
}

// keep makes the reply buffer hold what the results have grown into.
func (c *call) keep() {
	if c.reply.pooled == nil {
		c.reply.b = c.Buf
	}
}

// use returns the tree with that id for this call, which releases it.
func (c *call) use(id uint32) (*tree, error) {
	t, err := c.server.exports.use(id, c.client, c.port)
	if err == nil && c.tree == nil {
		c.tree = t
	}
	return t, err
}

// protect runs p. A panic in it costs that call, not the daemon.
func (c *call) protect(p procedure) (err error) {
	defer rpc.Recover(&err)
	return p.run(c)
}

// status writes the status that stands for err and reports whether it is OK.
func (c *call) status(err error) bool {
	s := statusOf(err)
	c.end = outcomeOf(s)
	c.Uint32(uint32(s))
	if s == statusIO || s == statusServerFault {
		c.server.log().Warn("file system refused a call", "addr", c.client, "err", err)
	}
	return s == statusOK
}
