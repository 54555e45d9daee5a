package nfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// recordTimeout is how long a client may take to send a call that it has
	// begun, or to take a reply.
	recordTimeout = 30 * time.Second

	// strangerTimeout is how long a connection may be idle from an address
	// that may mount nothing.
	strangerTimeout = 30 * time.Second

	// A peer that is silent for keepIdle is asked every keepInterval whether it
	// is there. It is gone if it does not answer keepCount times, or takes
	// nothing of what was sent for as long.
	keepIdle     = 30 * time.Second
	keepInterval = 15 * time.Second
	keepCount    = 6
	goneTimeout  = keepIdle + keepCount*keepInterval

	// acceptPause is waited when no connection can be accepted for want of
	// file descriptors or memory.
	acceptPause = 100 * time.Millisecond
)

// Listeners are the sockets of one Serve. NFS is needed, the others may be nil.
type Listeners struct {
	NFS        net.Listener   // NFS and MOUNT over TCP
	Portmap    net.Listener   // port 111, for clients that ask for ports
	MountUDP   net.PacketConn // MOUNT over UDP: some initramfs know nothing else
	PortmapUDP net.PacketConn
}

func (l Listeners) close() {
	for _, c := range []io.Closer{l.NFS, l.Portmap, l.MountUDP, l.PortmapUDP} {
		if c != nil {
			_ = c.Close() // a second Close fails; nothing is lost by it
		}
	}
}

// Serve answers on l until ctx ends; then it closes the connections, waits for
// the calls that run and returns nil. It returns an error only if a socket
// itself fails. It closes the sockets of l in either case. The portmapper
// names the ports of l, and several Serves may run at once.
func (s *Server) Serve(ctx context.Context, l Listeners) error {
	return s.serve(ctx, l, false)
}

// serve is Serve; quiet leaves mounts out of the table and out of OnMount.
func (s *Server) serve(ctx context.Context, l Listeners, quiet bool) error {
	defer l.close()
	if err := s.ready(); err != nil {
		return err
	}
	if l.NFS == nil {
		return errors.New("nfs: no NFS listener; want one")
	}
	v := &service{server: s, ports: portsOf(l), quiet: quiet, clients: map[netip.Addr]*client{}}
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, l.close)()
	g.Go(func() error { return v.accept(ctx, l.NFS, []program{nfsProgram(), mountProgram()}) })
	if l.Portmap != nil {
		g.Go(func() error { return v.accept(ctx, l.Portmap, []program{portmapProgram()}) })
	}
	if l.MountUDP != nil {
		g.Go(func() error { return v.datagrams(ctx, l.MountUDP, []program{mountProgram()}) })
	}
	if l.PortmapUDP != nil {
		g.Go(func() error { return v.datagrams(ctx, l.PortmapUDP, []program{portmapProgram()}) })
	}
	return g.Wait()
}

// A service is one running Serve.
type service struct {
	server *Server
	ports  []mapping
	quiet  bool

	mu      sync.Mutex
	conns   int
	clients map[netip.Addr]*client // by address; bounded by maxClients
}

// accept serves the connections of l until ctx ends, and waits for them.
func (v *service) accept(ctx context.Context, l net.Listener, programs []program) error {
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
			return fmt.Errorf("nfs: accepting a connection: %w", err)
		}
		if err != nil {
			v.server.log().Error("accepting a connection", "err", err)
			pause(ctx, acceptPause)
			continue
		}
		conns.Go(func() { v.connection(ctx, nc, programs) })
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// connection serves one connection until either side closes it, and waits for
// its calls.
func (v *service) connection(ctx context.Context, nc net.Conn, programs []program) {
	defer nc.Close()
	remote := remoteAddr(nc)
	addr := remote.Addr()
	log := v.server.log().With("addr", addr)
	cl := v.enter(addr)
	if cl == nil {
		log.Warn("too many connections")
		return
	}
	defer v.leave(cl)
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if err := noticeGone(nc); err != nil {
		log.Debug("connection ended", "err", err)
		return
	}
	c := v.newConn(nc, cl, remote.Port(), programs)
	if err := c.serve(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
		log.Debug("connection ended", "err", err)
	}
}

// noticeGone has the kernel end a connection whose peer is there no more: a
// board that loses its power says nothing.
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

// datagrams answers the calls on pc, one at a time, until ctx ends. Only
// programs whose calls touch no disk may be served this way.
func (v *service) datagrams(ctx context.Context, pc net.PacketConn, programs []program) error {
	in := make([]byte, maxStranger)
	for {
		n, from, err := pc.ReadFrom(in)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("nfs: reading a datagram: %w", err)
		}
		if err != nil { // of one datagram, e.g. an ICMP answer to an earlier reply
			v.server.log().Debug("reading a datagram", "err", err)
			pause(ctx, acceptPause)
			continue
		}
		ap, err := netip.ParseAddrPort(from.String())
		if err != nil {
			continue
		}
		out := v.answer(in[:n], peer{&client{addr: ap.Addr().Unmap()}, ap.Port()}, programs, &buffer{s: v.server})
		if out == nil {
			continue
		}
		if _, err := pc.WriteTo(out[4:], from); err != nil {
			v.server.log().Debug("sending a datagram", "addr", ap.Addr(), "err", err)
		}
	}
}
