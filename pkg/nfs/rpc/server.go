// Package rpc serves programs of ONC RPC (RFC 5531) over TCP and UDP: record
// marking, XDR (RFC 4506), AUTH_SYS credentials, and the limits that keep
// clients from taking each other's memory, connections and threads. It knows
// nothing of what the programs do.
package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
)

const (
	// recordTimeout is how long a client has to finish sending a call, or to
	// read a reply.
	recordTimeout = 30 * time.Second

	// strangerTimeout is how long a connection may be idle from an address
	// that may mount nothing.
	strangerTimeout = 30 * time.Second

	// A peer that is silent for keepIdle gets a keepalive probe every
	// keepInterval. The kernel closes its connection after keepCount probes
	// without an answer, or if it acknowledges nothing for as long.
	keepIdle     = 30 * time.Second
	keepInterval = 15 * time.Second
	keepCount    = 6
	goneTimeout  = keepIdle + keepCount*keepInterval

	// acceptPause is waited when no connection can be accepted for want of
	// file descriptors or memory.
	acceptPause = 100 * time.Millisecond
)

// A Server answers calls. Set its fields before the first call of a method;
// all of them are needed, except Log. The methods are safe for concurrent use.
type Server struct {
	Log            *slog.Logger          // nil discards
	Known          func(netip.Addr) bool // whether an address may send large calls, and be idle
	Memory         *Memory
	MaxConns       int // at once, half of them for addresses that are not known
	MaxClientConns int // at once from one address
	MaxClientCalls int // running at once for one address

	mu      sync.Mutex
	conns   int
	clients map[netip.Addr]*client // by address; bounded by maxClients
}

func (s *Server) log() *slog.Logger {
	return cmp.Or(s.Log, slog.New(slog.DiscardHandler))
}

// ServeTCP answers calls of programs on the connections of l until ctx ends
// and l is closed, and waits for the calls that run. It returns an error only
// if l itself fails.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener, programs ...Program) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = nc.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accepting a connection: %w", err)
		}
		if err != nil {
			s.log().Error("accepting a connection", "err", err)
			pause.For(ctx, acceptPause)
			continue
		}
		conns.Go(func() { s.connection(ctx, nc, programs) })
	}
}

// connection serves one connection until either side closes it, and waits for
// its calls.
func (s *Server) connection(ctx context.Context, nc net.Conn, programs []Program) {
	defer nc.Close()
	remote := remoteAddr(nc)
	addr := remote.Addr()
	log := s.log().With("addr", addr)
	cl := s.enter(addr)
	if cl == nil {
		log.Warn("too many connections")
		return
	}
	defer s.leave(cl)
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if err := noticeGone(nc); err != nil {
		log.Debug("connection ended", "err", err)
		return
	}
	c := s.newConn(nc, cl, remote.Port(), programs)
	if err := c.serve(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
		log.Debug("connection ended", "err", err)
	}
}

// noticeGone has the kernel close the connection when its peer disappears: a board
// that loses its power does not close it.
func noticeGone(nc net.Conn) error {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	err := tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount})
	if err != nil {
		return fmt.Errorf("setting keepalive: %w", err)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("setting the time for acknowledgements: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(goneTimeout.Milliseconds()))
	})
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("setting the time for acknowledgements: %w", err)
	}
	return nil
}

func remoteAddr(nc net.Conn) netip.AddrPort {
	a, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.AddrPort{} // not an IP connection: it may mount nothing
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// ServeUDP answers calls of programs on pc, one at a time, until ctx ends and pc
// is closed. Only programs whose calls touch no disk may be served this way.
func (s *Server) ServeUDP(ctx context.Context, pc net.PacketConn, programs ...Program) error {
	in := make([]byte, MaxStrangerCall)
	for {
		n, from, err := pc.ReadFrom(in)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("reading a datagram: %w", err)
		}
		if err != nil { // of one datagram, e.g. an ICMP answer to an earlier reply
			s.log().Debug("reading a datagram", "err", err)
			pause.For(ctx, acceptPause)
			continue
		}
		ap, err := netip.ParseAddrPort(from.String())
		if err != nil {
			continue
		}
		out := s.Answer(in[:n], ap, programs...)
		if out == nil {
			continue
		}
		if _, err := pc.WriteTo(out[4:], from); err != nil {
			s.log().Debug("sending a datagram", "addr", ap.Addr(), "err", err)
		}
	}
}

// Answer returns the reply to the call in rec with its record mark, nil for no
// reply. It does not recognise repeated calls.
func (s *Server) Answer(rec []byte, from netip.AddrPort, programs ...Program) []byte {
	return s.answer(rec, peer{&client{addr: from.Addr().Unmap()}, from.Port()}, programs, &Buffer{memory: s.Memory})
}

// answer is Answer for a client whose calls may be repeated. The reply may be
// in buf.
func (s *Server) answer(rec []byte, from peer, programs []Program, buf *Buffer) []byte {
	d := Decoder{Buf: rec}
	h, err := parseHeader(&d)
	if err == errNotCall {
		s.log().Debug("bad request", "addr", from.addr, "err", err)
		return nil
	}
	if err != nil {
		return Mark(denied(h.xid, err), 0)
	}
	p, no := find(programs, h)
	if no != nil {
		return Mark(no, 0)
	}
	c := &Call{XID: h.xid, Client: from.addr, Port: from.port, Credentials: h.cred, Args: d, Reply: buf}
	if !p.Once {
		return p.Run(c)
	}
	c.Key = replayKeyOf(h, d.Buf)
	e, first := from.replays.begin(c.Key)
	if !first {
		<-e.done
		return e.out
	}
	out := p.Run(c)
	e.finish(out)
	return out
}
