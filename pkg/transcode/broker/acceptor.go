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

// How many connections there may be. Who has not proved who he is has places of
// his own, so that nobody without a token can take a worker's.
const (
	maxConns       = 1024 // of workers
	maxWorkerConns = 3    // of one worker: one, and what hangs of those it has lost
	maxNew         = 256  // that are not let in yet
	maxNewPerAddr  = 8    // of them, from one address
	// maxServed are all of them and those that are closed but not yet gone. Who
	// connects while there are so many waits.
	maxServed = 2 * (maxConns + maxNew)
)

const (
	// pieceBytes is how much is passed on at a time.
	pieceBytes = 16 << 10
	// sendTimeout is how long a piece may take to be sent: the server's own time
	// for that ends at us.
	sendTimeout = 10 * time.Second
	// acceptPause is waited for when there are no more descriptors.
	acceptPause = 100 * time.Millisecond
)

// An acceptor accepts what connects to the embedded NATS server, bounds it, and
// passes it on. The server itself counts those that it has not let in yet among
// all others, so that a stranger could take every place.
type acceptor struct {
	listener net.Listener
	dial     func() (net.Conn, error) // to the server, in memory
	log      *slog.Logger
	serves   sync.WaitGroup

	mu      sync.Mutex
	open    map[netip.AddrPort]*visitor // nil: closed
	fresh   places                      // of those that are not let in yet, by address
	workers places                      // by name
}

// A visitor is one connection.
type visitor struct {
	from  netip.AddrPort
	conn  net.Conn
	place *place // guarded by acceptor.mu
}

// listenFor listens on addr for workers.
func listenFor(addr netip.AddrPort, log *slog.Logger) (*acceptor, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("queue: listening for workers on %s: %w; free the port or configure another for the queue", addr, err)
	}
	return &acceptor{
		listener: l, log: log,
		open:    map[netip.AddrPort]*visitor{},
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
			time.Sleep(acceptPause)
			<-slots
			continue
		}
		v := &visitor{from: endpoint(conn.RemoteAddr()), conn: conn}
		if a.enter(v) {
			a.serves.Go(func() { a.serve(v); <-slots })
		} else {
			conn.Close()
			<-slots
		}
	}
}

// enter takes a place of those that are not let in yet.
func (a *acceptor) enter(v *visitor) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		return false
	}
	a.open[v.from] = v
	v.place = &place{v.from.Addr().String(), v.conn}
	out, ok := a.fresh.take(v.place)
	if out != nil {
		out.conn.Close()
	}
	return ok
}

// errNoPlace reports that all workers' places are taken.
var errNoPlace = errors.New("all places are taken by other workers")

// admit gives a worker that has proved who it is one of the workers' places; the
// error matches errNoPlace if there is none. crowded says that an older connection of
// this worker's had to make room.
func (a *acceptor) admit(from netip.AddrPort, worker string) (crowded bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.open[from]
	if !ok {
		return false, net.ErrClosed
	}
	a.fresh.free(v.place)
	a.workers.free(v.place) // a client may say twice who it is
	v.place = &place{worker, v.conn}
	old, ok := a.workers.take(v.place)
	if !ok {
		return false, errNoPlace
	}
	if old == nil {
		return false, nil
	}
	old.conn.Close()
	return old.key == worker, nil
}

func (a *acceptor) leave(v *visitor) {
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

// serve passes what a connection says to the server, and back, until one of the
// two ends it.
func (a *acceptor) serve(v *visitor) {
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
	// What the server said last may be why it has ended it.
	sends.Wait()
}

// receive tells the server who is there and what that one says. The server takes
// the PROXY protocol for that, whose version 1 is a line.
func (v *visitor) receive(server net.Conn) {
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

// send passes on what the server says.
func (v *visitor) send(server net.Conn) {
	defer v.conn.Close()
	defer server.Close()
	pass(v.conn, server, func() error { return v.conn.SetWriteDeadline(time.Now().Add(sendTimeout)) })
}

// pass copies until one side ends, and prepares each write.
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

// endpoint returns a socket's address in the form in which the server has it.
func endpoint(addr net.Addr) netip.AddrPort {
	a, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
