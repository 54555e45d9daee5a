package web

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Limits of what all clients together, and each by itself, may hold at a time,
// so that slow ones do not shut out others. Who sits behind one address, as that
// of a proxy, shares its part.
const (
	maxConns     = 1024
	maxOwnConns  = 128
	maxFollowers = 128
	maxOwnFollow = 16
)

// A busyError reports that the most of something is under way already.
type busyError struct{ what string }

func (e busyError) Error() string { return e.what + "; try again later" }

// slots are the right to do something, so many at a time in all and for each
// key.
type slots struct {
	what      string // "uploads"
	all, each int

	mu    sync.Mutex
	taken map[string]int
	open  int
}

func newSlots(what string, all, each int) *slots {
	return &slots{what: what, all: all, each: each, taken: map[string]int{}}
}

// take takes a slot, which release gives back. The error is a busyError.
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

// clientOf returns the address that a request comes from; "" on the control
// socket, which has its owner alone behind it.
func clientOf(r *http.Request) string {
	if addr := addrOf(r.RemoteAddr); addr.IsValid() {
		return addr.String()
	}
	return ""
}

func addrOf(remote string) netip.Addr {
	from, _ := netip.ParseAddrPort(remote) // of a socket that is none it is the zero one
	return from.Addr().Unmap()
}

// conns bounds the connections of a server, as its ConnState. Where there are
// too many of one address a new one of it is refused; where there are too many
// in all, the address that has most loses one.
type conns struct {
	all, each int

	mu   sync.Mutex
	of   map[netip.Addr]map[net.Conn]http.ConnState
	open int
}

func newConns(all, each int) *conns {
	return &conns{all: all, each: each, of: map[netip.Addr]map[net.Conn]http.ConnState{}}
}

// note is called with each change of a connection's state, and before a new one
// is served.
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
		_ = refused.Close() // the server finds it closed
	}
	if dropped != nil {
		_ = dropped.Close()
	}
}

// admitLocked counts a new connection in, or returns it to be refused. If there
// are then too many, it returns one to be dropped.
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

// idlestLocked returns a connection of an address, if it can one that has asked
// for nothing.
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

// busyAnswer is what a client hears whose request is not even read.
const busyAnswer = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" +
	`{"error":"there are too many connections to pibootd from this address, or in all; try again later"}` + "\n"

func sayBusy(conn net.Conn) {
	// What is sent first is buffered; this must not wait for a client.
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err == nil {
		_, _ = io.WriteString(conn, busyAnswer) // nobody may read it
	}
}

// withDeadlines gives a request that has a body no more than bodyTimeout after its
// answer for what is left of it, and takes away the deadline that the answer
// before it has left on its connection.
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
