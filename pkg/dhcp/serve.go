package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

const (
	// maxPacket is the longest message that is read: what an Ethernet frame holds.
	maxPacket = 1500
	// readBatch is how many messages one system call reads.
	readBatch = 32
	// maxWaiting bounds the answers that wait for something: for the disk, for
	// the silence after an ARP probe, for a mask ROM to listen. What comes
	// while there are as many is dropped; clients ask again.
	maxWaiting = 8192
)

// Serve answers the messages on conn, from Listen, until ctx ends, and returns
// nil. It returns an error only if conn itself fails or the server's own
// address is unfit: a malformed message costs one log line. Serve does not
// close conn. A Server may serve a second Conn, on PXE's port, at the same time.
func (s *Server) Serve(ctx context.Context, conn *Conn) (err error) {
	if !s.Addr.Addr().Is4() {
		return fmt.Errorf("dhcp: serving as %v; want an IPv4 address with its prefix length", s.Addr)
	}
	ctx, cancel := context.WithCancel(ctx)
	x := newExchange(s, conn)
	in, err := newReceiver(conn)
	if err != nil {
		cancel()
		return err
	}
	x.waiting.Go(func() { // the caller's conn is touched by nobody once Serve has returned
		<-ctx.Done()
		past := time.Unix(1, 0)
		_ = conn.SetReadDeadline(past)
		if conn.link != nil {
			_ = conn.link.file.SetReadDeadline(past)
		}
	})
	defer func() {
		cancel()
		x.waiting.Wait()
		err = errors.Join(err, x.release())
	}()
	if err := x.start(ctx); err != nil {
		return err
	}
	return x.read(ctx, in)
}

// An exchange is a Server on one Conn.
type exchange struct {
	*Server
	out     transmitter
	send    func(*dhcpv4.DHCPv4, route) error
	prober  *prober
	slots   chan struct{} // one for each of waiting that is an answer
	waiting sync.WaitGroup
}

// newExchange returns s on conn; nil is no network, as in tests of what is
// decided.
func newExchange(s *Server, conn *Conn) *exchange {
	x := &exchange{Server: s, slots: make(chan struct{}, maxWaiting)}
	x.out = transmitter{conn: conn, source: netip.AddrPortFrom(s.Addr.Addr(), serverPort)}
	x.prober = newProber(nil)
	if conn != nil {
		x.out.control = unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(conn.index), Spec_dst: s.Addr.Addr().As4()})
		x.out.source = netip.AddrPortFrom(s.Addr.Addr(), uint16(conn.LocalAddr().(*net.UDPAddr).Port))
		x.prober = newProber(conn.link)
	}
	x.send = x.out.send
	return x
}

// start starts the background work beside the replies, and removes what a
// killed server left.
func (x *exchange) start(ctx context.Context) error {
	if neigh := x.out.neighbours(); neigh != nil {
		if err := neigh.removeAll(); err != nil {
			return fmt.Errorf("dhcp: %w", err)
		}
		x.waiting.Go(func() { x.renewPins(ctx, neigh) })
	}
	if x.Pool == nil || x.Proxy {
		return nil
	}
	x.waiting.Go(func() { x.Pool.write(ctx) })
	x.waiting.Go(func() { x.probeAhead(ctx) })
	if x.prober.link != nil {
		x.waiting.Go(func() {
			if err := x.prober.listen(); err != nil {
				x.log().Error("address conflicts are no longer detected", "err", err)
			}
		})
	}
	return nil
}

func (x *exchange) release() error {
	if neigh := x.out.neighbours(); neigh != nil {
		return neigh.removeAll()
	}
	return nil
}

func (x *exchange) renewPins(ctx context.Context, neigh *neighbours) {
	tick := time.NewTicker(pinCheck)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if err := neigh.renew(now); err != nil {
				x.log().Warn("neighbour entries not renewed", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// read reads messages until ctx ends.
func (x *exchange) read(ctx context.Context, in *receiver) error {
	for {
		n, err := in.receive()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range n {
			packet, from := in.at(i)
			if err := x.handle(ctx, packet, from); err != nil {
				x.log().Debug("message dropped", "addr", from, "err", err)
			}
		}
	}
}

// handle answers one packet, or has it answered when what the answer waits for
// has happened. A panic costs this packet and not the server: the packet's
// parser is not ours, and neither is the Policy.
func (x *exchange) handle(ctx context.Context, packet []byte, from netip.AddrPort) (err error) {
	defer x.survive(&err)
	req, err := parse(packet)
	if err != nil {
		x.stats.malformed.Add(1)
		return err
	}
	req.from = from
	x.stats.received[req.kind.index()].Add(1)
	a := x.decide(ctx, req)
	in := Message{Kind: req.kind, MAC: req.client.MAC, GUID: req.client.GUID, Addr: req.asked, Relay: req.relay, Netboot: req.client.Netboot}
	if req.kind == Request && req.server != x.Addr.Addr() {
		in.Server = req.server
	}
	if a.reply == nil && a.later == nil {
		in.Reason = a.reason
		x.stats.unanswered.Add(1)
	}
	in.Packet = packet
	x.report(in)
	in.Packet = nil // the next message overwrites it
	if a.later == nil {
		return x.answer(req, a, in)
	}
	select {
	case x.slots <- struct{}{}:
	default:
		x.stats.overload.Add(1)
		return fmt.Errorf("%d answers are waiting", maxWaiting)
	}
	x.waiting.Go(func() {
		defer func() { <-x.slots }()
		if err := x.finish(ctx, req, a, in); err != nil {
			x.log().Debug("message dropped", "pi", in.MAC, "err", err)
		}
	})
	return nil
}

func (x *exchange) finish(ctx context.Context, req *request, a answer, in Message) (err error) {
	defer x.survive(&err)
	for a.later != nil {
		a = a.later(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	if a.reply == nil {
		x.stats.unanswered.Add(1)
		if a.reason != "" {
			x.log().Debug("no reply sent", "pi", in.MAC, "reason", a.reason)
		}
	}
	if err := x.answer(req, a, in); err != nil {
		return err
	}
	if a.after != nil {
		a.after(ctx)
	}
	return nil
}

func (x *exchange) survive(err *error) {
	if p := recover(); p != nil {
		x.stats.panics.Add(1)
		x.log().Error("message handler panicked", "err", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("panic: %v", p)
	}
}

// answer sends the answer to in, if there is one. It is reported first: the client
// may ask on at once, and that comes after.
func (x *exchange) answer(req *request, a answer, in Message) error {
	if a.reply == nil {
		return nil
	}
	out := in
	out.Kind, out.Reason = replyKind(a.reply), a.reason
	if out.Kind != Nak && req.kind != Inform {
		out.Addr = addrOf(a.reply.YourIPAddr)
	}
	x.report(out)
	if err := x.send(a.reply, x.out.route(req, a.reply)); err != nil {
		x.stats.unsent.Add(1)
		x.log().Warn("reply not sent", "pi", in.MAC, "err", err)
		return nil
	}
	x.stats.sent[out.Kind.index()].Add(1)
	return nil
}

func replyKind(reply *dhcpv4.DHCPv4) Kind {
	switch reply.MessageType() {
	case dhcpv4.MessageTypeOffer:
		return Offer
	case dhcpv4.MessageTypeAck:
		return Ack
	}
	return Nak
}

func (s *Server) report(m Message) {
	switch {
	case m.Kind == Nak:
		s.log().Warn("address refused", "pi", m.MAC, "addr", m.Addr, "reason", m.Reason)
	case m.Kind == Decline:
		s.log().Warn("client found its address in use by another host", "pi", m.MAC, "addr", m.Addr)
	case s.Log != nil && s.Log.Enabled(context.Background(), slog.LevelDebug): // making a record costs more than an answer
		s.log().Debug("message", "kind", m.Kind, "pi", m.MAC, "addr", m.Addr, "reason", m.Reason)
	}
	if s.OnMessage != nil {
		s.OnMessage(m)
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log.With("component", "dhcp", "interface", s.Interface)
}
