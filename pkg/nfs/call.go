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
	reply     *rpc.Buffer

	// again is when an earlier process, since killed, started this same call;
	// nil: none did. What that process completed is no error now.
	again *unix.StatxTimestamp

	tree *tree   // the export of the first handle that was good; nil: none
	end  outcome // how it ended
}

// answer runs the call r of p and returns the reply with its record mark.
func (v *service) answer(r *rpc.Call, p procedure) []byte {
	c := &call{
		server: v.server, service: v, client: r.Client, port: r.Port,
		caller:    identity{uid: r.Credentials.UID, gid: r.Credentials.GID, groups: r.Credentials.Groups},
		anonymous: r.Credentials.Anonymous, in: decoder{r.Args}, reply: r.Reply,
	}
	if p.once {
		return c.runOnce(r.Key, p)
	}
	return rpc.Mark(c.run(r.XID, p), r.Reply.Follows())
}

// runOnce runs a call that must not run twice and returns its reply, or the reply
// of the killed process that has run it already.
func (c *call) runOnce(key rpc.ReplayKey, p procedure) []byte {
	if p.name == "WRITE" { // does no harm the second time, and there are many
		return rpc.Mark(c.run(key.XID, p), 0)
	}
	running, again, out := c.server.journal.begin(c.client, key)
	if out != nil {
		return out
	}
	c.again = again
	err := running.write(nil)
	out = rpc.Mark(c.run(key.XID, p), 0)
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
		n.count(c.end, in, len(out)-replyHead+c.reply.Follows(), time.Since(start))
	}
	return out
}

// perform runs p and returns its reply.
func (c *call) perform(xid uint32, p procedure) []byte {
	c.Buf = c.reply.Bytes[:0]
	rpc.Accepted(&c.Encoder, xid, rpc.Success)
	c.server.running <- struct{}{}
	err := c.protect(p)
	<-c.server.running
	switch {
	case err == nil:
		c.reply.Keep(c.Buf)
		return c.Buf
	case err == errGarbage:
		c.server.log().Debug("bad request", "addr", c.client, "call", p.name, "err", err)
		c.end = outcomeGarbage
		return rpc.Refused(xid, rpc.GarbageArgs)
	}
	c.server.log().Error("call failed", "addr", c.client, "call", p.name, "err", err)
	c.end = outcomeBroke
	return rpc.Refused(xid, rpc.SystemErr)
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
