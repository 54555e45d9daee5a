// Package tftp serves boot files over TFTP: read requests only, octet mode only.
// It implements RFC 1350 with the option extension (RFC 2347) for blksize
// (RFC 2348), tsize and timeout (RFC 2349) and windowsize (RFC 7440).
//
// It is made for boot code: a request repeated because the answer was slow
// does not start a second transfer, an option check that the client breaks off
// is not an error, and no data packet is ever fragmented.
package tftp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Source answers read requests. It is all the server knows of the rest of pibootd.
type Source interface {
	// Open returns the file called name for client, and its size in bytes.
	// name is slash-separated, relative, free of "..", backslashes and control
	// characters: fs.ValidPath. The server closes the file. ctx ends with the
	// transfer.
	//
	// An error matching fs.ErrNotExist is sent as ERROR 1 (RFC 1350,
	// appendix); any other is logged and sent as ERROR 0 without its text.
	Open(ctx context.Context, client netip.Addr, name string) (io.ReadCloser, int64, error)
}

// A Server answers read requests from Source. Set its fields before Serve.
type Server struct {
	Source       Source
	Log          *slog.Logger  // nil discards
	Retransmit   time.Duration // wait for an ACK before a window is sent again; 0 means 1 s
	MaxTransfers int           // at a time, those that wait included; more are dropped; 0 means 1024

	// MaxLarge is how many files above 256 KiB are sent at a time; 0 means 64.
	// Others wait their turn, and their clients for the first packet. A network
	// that is full anyway then serves each within boot code's 30 s a file,
	// where all at once would all be late.
	MaxLarge int

	// OnDone is called after each transfer, if not nil, by several goroutines
	// at once. It must not block: other transfers wait.
	OnDone func(Transfer)

	stats counters
}

// A Transfer says how the answer to one request went.
type Transfer struct {
	Client  netip.Addr
	Port    uint16 // the client's
	Request []byte // as received
	File    string // as the Source was asked; if Refused, as the client sent it
	Bytes   int64  // acknowledged by the client
	Took    time.Duration
	Outcome Outcome
	Err     error // nil if Sent
	// Block is the first that a client did not confirm that fell silent, 0 if it confirmed
	// nothing at all, and Blocks is the file's last; 0 if it did not fall silent.
	Block, Blocks int64
}

// An Outcome is how a transfer ended.
type Outcome string

// The outcomes. Missing and Aborted are everyday: boot code asks for files that
// need not exist, and ends a transfer after the OACK to learn that one does.
const (
	Sent    Outcome = "sent"    // the client has acknowledged all of it
	Missing Outcome = "missing" // the Source has no such file
	Aborted Outcome = "aborted" // by the client's ERROR, its closed port, its next request, or the end of Serve
	Failed  Outcome = "failed"  // the client fell silent, or the Source or the network gave an error
	Refused Outcome = "refused" // not a request for a file that could exist: a write, a mode other than octet, a bad name
)

// Serve answers requests on conn until ctx ends, then aborts the running
// transfers, waits for them, also for a read of a file that has begun, and
// returns nil. It returns an error only if conn
// itself fails or is unfit: a malformed request costs one log line, never the
// server. Serve does not close conn.
//
// conn is a UDP socket bound to one IPv4 address: the files are sent from other
// ports of that address, because a client drops what comes from another.
// Those are opened by the calling goroutine, so a Serve on a thread that is
// locked to a network namespace serves that namespace.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || local.IP.To4() == nil || local.IP.IsUnspecified() {
		return fmt.Errorf("tftp: serving on %v; want a UDP socket bound to one IPv4 address, that of the boards' network", conn.LocalAddr())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := s.newListener(netip.AddrFrom4([4]byte(local.IP.To4())))
	if err != nil {
		return err
	}
	defer l.close()
	loops := l.startLoops(ctx, cancel)
	l.started.Go(func() {
		<-ctx.Done()
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	})
	err = l.listen(ctx, conn)
	cancel()
	l.started.Wait()
	return errors.Join(err, loops.Wait())
}

// newListener opens what a Serve on local needs.
func (s *Server) newListener(local netip.Addr) (*listener, error) {
	l := &listener{
		server: s, running: make(map[netip.AddrPort]*transfer), perClient: make(map[netip.Addr]int),
		ports: make(map[netip.AddrPort]uint16), large: make(chan struct{}, or(s.MaxLarge, 64)),
	}
	var err error
	if l.route, err = newRoute(local); err != nil {
		return nil, err
	}
	for range min(runtime.GOMAXPROCS(0), maxLoops) {
		lp, err := newLoop(local)
		if err != nil {
			l.close()
			return nil, err
		}
		l.loops = append(l.loops, lp)
	}
	return l, nil
}

// close closes what newListener opened. All that was started must have ended.
func (l *listener) close() {
	l.route.close()
	for _, lp := range l.loops {
		lp.close()
	}
}

// startLoops starts what moves transfers. If a loop fails, all end.
func (l *listener) startLoops(ctx context.Context, failed func()) *errgroup.Group {
	var g errgroup.Group
	for _, lp := range l.loops {
		l.started.Go(func() {
			<-ctx.Done()
			lp.alarm.ring()
		})
		g.Go(func() error {
			defer failed()
			return lp.run(ctx, l.server.retransmit()/4)
		})
	}
	return &g
}

// maxLoops is how many processors a boot storm may have.
const maxLoops = 4

// listen takes requests until ctx ends.
func (l *listener) listen(ctx context.Context, conn net.PacketConn) error {
	buf := make([]byte, maxRequest+1)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tftp: reading request: %w", err)
		}
		client, ok := clientAddr(from)
		if !ok {
			l.server.stats.malformed.Add(1)
			l.server.log().Debug("request from an address that cannot be answered", "addr", from)
			continue
		}
		req, err := parseRequest(buf[:n])
		req.packet = bytes.Clone(buf[:n])
		if err != nil {
			l.server.stats.malformed.Add(1)
			l.server.log().Debug("bad request", "addr", client, "err", err)
			continue
		}
		l.accept(ctx, client, req)
	}
}

// clientAddr returns from as the address of one host that can be answered.
func clientAddr(from net.Addr) (netip.AddrPort, bool) {
	udp, ok := from.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	addr, port := udp.AddrPort().Addr().Unmap(), udp.AddrPort().Port()
	host := addr.Is4() && !addr.IsUnspecified() && !addr.IsMulticast() && addr != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return netip.AddrPortFrom(addr, port), host && port != 0
}

// A listener is the state of one Serve.
type listener struct {
	server  *Server
	loops   []*loop
	route   *route
	large   chan struct{}  // a place for each large file that is being sent
	started sync.WaitGroup // transfers, and all goroutines except the loops'

	mu        sync.Mutex
	running   map[netip.AddrPort]*transfer // the latest for each client's port
	ports     map[netip.AddrPort]uint16    // the socket, of a loop's, that a client's port last had
	perClient map[netip.Addr]int           // running transfers, those replaced in the map included
	count     int                          // of all clients
}

// accept starts the transfer that req asks for.
func (l *listener) accept(ctx context.Context, client netip.AddrPort, req request) {
	log := l.server.log().With("addr", client, "file", req.name)
	if l.repeats(client, req) {
		l.server.stats.repeated.Add(1)
		log.Debug("repeated request ignored")
		return
	}
	if !l.reserve(client.Addr()) {
		// Drop rather than queue: clients repeat an unanswered RRQ, and a
		// late answer to the first one would start a second transfer.
		l.server.stats.dropped.Add(1)
		log.Warn("transfer limit reached")
		return
	}
	mtu, err := l.route.mtu(client)
	if err != nil {
		l.release(client.Addr())
		log.Warn("no way to a client", "err", err)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := &transfer{listener: l, server: l.server, client: client, mtu: mtu, req: req, ctx: ctx, cancel: cancel, started: time.Now()}
	l.mu.Lock()
	l.running[client] = t
	l.mu.Unlock()
	l.started.Add(1)
	go t.run()
}

// assign gives t a loop, and one of its sockets. The first loops are filled
// first: the more transfers a loop has, the less each costs.
func (l *listener) assign(t *transfer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.loop = l.loops[0]
	for _, lp := range l.loops[1:] {
		if t.loop.load >= fullLoop && lp.load < t.loop.load {
			t.loop = lp
		}
	}
	t.loop.load++
	if len(l.ports) >= maxPorts {
		clear(l.ports)
	}
	l.ports[t.client] = (l.ports[t.client] + 1) % socketsPerLoop
	t.peer = peer{addr: t.client.Addr().As4(), port: t.client.Port(), socket: l.ports[t.client]}
}

const (
	// fullLoop is how many transfers a loop has before the next one gets some:
	// as many keep a processor busy, in lockstep.
	fullLoop = 64

	// maxPorts bounds the clients' ports that are remembered.
	maxPorts = 4096
)

// repeats reports whether req is one that a running transfer already answers:
// the Pi's boot code sends its RRQ every 2 s until it hears something, and data
// from two ports confuses it (raspberrypi/firmware#1631). Any other request
// from the same port ends that transfer, for the client has gone on: a Pi 3
// begins with the same port numbers after every boot stage.
func (l *listener) repeats(client netip.AddrPort, req request) bool {
	l.mu.Lock()
	t, ok := l.running[client]
	l.mu.Unlock()
	if !ok {
		return false
	}
	if t.req.same(req) && t.answers() {
		return true
	}
	t.stop(errReplaced)
	return false
}

// reserve counts a transfer in, unless there are too many.
func (l *listener) reserve(client netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= or(l.server.MaxTransfers, 1024) || l.perClient[client] >= maxPerClient {
		return false
	}
	l.count++
	l.perClient[client]++
	return true
}

// maxPerClient is how many transfers one address may have at a time. Boot code
// has one.
const maxPerClient = 16

// release undoes reserve.
func (l *listener) release(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count--
	if l.perClient[client]--; l.perClient[client] == 0 {
		delete(l.perClient, client)
	}
}

// forget has the next request of t's client be a new one.
func (l *listener) forget(t *transfer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.loop.load--
	if l.running[t.client] == t {
		delete(l.running, t.client)
	}
}

// or is n, or d where n is not set.
func or(n, d int) int {
	if n == 0 {
		return d
	}
	return n
}

func (s *Server) log() *slog.Logger {
	return cmp.Or(s.Log, slog.New(slog.DiscardHandler))
}

func (s *Server) retransmit() time.Duration {
	if s.Retransmit == 0 {
		return time.Second
	}
	return s.Retransmit
}
