package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soon is the servers' retransmission timeout in tests that lose packets.
const soon = 200 * time.Millisecond

// never is that of tests in which a retransmission would be an error.
const never = time.Hour

func TestLostDataIsSentAgain(t *testing.T) {
	addr, done := serve(t, &Server{Source: files{"f": []byte("abcdefghij")}, Retransmit: soon})
	c := dial(t, addr)
	c.request("f", "blksize", "8")
	// A packet is lost if the client behaves as if it had not come.
	for _, step := range []struct {
		packet string
		acks   []uint16
	}{
		{"OACK blksize 8", nil},
		{"OACK blksize 8", []uint16{0}},
		{"DATA 1 abcdefgh", nil},
		{"DATA 1 abcdefgh", nil},
		{"DATA 1 abcdefgh", []uint16{1}},
		{"DATA 2 ij", nil},
		{"DATA 2 ij", []uint16{2}},
	} {
		if got := c.receive(); got != step.packet {
			t.Fatalf("packet = %q; want %q", got, step.packet)
		}
		for _, block := range step.acks {
			c.ack(block)
		}
	}
	if tr := done.next(t); tr.Outcome != Sent || tr.Bytes != 10 {
		t.Errorf("OnDone(%+v); want all 10 bytes sent", tr)
	}
}

// TestDuplicateACKs is the sorcerer's apprentice: were an ACK that comes twice
// answered twice, every packet from there on would be sent twice.
func TestDuplicateACKs(t *testing.T) {
	data := pattern(10 * 512)
	addr, done := serve(t, &Server{Source: files{"f": data}, Retransmit: never})
	c := dial(t, addr)
	c.request("f")
	for block := 1; block <= 11; block++ {
		from := (block - 1) * 512
		want := fmt.Sprintf("DATA %d %s", block, data[from:min(from+512, len(data))])
		if got := c.receive(); got != want {
			t.Fatalf("packet = %.20q; want %.20q", got, want)
		}
		c.ack(uint16(block - 1)) // stale
		c.ack(uint16(block + 7)) // not sent yet
		c.ack(uint16(block))
		c.ack(uint16(block))
	}
	if tr := done.next(t); tr.Outcome != Sent {
		t.Errorf("OnDone(%+v); want sent", tr)
	}
}

// TestWindow loses blocks of a window of four; a client of RFC 7440 then
// acknowledges the last block before the gap.
func TestWindow(t *testing.T) {
	data := []byte("aaaaaaaabbbbbbbbccccccccddddddddeeeeeeeeffffffffgggggggghh")
	addr, done := serve(t, &Server{Source: files{"f": data}, Retransmit: never})
	c := dial(t, addr)
	c.request("f", "blksize", "8", "windowsize", "4")
	if got, want := c.receive(), "OACK blksize 8 windowsize 4"; got != want {
		t.Fatalf("reply = %q; want %q", got, want)
	}
	for _, step := range []struct {
		ack    uint16
		blocks string
	}{
		{0, "1234"},
		{1, "2345"}, // 2 was lost
		{1, ""},     // the client says so for each block behind it
		{5, "678"},  // 8 is the last
		{5, "678"},  // 6 was lost
		{5, ""},
		{7, "8"},
	} {
		c.ack(step.ack)
		for _, digit := range step.blocks {
			block := int(digit - '0')
			want := fmt.Sprintf("DATA %d %s", block, data[(block-1)*8:min(block*8, len(data))])
			if got := c.receive(); got != want {
				t.Fatalf("after ACK %d packet = %q; want %q", step.ack, got, want)
			}
		}
	}
	c.ack(8)
	if tr := done.next(t); tr.Outcome != Sent || tr.Bytes != int64(len(data)) {
		t.Errorf("OnDone(%+v); want all sent", tr)
	}
}

func TestBlockNumbersRollOver(t *testing.T) {
	data := pattern(66_000*8 + 3)
	addr, done := serve(t, &Server{Source: files{"f": data}})
	if got := dial(t, addr).download("f", 8, 16); !bytes.Equal(got, data) {
		t.Errorf("got %d bytes; want the %d of the file", len(got), len(data))
	}
	if tr := done.next(t); tr.Outcome != Sent || tr.Bytes != int64(len(data)) {
		t.Errorf("OnDone(%+v); want all sent", tr)
	}
}

// download reads a file as a client of RFC 7440 does.
func (c *client) download(name string, block, window int) []byte {
	c.t.Helper()
	c.request(name, "blksize", fmt.Sprint(block), "windowsize", fmt.Sprint(window))
	c.receive()
	c.ack(0)
	var data []byte
	for n := 1; ; n++ {
		p := c.packet()
		if got := binary.BigEndian.Uint16(p[2:]); got != uint16(n) {
			c.t.Fatalf("block %d is numbered %d", n, got)
		}
		data = append(data, p[headerLen:]...)
		last := len(p) < headerLen+block
		if last || n%window == 0 {
			c.ack(uint16(n))
		}
		if last {
			return data
		}
	}
}

func TestRepeatedRequestIsAnsweredOnce(t *testing.T) {
	var opened atomic.Int32
	release := make(chan struct{})
	source := sourceFunc(func(_ context.Context, name string) (io.ReadCloser, int64, error) {
		if name == "slow" {
			opened.Add(1)
			<-release
		}
		return io.NopCloser(strings.NewReader(name)), int64(len(name)), nil
	})
	addr, done := serve(t, &Server{Source: source, Retransmit: never})
	c, other := dial(t, addr), dial(t, addr)
	for range 3 {
		c.request("slow", "tsize", "0")
	}
	// Requests are read in order: when this one is answered, those above are read.
	other.request("other")
	if got := other.receive(); got != "DATA 1 other" {
		t.Fatalf("reply = %q", got)
	}
	other.ack(1)
	done.next(t)
	close(release)
	for block, want := range []string{"OACK tsize 4", "DATA 1 slow"} {
		if got := c.receive(); got != want {
			t.Errorf("packet = %q; want %q", got, want)
		}
		c.ack(uint16(block))
	}
	if tr := done.next(t); tr.Outcome != Sent || tr.File != "slow" || opened.Load() != 1 {
		t.Errorf("OnDone(%+v) after %d openings; want one transfer", tr, opened.Load())
	}
}

// A request that is read late, when its client has long been taking the file,
// must not end that; one of a client that has stopped taking it does.
func TestLateRequestDoesNotEndATransfer(t *testing.T) {
	client := netip.MustParseAddrPort("10.0.0.21:49152")
	req := request{name: "kernel8.img"}
	for _, tt := range []struct {
		heard   time.Duration // how long ago
		repeats bool
	}{{0, true}, {time.Millisecond, true}, {repeatGrace / 2, true}, {2 * repeatGrace, false}} {
		running := &transfer{req: req, cancel: func(error) {}}
		if tt.heard > 0 {
			running.heard.Store(time.Now().Add(-tt.heard).UnixNano())
		}
		l := &listener{running: map[netip.AddrPort]*transfer{client: running}}
		if got := l.repeats(client, req); got != tt.repeats || (running.stopped.Load() == nil) != tt.repeats {
			t.Errorf("heard of it %v ago: repeats = %v; want %v", tt.heard, got, tt.repeats)
		}
	}
}

// TestNextRequestFromTheSamePort is a Pi 3 in its next boot stage, or a board
// that was switched off and on: the transfer before it is over.
func TestNextRequestFromTheSamePort(t *testing.T) {
	addr, done := serve(t, &Server{Source: files{"one": []byte("1"), "two": []byte("2")}, Retransmit: never})
	c := dial(t, addr)
	var first *net.UDPAddr
	for _, name := range []string{"one", "two"} {
		first = c.peer
		c.request(name, "tsize", "0")
		if got := c.receive(); got != "OACK tsize 1" {
			t.Fatalf("reply = %q", got)
		}
	}
	if tr := done.next(t); tr.Outcome != Aborted || tr.File != "one" {
		t.Errorf("OnDone(%+v); want one aborted", tr)
	}
	if c.peer.Port == first.Port {
		t.Errorf("both files come from %v; want another port for the second, which a late ACK of the first cannot move", first)
	}
	c.sendTo([]byte{0, opAck, 0, 0}, first) // late, and so without an answer
	c.sendTo([]byte("\x00\x05\x00\x00late\x00"), first)
	c.ack(0)
	if got := c.receive(); got != "DATA 1 2" {
		t.Errorf("packet = %q; want the second file", got)
	}
	c.ack(1)
	if tr := done.next(t); tr.Outcome != Sent || tr.File != "two" {
		t.Errorf("OnDone(%+v); want two sent", tr)
	}
}

// TestProbe is how boot code learns whether a file is there.
func TestProbe(t *testing.T) {
	addr, done := serve(t, &Server{Source: files{"start4.elf": pattern(2_000_000)}, Retransmit: never})
	c := dial(t, addr)
	for range 3 { // an ERROR that was answered would be the second round's reply
		c.request("start4.elf", "tsize", "0", "blksize", "1024")
		if got, want := c.receive(), "OACK tsize 2000000 blksize 1024"; got != want {
			t.Errorf("reply = %q; want %q", got, want)
		}
		c.sendTo([]byte("\x00\x05\x00\x00Early terminate\x00"), c.peer)
		if tr := done.next(t); tr.Outcome != Aborted || tr.Bytes != 0 || !strings.Contains(tr.Err.Error(), "Early terminate") {
			t.Errorf("OnDone(%+v); want it aborted by the client's words", tr)
		}
	}
}

func TestGoneClients(t *testing.T) {
	addr, done := serve(t, &Server{Source: files{"f": pattern(5000)}, Retransmit: time.Millisecond})
	silent := dial(t, addr)
	silent.request("f")
	for range 1 + maxRetries {
		if got := silent.receive(); !strings.HasPrefix(got, "DATA 1 ") {
			t.Errorf("packet = %.20q; want the first block again", got)
		}
	}
	if tr := done.next(t); tr.Outcome != Failed || !strings.Contains(tr.Err.Error(), "no answer") {
		t.Errorf("OnDone(%+v); want failed for want of an answer", tr)
	}
	closed := dial(t, addr)
	closed.request("f")
	closed.receive()
	closed.conn.Close()
	if tr := done.next(t); tr.Outcome != Aborted {
		t.Errorf("OnDone(%+v); want aborted: the client's port is closed", tr)
	}
}

// Clients share sockets: what becomes of one of them is not the others' business.
func TestAClosedPortDisturbsNobodyElse(t *testing.T) {
	data := pattern(100*512 + 1)
	addr, done := serve(t, &Server{Source: files{"f": data}, Retransmit: 5 * time.Millisecond})
	lasting := dial(t, addr)
	lasting.request("f")
	var got []byte
	for block := uint16(1); block <= 101; block++ {
		p := lasting.packet()
		for binary.BigEndian.Uint16(p[2:]) < block { // sent again
			p = lasting.packet()
		}
		got = append(got, p[headerLen:]...)
		if block%25 == 0 {
			gone := dial(t, addr)
			gone.request("f")
			gone.receive()
			gone.conn.Close()
			if tr := done.next(t); tr.Outcome != Aborted || tr.Port == uint16(lasting.port()) {
				t.Fatalf("OnDone(%+v); want the transfer to the closed port aborted", tr)
			}
		}
		lasting.ack(block)
	}
	if tr := done.next(t); tr.Outcome != Sent || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, OnDone(%+v); want the file, sent", len(got), tr)
	}
}

// A card or a kernel that cannot cut a window's datagram is found out by the first,
// which is then sent in packets, and by no client.
func TestWindowsWhereNothingCutsDatagrams(t *testing.T) {
	l, err := newLoop(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c := dial(t, nil)
	for _, s := range l.sockets {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil { // udp(7) does not cut what has no checksum
			t.Fatal(err)
		}
	}
	tr := &transfer{peer: peer{addr: [4]byte{127, 0, 0, 1}, port: uint16(c.port())}}
	for range 2 {
		for block := byte(1); block <= 5; block++ {
			l.put(tr, [headerLen]byte{1: opData, 3: block}, []byte{'a' + block})
		}
		l.sendAll()
		for block := 1; block <= 5; block++ {
			if got, want := c.receive(), fmt.Sprintf("DATA %d %c", block, 'a'+block); got != want {
				t.Fatalf("packet = %q; want %q", got, want)
			}
		}
	}
}

// TestTimeoutOption has the client ask for the longest timeout that is
// granted, and lose nothing: that it is kept cannot be shown without waiting.
func TestTimeoutOption(t *testing.T) {
	addr, done := serve(t, &Server{Source: files{"f": []byte("x")}, Retransmit: time.Millisecond})
	c := dial(t, addr)
	c.request("f", "TimeOut", "15")
	if got, want := c.receive(), "OACK timeout 15"; got != want {
		t.Errorf("reply = %q; want %q", got, want)
	}
	c.ack(0)
	if got := c.receive(); got != "DATA 1 x" {
		t.Errorf("packet = %q; want the block, not the OACK again", got)
	}
	c.ack(1)
	if tr := done.next(t); tr.Outcome != Sent {
		t.Errorf("OnDone(%+v); want sent", tr)
	}
}

// TestReplyAddress has the server on another of the host's addresses: replies
// come from it, and from a port of their own.
func TestReplyAddress(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- (&Server{Source: files{"f": []byte("x")}}).Serve(ctx, conn) }()
	server := conn.LocalAddr().(*net.UDPAddr)
	c := dial(t, server)
	c.request("f")
	c.receive()
	if !c.peer.IP.Equal(server.IP) || c.peer.Port == server.Port {
		t.Errorf("reply from %v; want another port of %v", c.peer, server.IP)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestACKArithmetic(t *testing.T) {
	for _, test := range []struct {
		acked, next int64
		window      int
		block       uint16
		answer      bool
		wantAcked   int64
	}{
		{acked: -1, next: 1, window: 1, block: 0, answer: true, wantAcked: 0},   // the OACK's
		{acked: -1, next: 1, window: 1, block: 1, answer: false, wantAcked: -1}, // no DATA was sent yet
		{acked: -1, next: 1, window: 1, block: 65535, answer: false, wantAcked: -1},
		{acked: 0, next: 2, window: 1, block: 1, answer: true, wantAcked: 1},
		{acked: 65534, next: 65536, window: 1, block: 65535, answer: true, wantAcked: 65535},
		{acked: 65535, next: 65537, window: 1, block: 0, answer: true, wantAcked: 65536},
		{acked: 65535, next: 65537, window: 1, block: 65535, answer: false, wantAcked: 65535},
		{acked: 65533, next: 65538, window: 4, block: 1, answer: true, wantAcked: 65537},
		{acked: 65533, next: 65538, window: 4, block: 2, answer: false, wantAcked: 65533},
		{acked: 65533, next: 65538, window: 4, block: 65533, answer: true, wantAcked: 65533},
	} {
		s := &sender{terms: terms{window: test.window}, acked: test.acked, next: test.next}
		if got := s.ack(test.block); got != test.answer || s.acked != test.wantAcked {
			t.Errorf("ACK %d after block %d = %v, acked %d; want %v, %d", test.block, test.acked, got, s.acked, test.answer, test.wantAcked)
		}
	}
}
