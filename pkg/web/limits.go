package web

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Limits of what all clients together, and each client, can hold at a time, so that
// slow clients do not shut out others. Clients behind one address, such as a
// proxy's, share its limit.
const (
	maxConns     = 1024
	maxOwnConns  = 128
	maxFollowers = 128
	maxOwnFollow = 16
)

// A busyError reports that the maximum number of something is already in use.
type busyError struct{ what string }

func (e busyError) Error() string { return e.what + "; try again later" }

// slots limits how often something is done at the same time, in total and for each
// key.
type slots struct {
	what      string // such as "uploads"
	all, each int

	mu    sync.Mutex
	taken map[string]int
	open  int
}

func newSlots(what string, all, each int) *slots {
	return &slots{what: what, all: all, each: each, taken: map[string]int{}}
}

// take acquires a slot, which release returns. The error is a busyError.
func (s *slots) take(key string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.taken[key] >= s.each && key != "":
		return nil, busyError{fmt.Sprintf("%d %s of %s are under way already, the most for one", s.each, s.what, key)}
	case s.open >= s.all:
		return nil, busyError{fmt.Sprintf("%d %s are under way already, the most there may be", s.all, s.what)}
	}
	s.taken[key]++
	s.open++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		if s.taken[key]--; s.taken[key] == 0 {
			delete(s.taken, key)
		}
	}, nil
}

// clientOf returns the address of a request's client; "" on the control socket,
// which only its owner uses.
func clientOf(r *http.Request) string {
	if addr := addrOf(r.RemoteAddr); addr.IsValid() {
		return addr.String()
	}
	return ""
}

func addrOf(remote string) netip.Addr {
	from, _ := netip.ParseAddrPort(remote) // zero for an address that is not an IP address
	return from.Addr().Unmap()
}

// conns limits the connections of a server by its ConnState hook. If one address
// has too many, its new connection is refused; if there are too many in total, the
// address with the most connections loses one.
type conns struct {
	all, each int

	mu   sync.Mutex
	of   map[netip.Addr]map[net.Conn]http.ConnState
	open int
}

func newConns(all, each int) *conns {
	return &conns{all: all, each: each, of: map[netip.Addr]map[net.Conn]http.ConnState{}}
}

// note is called for each change of a connection's state, and before a new
// connection is served.
func (c *conns) note(conn net.Conn, state http.ConnState) {
	addr := addrOf(conn.RemoteAddr().String())
	c.mu.Lock()
	var refused, dropped net.Conn
	switch state {
	case http.StateNew:
		refused, dropped = c.admitLocked(addr, conn)
	case http.StateClosed, http.StateHijacked:
		c.forgetLocked(addr, conn)
	default:
		if _, ok := c.of[addr][conn]; ok {
			c.of[addr][conn] = state
		}
	}
	c.mu.Unlock()
	if refused != nil {
		sayBusy(refused)
		_ = tcpOf(refused).Close() // the server then finds it closed
	}
	if dropped != nil {
		_ = tcpOf(dropped).Close()
	}
}

// admitLocked adds a new connection, or returns it as refused. If there are already
// too many connections, it also returns one to drop.
func (c *conns) admitLocked(addr netip.Addr, conn net.Conn) (refused, dropped net.Conn) {
	if len(c.of[addr]) >= c.each {
		return conn, nil
	}
	if c.open >= c.all {
		greedy := c.greediestLocked()
		if len(c.of[greedy]) <= len(c.of[addr])+1 {
			return conn, nil
		}
		dropped = c.idlestLocked(greedy)
		c.forgetLocked(greedy, dropped)
	}
	if c.of[addr] == nil {
		c.of[addr] = map[net.Conn]http.ConnState{}
	}
	c.of[addr][conn] = http.StateNew
	c.open++
	return nil, dropped
}

func (c *conns) greediestLocked() (most netip.Addr) {
	for addr, open := range c.of {
		if len(open) > len(c.of[most]) {
			most = addr
		}
	}
	return most
}

// idlestLocked returns a connection of an address, preferably one without a request
// in progress.
func (c *conns) idlestLocked(addr netip.Addr) (idlest net.Conn) {
	for conn, state := range c.of[addr] {
		if idlest = conn; state != http.StateActive {
			break
		}
	}
	return idlest
}

func (c *conns) forgetLocked(addr netip.Addr, conn net.Conn) {
	if _, ok := c.of[addr][conn]; !ok {
		return // it was refused or dropped
	}
	c.open--
	if delete(c.of[addr], conn); len(c.of[addr]) == 0 {
		delete(c.of, addr)
	}
}

// tcpOf returns the connection below TLS. To close that of TLS may wait for the
// client.
func tcpOf(conn net.Conn) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}

// busyAnswer is the answer on a connection that is refused, whose request is not
// read.
const busyAnswer = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" +
	`{"error":"there are too many connections to pibootd from this address, or in all; try again later"}` + "\n"

func sayBusy(conn net.Conn) {
	if tcpOf(conn) != conn {
		return // the client would have to answer first
	}
	// The first write is buffered, but this must not wait for a client.
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err == nil {
		_, _ = io.WriteString(conn, busyAnswer) // the client may be gone
	}
}

// withDeadlines allows a request with a body at most bodyTimeout after its answer
// for the rest of the body. It also removes the write deadline that the previous
// answer left on the connection.
func withDeadlines(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.SetWriteDeadline(time.Time{}); err != nil {
			return // the connection is gone
		}
		if r.ContentLength != 0 {
			defer func() { _ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) }()
		}
		h.ServeHTTP(w, r)
	})
}
