package rpc

import (
	"crypto/sha256"
	"net/netip"
	"sync"
)

const (
	// maxClients is how many addresses are remembered; those that have no
	// connection are forgotten first.
	maxClients = 1024

	// maxReplays is how many replies are kept for each of them.
	maxReplays = 256

	// replayArgs is how much of a call's arguments tells it from another with
	// the same xid, and ReplaySumSize how long the sum over it is.
	replayArgs    = 512
	ReplaySumSize = 16
)

// A client is an address with connections, or with calls that may be repeated.
type client struct {
	addr    netip.Addr
	slots   chan struct{} // one held by each call, from its first byte to its reply's last
	conns   int           // guarded by the server's mutex
	memory  int           // reserved by its calls; guarded by the budget's mutex
	replays replayCache
}

// A peer is where a call comes from.
type peer struct {
	*client
	port uint16
}

// enter counts a connection from addr. It returns nil if there are too many.
func (s *Server) enter(addr netip.Addr) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.MaxConns
	if !s.Known(addr) {
		limit = max(1, limit/2) // half of the connections are for known clients
	}
	if s.conns >= limit {
		return nil
	}
	if s.clients == nil {
		s.clients = map[netip.Addr]*client{}
	}
	cl := s.clients[addr]
	if cl == nil {
		s.forgetIdleLocked()
		cl = &client{addr: addr, slots: make(chan struct{}, s.MaxClientCalls)}
		s.clients[addr] = cl
	}
	if cl.conns >= s.MaxClientConns {
		return nil
	}
	cl.conns++
	s.conns++
	return cl
}

func (s *Server) leave(cl *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cl.conns--
	s.conns--
}

// forgetIdleLocked forgets clients without connections until there is space for
// one more.
func (s *Server) forgetIdleLocked() {
	for addr, cl := range s.clients {
		if len(s.clients) < maxClients {
			return
		}
		if cl.conns == 0 {
			delete(s.clients, addr)
		}
	}
}

// A ReplayKey identifies a call of one client. The xid alone does not, because
// a client that has restarted may count from the same number.
type ReplayKey struct {
	XID, Program, Procedure uint32
	Size                    uint32              // of the arguments
	Sum                     [ReplaySumSize]byte // over their first bytes
}

func replayKeyOf(h header, args []byte) ReplayKey {
	key := ReplayKey{XID: h.xid, Program: h.prog, Procedure: h.proc, Size: uint32(len(args))}
	sum := sha256.Sum256(args[:min(len(args), replayArgs)])
	copy(key.Sum[:], sum[:])
	return key
}

// A replayCache keeps the replies to calls that must not run twice, for the
// client that repeats one because its connection broke before the reply came.
// The zero value is empty.
type replayCache struct {
	mu    sync.Mutex
	known map[ReplayKey]*replay
	order []ReplayKey // a ring once it is full
	next  int
}

// A replay is one such call. out is set when done is closed.
type replay struct {
	done chan struct{}
	out  []byte
}

// begin returns the call's entry, and whether the call is new: then the caller
// runs it and calls finish.
func (r *replayCache) begin(key ReplayKey) (entry *replay, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[ReplayKey]*replay{}
	}
	if e := r.known[key]; e != nil {
		return e, false
	}
	e := &replay{done: make(chan struct{})}
	r.known[key] = e
	if len(r.order) < maxReplays {
		r.order = append(r.order, key)
		return e, true
	}
	delete(r.known, r.order[r.next])
	r.order[r.next] = key
	r.next = (r.next + 1) % maxReplays
	return e, true
}

// finish keeps out for repetitions of the call.
func (e *replay) finish(out []byte) {
	e.out = out
	close(e.done)
}
