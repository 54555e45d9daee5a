package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// refusals collects who was not let in.
type refusals struct {
	mu  sync.Mutex
	all []Refusal
}

func (r *refusals) add(one Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, one)
}

func (r *refusals) count(want Refusal) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, got := range r.all {
		if got == want {
			n++
		}
	}
	return n
}

// openBroker starts a server that lets everybody in who has the token of his name.
func openBroker(t *testing.T, r *refusals) *Broker {
	t.Helper()
	b, err := Start(Options{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: t.TempDir(), OnRefused: r.add,
		Authenticate: func(worker, token string) bool { return strings.EqualFold(token, goodToken(worker)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// A board's worker is one, however it spells itself: whoever comes under another
// spelling of what is registered is not let in, with the right token too.
func TestAWorkerHasOneSpelling(t *testing.T) {
	t.Parallel()
	var refused refusals
	b := openBroker(t, &refused)
	for name, want := range map[string]RefusalReason{
		"bd000001": "", "desk-pc": "",
		"Bd000001": OtherName, "bD000001": OtherName, "BD000001": OtherName, "0xbd000001": OtherName,
		"00000000bd000001": OtherName, "10000000bd000001": OtherName, "Desk-PC": OtherName, "desk-pC": OtherName,
		"desk_pc": WrongLogin, "desk-pc\u0301": WrongLogin, "deſk-pc": WrongLogin, "muxer-1-10-0-0-9": WrongLogin, "_pibootd": "",
	} {
		conn, err := connect(b, name, goodToken(name))
		if err == nil {
			conn.Close()
		}
		if let := name == "bd000001" || name == "desk-pc"; (err == nil) != let {
			t.Errorf("login of %q: %v; want it let in: %t", name, err, let)
		}
		told := refused.count(Refusal{name, netip.MustParseAddr("127.0.0.1"), want})
		if (told == 1) != (want != "") {
			t.Errorf("login of %q was reported %d times; want it as %q", name, told, want)
		}
	}
}

// One worker's token opens a few connections, whatever is done with it: the newest
// are let in and the oldest closed, so that others find their places, and a worker
// whose old connection hangs comes in.
func TestOneWorkerTakesFewPlaces(t *testing.T) {
	t.Parallel()
	var refused refusals
	b := openBroker(t, &refused)
	const flood = 1020
	var conns []*rawConn
	for i := range flood {
		c := dialRaw(t, b, "127.0.0.1")
		if err := c.login("pi1"); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, c)
	}
	for i, c := range conns {
		if open := c.answers(); open != (i >= flood-maxWorkerConns) {
			t.Errorf("connection %d of %d is open: %t; want the last %d", i, flood, open, maxWorkerConns)
		}
	}
	other, err := connect(b, "pi2", goodToken("pi2"))
	if err != nil {
		t.Fatalf("another worker: %v; want it let in", err)
	}
	defer other.Close()
	if err := other.Flush(); err != nil {
		t.Error(err)
	}
	if n := refused.count(Refusal{"pi1", netip.MustParseAddr("127.0.0.1"), TooMany}); n != flood-maxWorkerConns {
		t.Errorf("%d connections too many were reported; want %d", n, flood-maxWorkerConns)
	}
}

// Whoever has no token gets no worker's place, from however many addresses and
// connections: those that are there stay, and more come in.
func TestStrangersTakeNoPlaces(t *testing.T) {
	t.Parallel()
	var refused refusals
	b := openBroker(t, &refused)
	there, err := connect(b, "pi1", goodToken("pi1"))
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	for i := range 1200 {
		c := dialRaw(t, b, fmt.Sprintf("127.0.1.%d", 1+i%100))
		if i%3 == 0 {
			_, _ = io.WriteString(c, "CONNECT {") // it may be closed already
		}
	}
	comes, err := connect(b, "pi2", goodToken("pi2"))
	if err != nil {
		t.Fatalf("a worker that comes now: %v; want it let in", err)
	}
	defer comes.Close()
	if err := errors.Join(comes.Flush(), there.Flush()); err != nil {
		t.Error(err)
	}
	a := b.acceptor
	a.mu.Lock()
	open := len(a.fresh.held)
	a.mu.Unlock()
	if open > maxNew {
		t.Errorf("%d are there that were not let in; want %d at most", open, maxNew)
	}
}

// Nobody comes in by the daemon's own name, nor by a line that the acceptor says.
func TestNobodyIsTakenForTheDaemon(t *testing.T) {
	t.Parallel()
	b := openBroker(t, &refusals{})
	for _, line := range []string{
		`CONNECT {"verbose":true,"user":"_pibootd","pass":""}` + "\r\n",
		"PROXY UNKNOWN\r\n" + `CONNECT {"verbose":true,"user":"_pibootd","pass":""}` + "\r\n",
		"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nPING\r\n", "PING\r\n", "SUB > 1\r\n", "\r\n",
	} {
		c := dialRaw(t, b, "127.0.0.1")
		if _, err := io.WriteString(c, line); err != nil {
			t.Fatal(err)
		}
		if answer, err := c.lines.ReadString('\n'); err == nil && !strings.HasPrefix(answer, "-ERR") {
			t.Errorf("%q is answered with %q; want an error", line, answer)
		}
	}
}

// A worker gets the reason why it is refused, and the broker's end waits for nobody.
func TestClosedBrokerLeavesNobody(t *testing.T) {
	t.Parallel()
	b := openBroker(t, &refusals{})
	if _, err := connect(b, "pi1", "guess"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("with a wrong token: %v; want %v", err, nats.ErrAuthorization)
	}
	fresh, in := dialRaw(t, b, "127.0.0.1"), dialRaw(t, b, "127.0.0.1")
	if err := in.login("pi1"); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if fresh.answers() || in.answers() {
		t.Error("connections are open after Close")
	}
	if a := b.acceptor; len(a.fresh.held)+len(a.workers.held) > 0 {
		t.Errorf("places are taken after Close: %+v, %+v", a.fresh.held, a.workers.held)
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, come  string
		keepOnly    bool
		out, remain string // by key and, for several of one, the number of coming
	}{
		{"there is room", "aab", false, "", "a0 a1 b2"},
		{"the oldest of its own makes room", "aabaa", false, "a0 a1", "b2 a3 a4"},
		{"the one who has most makes room", "abbcd", false, "b1", "a0 b2 c3 d4"},
		{"the oldest makes room if nobody has two", "abcde", false, "a0", "b1 c2 d3 e4"},
		{"nobody loses his only place", "abcde", true, "", "a0 b1 c2 d3"},
		{"but who has two loses one", "abccd", true, "c2", "a0 b1 c3 d4"},
	} {
		ps := places{most: 4, perKey: 2, keepOnly: tt.keepOnly}
		names := map[*place]string{nil: ""}
		var out, remain []string
		for i, key := range strings.Split(tt.come, "") {
			p := &place{key: key}
			names[p] = fmt.Sprint(key, i)
			if old, _ := ps.reserve(p); old != nil {
				out = append(out, names[old])
				ps.free(old) // it leaves, which changes nothing
			}
		}
		for _, p := range ps.held {
			remain = append(remain, names[p])
		}
		if strings.Join(out, " ") != tt.out || strings.Join(remain, " ") != tt.remain {
			t.Errorf("%s: %q made room for %q; want %q for %q", tt.name, out, remain, tt.out, tt.remain)
		}
	}
}

// A rawConn is a connection to the server that need not behave.
type rawConn struct {
	net.Conn
	lines *bufio.Reader
}

// dialRaw connects from an address of the loopback, and reads how the server
// introduces itself. It may have been closed already.
func dialRaw(t *testing.T, b *Broker, from string) *rawConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(t.Context(), "tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &rawConn{conn, bufio.NewReader(conn)}
	_, _ = c.lines.ReadString('\n')
	return c
}

func (c *rawConn) login(worker string) error {
	_, err := fmt.Fprintf(c, "CONNECT {\"verbose\":true,\"user\":%q,\"pass\":%q}\r\n", worker, goodToken(worker))
	if err != nil {
		return err
	}
	if answer, err := c.lines.ReadString('\n'); answer != "+OK\r\n" {
		return fmt.Errorf("answered with %q, %v", answer, err)
	}
	return nil
}

// answers reports whether the server answers yet.
func (c *rawConn) answers() bool {
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return false
	}
	answer, err := c.lines.ReadString('\n')
	for err == nil && answer == "PING\r\n" {
		answer, err = c.lines.ReadString('\n')
	}
	return err == nil && (answer == "PONG\r\n" || answer == "+OK\r\n")
}

// A noDescriptors is a listener of a process that has no file descriptors left.
type noDescriptors struct{ net.Listener }

func (noDescriptors) Accept() (net.Conn, error) { return nil, syscall.EMFILE }

// An acceptor without file descriptors is closed at once, not after its pause.
func TestAcceptorCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := listenFor(Options{Addr: netip.MustParseAddrPort("127.0.0.1:0")}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		a.listener = noDescriptors{a.listener}
		a.start(nil)
		synctest.Wait()
		start := time.Now()
		a.close()
		if took := time.Since(start); took != 0 {
			t.Errorf("close takes %v; want no pause", took)
		}
	})
}
