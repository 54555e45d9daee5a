package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of connections. Those that have not logged in have places of their own, so
// that nobody without a token can take a worker's.
const (
	maxConns       = 1024 // of workers
	maxWorkerConns = 3    // of one worker: one, and lost ones that still hang
	maxNew         = 256  // that have not logged in yet
	maxNewPerAddr  = 8    // of them, from one address
	// maxServed bounds all of them, and those that are being closed. Further
	// connections wait.
	maxServed = 2 * (maxConns + maxNew)
)

const (
	// pieceBytes is the size of the copy buffer.
	pieceBytes = 16 << 10
	// sendTimeout bounds the sending of one piece to a client. The server's own timeout
	// does not see the client, only the acceptor.
	sendTimeout = 10 * time.Second
	// acceptPause is the pause after a failed accept, e.g. without file descriptors.
	acceptPause = 100 * time.Millisecond
)

// An acceptor accepts the connections to the embedded NATS server, limits them, and
// forwards them. The server's own limit also counts connections that have not logged
// in, so that a stranger could use up all of them.
type acceptor struct {
	listener net.Listener
	dial     func() (net.Conn, error) // to the server, in memory
	log      *slog.Logger
	serves   sync.WaitGroup
	closed   <-chan struct{} // by stop
	stop     func()

	mu      sync.Mutex
	open    map[netip.AddrPort]*client // nil: closed
	fresh   places                     // of those that are not let in yet, by address
	workers places                     // by name
}

// A client is one connection to the acceptor.
type client struct {
	from  netip.AddrPort
	conn  net.Conn
	place *place // guarded by acceptor.mu
}

// listenFor listens for workers.
func listenFor(o Options, log *slog.Logger) (*acceptor, error) {
	l := o.Listener
	if l == nil {
		var err error
		if l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", o.Addr.String()); err != nil {
			return nil, fmt.Errorf("queue: listening for workers on %s: %w; free the port or configure another for the queue", o.Addr, err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	return &acceptor{
		listener: l, log: log, closed: ctx.Done(), stop: stop,
		open:    map[netip.AddrPort]*client{},
		fresh:   places{most: maxNew, perKey: maxNewPerAddr},
		workers: places{most: maxConns, perKey: maxWorkerConns, keepOnly: true},
	}, nil
}

func (a *acceptor) addr() netip.AddrPort { return a.listener.Addr().(*net.TCPAddr).AddrPort() }

// start accepts connections until close.
func (a *acceptor) start(dial func() (net.Conn, error)) {
	a.dial = dial
	a.serves.Go(a.accept)
}

func (a *acceptor) accept() {
	slots := make(chan struct{}, maxServed)
	for {
		slots <- struct{}{}
		conn, err := a.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			a.log.Warn("connection to the queue not accepted", "err", err)
			select {
			case <-time.After(acceptPause):
			case <-a.closed:
				return
			}
			<-slots
			continue
		}
		v := &client{from: endpoint(conn.RemoteAddr()), conn: conn}
		if a.enter(v) {
			a.serves.Go(func() { a.serve(v); <-slots })
		} else {
			conn.Close()
			<-slots
		}
	}
}

// enter reserves a place among those that have not logged in yet.
func (a *acceptor) enter(v *client) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		return false
	}
	a.open[v.from] = v
	v.place = &place{v.from.Addr().String(), v.conn}
	out, ok := a.fresh.reserve(v.place)
	if out != nil {
		out.conn.Close()
	}
	return ok
}

// errNoPlace reports that all workers' places are taken.
var errNoPlace = errors.New("all places are taken by other workers")

// admit reserves one of the workers' places for a worker that has logged in. The error
// matches errNoPlace if there is none. crowded reports that an older connection of the
// same worker was closed for it.
func (a *acceptor) admit(from netip.AddrPort, worker string) (crowded bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.open[from]
	if !ok {
		return false, net.ErrClosed
	}
	a.fresh.free(v.place)
	a.workers.free(v.place) // a client may log in twice
	v.place = &place{worker, v.conn}
	old, ok := a.workers.reserve(v.place)
	if !ok {
		return false, errNoPlace
	}
	if old == nil {
		return false, nil
	}
	old.conn.Close()
	return old.key == worker, nil
}

func (a *acceptor) leave(v *client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[v.from] == v {
		delete(a.open, v.from)
	}
	a.fresh.free(v.place)
	a.workers.free(v.place)
}

// close ends all connections and waits for what serves them.
func (a *acceptor) close() {
	a.stop()
	_ = a.listener.Close() // it fails where it is closed already
	a.mu.Lock()
	open := a.open
	a.open = nil
	a.mu.Unlock()
	for _, v := range open {
		v.conn.Close()
	}
	a.serves.Wait()
}

// serve forwards data between a connection and the server until one side closes.
func (a *acceptor) serve(v *client) {
	defer a.leave(v)
	defer v.conn.Close()
	server, err := a.dial()
	if err != nil {
		a.log.Warn("connection to the queue not served", "addr", v.from, "err", err)
		return
	}
	var sends sync.WaitGroup
	sends.Go(func() { v.send(server) })
	v.receive(server)
	// The server's last message may say why it closed the connection.
	sends.Wait()
}

// receive sends the client's address to the server, as a line of the PROXY protocol
// version 1, and then forwards the client's data.
func (v *client) receive(server net.Conn) {
	defer server.Close()
	to := endpoint(v.conn.LocalAddr())
	family := "TCP4"
	if v.from.Addr().Is6() {
		family = "TCP6"
	}
	_, err := fmt.Fprintf(server, "PROXY %s %s %s %d %d\r\n", family, v.from.Addr(), to.Addr(), v.from.Port(), to.Port())
	if err == nil {
		pass(server, v.conn, func() error { return nil })
	}
}

// send forwards the server's data.
func (v *client) send(server net.Conn) {
	defer v.conn.Close()
	defer server.Close()
	pass(v.conn, server, func() error { return v.conn.SetWriteDeadline(time.Now().Add(sendTimeout)) })
}

// pass copies until one side closes, and calls prepare before each write.
func pass(to io.Writer, from io.Reader, prepare func() error) {
	piece := make([]byte, pieceBytes)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			if prepare() != nil {
				return
			}
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// endpoint returns a socket's address in the form that the server uses.
func endpoint(addr net.Addr) netip.AddrPort {
	a, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
