package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pin "github.com/pin/tftp/v3"
)

// files is a Source of what the map holds.
type files map[string][]byte

func (f files) Open(_ context.Context, _ netip.Addr, name string) (io.ReadCloser, int64, error) {
	data, ok := f[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
}

// A sourceFunc is a Source for a test that has its own idea.
type sourceFunc func(ctx context.Context, name string) (io.ReadCloser, int64, error)

func (f sourceFunc) Open(ctx context.Context, _ netip.Addr, name string) (io.ReadCloser, int64, error) {
	return f(ctx, name)
}

// serve runs s on a loopback port until the test ends.
func serve(t *testing.T, s *Server) (addr *net.UDPAddr, done reports) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	transfers := make(chan Transfer, 100)
	s.OnDone = func(tr Transfer) { transfers <- tr }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v; want nil", err)
		}
		conn.Close()
	})
	return conn.LocalAddr().(*net.UDPAddr), transfers
}

// reports are what OnDone was given.
type reports <-chan Transfer

// next returns the next report, for which it waits long enough for any load.
func (r reports) next(t *testing.T) Transfer {
	t.Helper()
	select {
	case tr := <-r:
		return tr
	case <-time.After(20 * time.Second):
		t.Fatal("the server reported no further transfer")
		return Transfer{}
	}
}

// pattern returns n bytes of which no two blocks are alike.
func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return data
}

func TestPinClientReads(t *testing.T) {
	source := files{}
	for _, size := range []int{0, 1, 511, 512, 513, 1024, 1468, 100_000} {
		source[fmt.Sprint(size)] = pattern(size)
	}
	addr, done := serve(t, &Server{Source: source})
	for _, block := range []int{0, 512, 1024, 1468} {
		for name, want := range source {
			got, err := pinRead(addr, name, block)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("reading %s with blksize %d = %d bytes, %v; want the file", name, block, len(got), err)
			}
			if tr := done.next(t); tr.Outcome != Sent || tr.Bytes != int64(len(want)) || tr.File != name || tr.Err != nil {
				t.Errorf("OnDone(%+v) for %s", tr, name)
			}
		}
	}
}

func pinRead(addr *net.UDPAddr, name string, block int) ([]byte, error) {
	client, err := pin.NewClient(addr.String())
	if err != nil {
		return nil, err
	}
	if block != 0 {
		client.SetBlockSize(block)
		client.RequestTSize(true)
	}
	in, err := client.Receive(name, "octet")
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	_, err = in.WriteTo(&buf)
	return buf.Bytes(), err
}

// TestFilesOfADisk reads files that the page cache has, and one that becomes shorter
// meanwhile: nothing may make it look complete.
func TestFilesOfADisk(t *testing.T) {
	data := pattern(10*chunkSize + 100)
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	source := sourceFunc(func(context.Context, string) (io.ReadCloser, int64, error) {
		f, err := os.Open(file)
		return f, int64(len(data)), err
	})
	addr, done := serve(t, &Server{Source: source, Retransmit: never})
	for _, window := range []int{1, 16, 64} {
		if got := dial(t, addr).download("f", 1024, window); !bytes.Equal(got, data) {
			t.Errorf("%d bytes by windows of %d; want the %d of the file", len(got), window, len(data))
		}
		if tr := done.next(t); tr.Outcome != Sent {
			t.Errorf("OnDone(%+v); want sent", tr)
		}
	}
	if err := os.Truncate(file, 5*chunkSize); err != nil {
		t.Fatal(err)
	}
	c := dial(t, addr)
	c.request("f", "blksize", "1024")
	c.receive()
	for block := uint16(0); ; block++ {
		c.ack(block)
		if p := c.packet(); binary.BigEndian.Uint16(p) == opError {
			break
		}
	}
	if tr := done.next(t); tr.Outcome != Failed || !errors.Is(tr.Err, io.ErrUnexpectedEOF) && !errors.Is(tr.Err, io.EOF) {
		t.Errorf("OnDone(%+v); want it failed at the end of the file", tr)
	}
}

func TestErrorsSayNothingOfTheServer(t *testing.T) {
	secret := errors.New("open /volume1/secret/tree: input/output error")
	source := sourceFunc(func(_ context.Context, name string) (io.ReadCloser, int64, error) {
		switch name {
		case "broken":
			return nil, 0, secret
		case "panics":
			panic(secret)
		case "torn": // half of what was promised
			return io.NopCloser(strings.NewReader("half")), 8, nil
		case "good":
			return io.NopCloser(strings.NewReader("good")), 4, nil
		}
		return nil, 0, &fs.PathError{Op: "open", Path: "/volume1/secret/" + name, Err: fs.ErrNotExist}
	})
	addr, done := serve(t, &Server{Source: source})
	for _, test := range []struct {
		name    string
		reply   string
		outcome Outcome
	}{
		{"missing", "ERROR 1 file not found", Missing},
		{"broken", "ERROR 0 internal error", Failed},
		{"panics", "ERROR 0 internal error", Failed},
		{"torn", "ERROR 0 internal error", Failed},
		{"good", "DATA 1 good", Sent},
	} {
		c := dial(t, addr)
		c.request(test.name)
		if got := c.receive(); got != test.reply {
			t.Errorf("reading %s = %q; want %q", test.name, got, test.reply)
		}
		c.ack(1)
		if tr := done.next(t); tr.Outcome != test.outcome || (tr.Err == nil) != (test.outcome == Sent) {
			t.Errorf("OnDone(%+v) for %s; want outcome %s", tr, test.name, test.outcome)
		}
	}
}

func TestHostilePackets(t *testing.T) {
	const silence = ""
	addr, done := serve(t, &Server{Source: files{"good": []byte("good")}})
	for _, test := range []struct {
		name, packet, reply string
	}{
		{"empty", "", silence},
		{"one byte", "\x00", silence},
		{"type only", "\x00\x01", silence},
		{"unknown type", "\x00\x09good\x00octet\x00", silence},
		{"stray DATA", "\x00\x03\x00\x01data", silence},
		{"stray ACK", "\x00\x04\x00\x01", silence},
		{"stray ERROR", "\x00\x05\x00\x01no\x00", silence},
		{"stray OACK", "\x00\x06tsize\x000\x00", silence},
		{"no end of name", "\x00\x01good", silence},
		{"no mode", "\x00\x01good\x00", silence},
		{"no end of mode", "\x00\x01good\x00octet", silence},
		{"too long", "\x00\x01" + strings.Repeat("a", 600) + "\x00octet\x00", silence},
		{"write", "\x00\x02good\x00octet\x00", "ERROR 2 this server is read only"},
		{"netascii", "\x00\x01good\x00netascii\x00", "ERROR 4 only octet mode is served"},
		{"mail", "\x00\x01good\x00MAIL\x00", "ERROR 4 only octet mode is served"},
		{"no name", "\x00\x01\x00octet\x00", "ERROR 2 bad file name"},
		{"parent", "\x00\x01../good\x00octet\x00", "ERROR 2 bad file name"},
		{"hidden parent", "\x00\x01a/../../good\x00octet\x00", "ERROR 2 bad file name"},
		{"backslash", "\x00\x01..\\good\x00octet\x00", "ERROR 2 bad file name"},
		{"line feed", "\x00\x01go\nod\x00octet\x00", "ERROR 2 bad file name"},
		{"not UTF-8", "\x00\x01go\xffod\x00octet\x00", "ERROR 2 bad file name"},
		{"root", "\x00\x01///\x00octet\x00", "ERROR 2 bad file name"},
		{"absolute", "\x00\x01/etc/passwd\x00octet\x00", "ERROR 1 file not found"},
		{"senseless options", "\x00\x01good\x00octet\x00blksize\x00-1\x00tsize\x00x\x00windowsize\x000\x00timeout\x00999\x00", "DATA 1 good"},
		{"broken option", "\x00\x01good\x00octet\x00blksize\x001024", "DATA 1 good"},
		{"slashes and capitals", "\x00\x01//./good\x00OcTeT\x00", "DATA 1 good"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, addr)
			c.send([]byte(test.packet))
			if test.reply == silence {
				c.request("good") // is what is answered
				test.reply = "DATA 1 good"
			}
			if got := c.receive(); got != test.reply {
				t.Errorf("reply = %q; want %q", got, test.reply)
			}
			c.ack(1)
			done.next(t)
			if got, err := pinRead(addr, "good", 0); err != nil || string(got) != "good" {
				t.Errorf("the next client gets %q, %v; want the file", got, err)
			}
			done.next(t)
		})
	}
}

func TestTransferLimit(t *testing.T) {
	release := make(chan struct{})
	source := sourceFunc(func(_ context.Context, name string) (io.ReadCloser, int64, error) {
		if name == "slow" {
			<-release
		}
		return io.NopCloser(strings.NewReader("x")), 1, nil
	})
	addr, done := serve(t, &Server{Source: source, MaxTransfers: 1})
	slow, other := dial(t, addr), dial(t, addr)
	slow.request("slow")
	other.request("dropped")
	slow.request("slow") // read after the request above, and a repetition
	close(release)
	if got := slow.receive(); got != "DATA 1 x" {
		t.Errorf("the first client gets %q; want the file", got)
	}
	slow.ack(1)
	done.next(t)
	other.request("other")
	if got := other.receive(); got != "DATA 1 x" {
		t.Errorf("the second client gets %q; want the file", got)
	}
	other.ack(1)
	if tr := done.next(t); tr.File != "other" {
		t.Errorf("OnDone(%+v); want other: what is above the limit is dropped", tr)
	}
}

func TestServeEndsWithRunningTransfers(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var outcomes []Outcome
	s := &Server{Source: files{"big": pattern(5000)}, OnDone: func(tr Transfer) { outcomes = append(outcomes, tr.Outcome) }}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, conn) }()
	c := dial(t, conn.LocalAddr().(*net.UDPAddr))
	c.request("big")
	c.receive()
	cancel()
	if err := <-ended; err != nil || !slices.Equal(outcomes, []Outcome{Aborted}) {
		t.Errorf("Serve = %v with outcomes %v; want nil with its one transfer aborted", err, outcomes)
	}
}

func TestServeWantsOneAddress(t *testing.T) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = (&Server{Source: files{}}).Serve(t.Context(), conn)
	if err == nil || !strings.Contains(err.Error(), "one IPv4 address") {
		t.Errorf("Serve on 0.0.0.0 = %v; want a refusal", err)
	}
}

// A client is scripted by a test. It takes packets from any port of the
// server, as boot code would, and remembers the last one's.
type client struct {
	t      *testing.T
	conn   *net.UDPConn
	server *net.UDPAddr
	peer   *net.UDPAddr // the port of the transfer
}

func dial(t *testing.T, server *net.UDPAddr) *client {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, server: server}
}

// port is the client's own.
func (c *client) port() int { return c.conn.LocalAddr().(*net.UDPAddr).Port }

// request sends an RRQ with the options given by name and value.
func (c *client) request(name string, options ...string) {
	c.t.Helper()
	fields := append([]string{name, "octet"}, options...)
	c.send([]byte("\x00\x01" + strings.Join(fields, "\x00") + "\x00"))
}

func (c *client) send(p []byte) { c.t.Helper(); c.sendTo(p, c.server) }

func (c *client) sendTo(p []byte, to *net.UDPAddr) {
	c.t.Helper()
	if _, err := c.conn.WriteToUDP(p, to); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) ack(block uint16) {
	c.t.Helper()
	c.sendTo([]byte{0, opAck, byte(block >> 8), byte(block)}, c.peer)
}

// packet returns the next packet, for which it waits long enough for any load.
func (c *client) packet() []byte {
	c.t.Helper()
	p, ok := c.packetWithin(20 * time.Second)
	if !ok {
		c.t.Fatal("no packet from the server")
	}
	return p
}

func (c *client) packetWithin(wait time.Duration) (p []byte, ok bool) {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		c.t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	n, from, err := c.conn.ReadFromUDP(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, false
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.peer = from
	return buf[:n], true
}

// receive returns the next packet in words.
func (c *client) receive() string {
	c.t.Helper()
	return describe(c.packet())
}

func describe(p []byte) string {
	switch number := binary.BigEndian.Uint16(p[2:]); binary.BigEndian.Uint16(p) {
	case opData:
		return fmt.Sprintf("DATA %d %s", number, p[headerLen:])
	case opError:
		return fmt.Sprintf("ERROR %d %s", number, bytes.TrimSuffix(p[headerLen:], []byte{0}))
	case opOAck:
		return "OACK " + strings.ReplaceAll(strings.TrimSuffix(string(p[2:]), "\x00"), "\x00", " ")
	}
	return fmt.Sprintf("%x", p)
}
