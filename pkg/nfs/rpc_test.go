package nfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/nfs/rpc"
)

// words is XDR made of 32-bit words.
func words(v ...uint32) []byte {
	var e encoder
	for _, w := range v {
		e.Uint32(w)
	}
	return e.Buf
}

// answerTo is the reply to a call, without its record mark.
func answerTo(t testing.TB, call []byte, programs ...program) []byte {
	t.Helper()
	s := &Server{Key: testKey()}
	if err := s.ready(); err != nil {
		t.Fatal(err)
	}
	v := &service{server: s, ports: []mapping{{prog: 100003, vers: 3, proto: protoTCP, port: 2049}}}
	if programs == nil {
		programs = []program{nfsProgram(), mountProgram(), portmapProgram()}
	}
	var bound []rpc.Program
	for _, p := range programs {
		bound = append(bound, v.bind(p))
	}
	out := s.rpc().Answer(call, netip.AddrPortFrom(loopback, 0), bound...)
	if out == nil {
		return nil
	}
	if mark := binary.BigEndian.Uint32(out); mark != uint32(len(out)-4)|rpc.LastFragment {
		t.Errorf("record mark %#x on a reply of %d bytes", mark, len(out)-4)
	}
	return out[4:]
}

func TestReplies(t *testing.T) {
	none := []uint32{0, 0, 0, 0} // credentials and verifier
	call := func(v ...uint32) []byte { return words(append([]uint32{9, rpc.MsgCall}, v...)...) }
	accept := func(v ...uint32) []byte { return words(append([]uint32{9, 1, 0, 0, 0}, v...)...) }
	tests := []struct {
		name       string
		call, want []byte
	}{
		{"empty", nil, nil},
		{"a reply", words(9, rpc.MsgReply, 0, 0, 0, 0), nil},
		{"a message of type 2", words(9, 2, 2, 100003, 3, 0, 0, 0, 0, 0), nil},
		{"xid 0", words(0, rpc.MsgCall, 2, 100003, 3, 0, 0, 0, 0, 0), words(0, 1, 0, 0, 0, 0)},
		{"cut after the xid", words(9), nil},
		{"RPC version 3", call(3, 100003, 3, 0), words(9, 1, 1, 0, 2, 2)},
		{"cut after the procedure", call(2, 100003, 3, 0), words(9, 1, 1, 1, 1)},
		{"credentials of a gigabyte", call(2, 100003, 3, 0, 1, 1<<30), words(9, 1, 1, 1, 1)},
		{"AUTH_DH", call(2, 100003, 3, 0, 3, 0, 0, 0), words(9, 1, 1, 1, 1)},
		{"AUTH_SYS, empty", call(2, 100003, 3, 0, 1, 0, 0, 0), words(9, 1, 1, 1, 1)},
		{"AUTH_SYS, 17 groups", call(2, 100003, 3, 0, 1, 20, 0, 0, 0, 0, 17, 0, 0), words(9, 1, 1, 1, 1)},
		{"no such program", call(append([]uint32{2, 100227, 3, 0}, none...)...), accept(1)},
		{"NFS 2", call(append([]uint32{2, 100003, 2, 0}, none...)...), accept(2, 3, 3)},
		{"NFS 4", call(append([]uint32{2, 100003, 4, 1}, none...)...), accept(2, 3, 3)},
		{"MOUNT 1", call(append([]uint32{2, 100005, 1, 1}, none...)...), accept(2, 3, 3)},
		{"portmap 4", call(append([]uint32{2, 100000, 4, 3}, none...)...), accept(2, 2, 2)},
		{"NFS procedure 22", call(append([]uint32{2, 100003, 3, 22}, none...)...), accept(3)},
		{"NFS NULL", call(append([]uint32{2, 100003, 3, 0}, none...)...), accept(0)},
		{"GETATTR of nothing", call(append([]uint32{2, 100003, 3, 1}, none...)...), accept(4)},
		{"GETATTR, handle of 65 bytes", append(call(append([]uint32{2, 100003, 3, 1}, none...)...), args(make([]byte, 65))...), accept(4)},
		{"GETATTR, handle longer than the call", call(2, 100003, 3, 1, 0, 0, 0, 0, 64, 0), accept(4)},
		{"GETATTR, bad handle", call(2, 100003, 3, 1, 0, 0, 0, 0, 4, 0), accept(0, 10001)},
		{"WRITE, other count than data", call(2, 100003, 3, 7, 0, 0, 0, 0, 4, 0, 0, 0, 5, 2, 4, 0), accept(4)},
		{"WRITE, unknown stability", call(2, 100003, 3, 7, 0, 0, 0, 0, 4, 0, 0, 0, 4, 3, 4, 0), accept(4)},
		{"CREATE, unknown mode", call(2, 100003, 3, 8, 0, 0, 0, 0, 4, 0, 1, 0x61000000, 3), accept(4)},
		{"MNT, path of 1025 bytes", append(call(2, 100005, 3, 1, 0, 0, 0, 0), args(strings.Repeat("x", 1025))...), accept(4)},
		{"MNT of nothing we have", append(call(2, 100005, 3, 1, 0, 0, 0, 0), args("/x")...), accept(0, 2)},
		{"GETPORT of NFS", call(2, 100000, 2, 3, 0, 0, 0, 0, 100003, 3, 6, 0), accept(0, 2049)},
		{"GETPORT of NFS over UDP", call(2, 100000, 2, 3, 0, 0, 0, 0, 100003, 3, 17, 0), accept(0, 0)},
		{"SET", call(2, 100000, 2, 1, 0, 0, 0, 0, 100003, 3, 6, 99), accept(0, 0)},
		{"DUMP", call(2, 100000, 2, 4, 0, 0, 0, 0), accept(0, 1, 100003, 3, 6, 2049, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := answerTo(t, tt.call); !bytes.Equal(got, tt.want) {
				t.Errorf("reply = %x; want %x", got, tt.want)
			}
		})
	}
}

// TestPanic: a panic costs its call, and what it held is free again.
func TestPanic(t *testing.T) {
	s := &Server{Key: testKey(), MaxCalls: 1}
	if err := s.ready(); err != nil {
		t.Fatal(err)
	}
	v := &service{server: s}
	broken := program{number: 1, version: 1, procedures: []procedure{{name: "BROKEN", once: true, run: func(*call) error { panic("x") }}}}
	for range 3 {
		got := s.rpc().Answer(words(9, 0, 2, 1, 1, 0, 0, 0, 0, 0), netip.AddrPortFrom(loopback, 0), v.bind(broken))
		if want := words(9, 1, 0, 0, 0, rpc.SystemErr); !bytes.Equal(got[4:], want) {
			t.Errorf("reply = %x; want %x", got[4:], want)
		}
	}
}

// TestHostileConnections: who sends nonsense is cut off, and nobody else is.
func TestHostileConnections(t *testing.T) {
	s := serve(t, &Server{Key: testKey()})
	friend := dial(t, s.addr)
	for name, in := range map[string][]byte{
		"a record of two gigabytes":     words(1<<32 - 1),
		"more than a stranger may send": words(rpc.LastFragment | (rpc.MaxStrangerCall + 1)),
		"an HTTP request":               []byte("GET / HTTP/1.1\r\nHost: nas\r\n\r\n"),
	} {
		c := dial(t, s.addr)
		if _, err := c.conn.Write(in); err != nil {
			t.Fatal(err)
		}
		if n, err := c.conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: read %d bytes, %v; want the connection closed by the server", name, n, err)
		}
	}
	// What is no call has no answer (RFC 5531 §9), and the next call has.
	if _, err := friend.conn.Write(words(rpc.LastFragment|40, 9, 7, 2, 100003, 3, 0, 0, 0, 0, 0)); err != nil {
		t.Fatal(err)
	}
	c := dial(t, s.addr)
	if _, err := c.conn.Write(append(words(rpc.LastFragment|100), 1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	c.conn.Close() // in the middle of a call
	if stat, _ := friend.rpc(100003, 3, 0, nil); stat != rpc.Success {
		t.Errorf("NULL on another connection = %d; want 0", stat)
	}
}

func TestConnectionLimits(t *testing.T) {
	s := serve(t, &Server{Key: testKey(), MaxClientConns: 2})
	a, b := dial(t, s.addr), dial(t, s.addr)
	for _, c := range []*rawClient{a, b} { // both are counted once they are answered
		if stat, _ := c.rpc(100003, 3, 0, nil); stat != rpc.Success {
			t.Fatalf("NULL = %d; want 0", stat)
		}
	}
	refused := dial(t, s.addr)
	if _, err := refused.conn.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection is served; want that it is closed")
	}
	if stat, _ := a.rpc(100003, 3, 0, nil); stat != rpc.Success {
		t.Errorf("NULL = %d; want 0", stat)
	}
}

// TestConnectionsOfOneBoard: a mount with nconnect=16, and beside it the connections of MOUNT and
// the portmapper, are one board's.
func TestConnectionsOfOneBoard(t *testing.T) {
	s := serve(t, &Server{Key: testKey()})
	const nconnect, beside = 16, 4
	for i := range nconnect + beside {
		if stat, _ := dial(t, s.addr).rpc(100003, 3, 0, nil); stat != rpc.Success {
			t.Fatalf("NULL on connection %d = %d; want 0", i+1, stat)
		}
	}
}

// TestManyCallsAtOnce: calls need not wait for their replies, and each gets
// one.
func TestManyCallsAtOnce(t *testing.T) {
	s := serve(t, &Server{Key: testKey(), MaxClientCalls: 3, MaxCalls: 2})
	c := dial(t, s.addr)
	const calls, replyHead = 200, 4 + 6*4 // record mark and accepted header
	var out []byte
	for range calls {
		c.xid++
		out = append(out, c.message(100003, 3, 0, nil)...)
	}
	sent := make(chan error, 1)
	go func() { _, err := c.conn.Write(out); sent <- err }()
	seen := map[uint32]bool{}
	for range calls {
		reply := make([]byte, replyHead)
		if _, err := io.ReadFull(c.conn, reply); err != nil {
			t.Fatal(err)
		}
		seen[binary.BigEndian.Uint32(reply[4:])] = true
	}
	if err := <-sent; err != nil || len(seen) != calls {
		t.Errorf("%d calls were answered, %v; want %d", len(seen), err, calls)
	}
}

func TestServeEnds(t *testing.T) {
	s := serve(t, &Server{Key: testKey()})
	c := dial(t, s.addr)
	if stat, _ := c.rpc(100003, 3, 0, nil); stat != rpc.Success {
		t.Fatalf("NULL = %d; want 0", stat)
	}
	s.stop()
	if _, err := c.conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open after Serve; want it closed")
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("the port is open after Serve; want it closed")
	}
}

func TestServeReportsALostSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	s := &Server{Key: testKey()}
	if err := s.Serve(context.Background(), Listeners{NFS: ln}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v; want that the socket is closed", err)
	}
	if err := s.Serve(context.Background(), Listeners{}); err == nil || !strings.Contains(err.Error(), "no NFS listener") {
		t.Errorf("Serve without a socket = %v", err)
	}
	if err := new(Server).Serve(context.Background(), Listeners{}); err == nil || !strings.Contains(err.Error(), "want 32") {
		t.Errorf("Serve without a key = %v", err)
	}
}

// TestDatagrams: MOUNT and the portmapper answer over UDP too.
func TestDatagrams(t *testing.T) {
	l := allListeners(t)
	serveOn(t, &Server{Key: testKey()}, l)
	nfsPort := uint32(l.NFS.Addr().(*net.TCPAddr).Port)
	udpPort := uint32(l.MountUDP.LocalAddr().(*net.UDPAddr).Port)
	getport := func(prog, vers, proto uint32) []byte {
		return words(9, 0, 2, 100000, 2, 3, 0, 0, 0, 0, prog, vers, proto, 0)
	}
	mnt := append(words(9, 0, 2, 100005, 3, 1, 0, 0, 0, 0), args("/x")...)
	dump := []uint32{
		1, 100003, 3, 6, nfsPort, 1, 100005, 3, 6, nfsPort, 1, 100005, 3, 17, udpPort,
		1, 100000, 2, 6, uint32(l.Portmap.Addr().(*net.TCPAddr).Port),
		1, 100000, 2, 17, uint32(l.PortmapUDP.LocalAddr().(*net.UDPAddr).Port), 0,
	}
	for _, tt := range []struct {
		name string
		to   net.Addr
		call []byte
		want []uint32 // after the reply's header
	}{
		{"nothing", l.PortmapUDP.LocalAddr(), nil, nil},
		{"garbage", l.PortmapUDP.LocalAddr(), []byte("garbage"), nil},
		{"NFS", l.PortmapUDP.LocalAddr(), getport(100003, 3, 6), []uint32{0, nfsPort}},
		{"MOUNT", l.PortmapUDP.LocalAddr(), getport(100005, 3, 17), []uint32{0, udpPort}},
		{"MOUNT over TCP", l.PortmapUDP.LocalAddr(), getport(100005, 3, 6), []uint32{0, nfsPort}},
		{"MOUNT 1", l.PortmapUDP.LocalAddr(), getport(100005, 1, 17), []uint32{0, 0}},
		{"DUMP", l.PortmapUDP.LocalAddr(), words(9, 0, 2, 100000, 2, 4, 0, 0, 0, 0), append([]uint32{0}, dump...)},
		{"MNT", l.MountUDP.LocalAddr(), mnt, []uint32{0, 2}},
		{"MNT 1", l.MountUDP.LocalAddr(), words(9, 0, 2, 100005, 1, 1, 0, 0, 0, 0), []uint32{2, 3, 3}},
		{"MNT of a path that ends early", l.MountUDP.LocalAddr(), words(9, 0, 2, 100005, 3, 1, 0, 0, 0, 0, 9), []uint32{4}},
		{"NFS is not served over UDP", l.MountUDP.LocalAddr(), words(9, 0, 2, 100003, 3, 0, 0, 0, 0, 0), []uint32{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := datagram(t, tt.to, tt.call, tt.want == nil)
			if want := words(append([]uint32{9, 1, 0, 0, 0}, tt.want...)...); tt.want != nil && !bytes.Equal(got, want) {
				t.Errorf("reply = %x; want %x", got, want)
			}
		})
	}
	c := dial(t, l.Portmap.Addr().String())
	if stat, d := c.rpc(100000, 2, 3, words(100003, 3, 6, 0)); stat != rpc.Success || d.Uint32() != nfsPort {
		t.Errorf("GETPORT over TCP = %d; want 0 and the port", stat)
	}
	if stat, d := c.rpc(100000, 2, 4, nil); stat != rpc.Success || !bytes.Equal(d.Buf, words(dump...)) {
		t.Errorf("DUMP over TCP = %d, %x; want %x", stat, d.Buf, words(dump...))
	}
	if stat, _ := c.rpc(100003, 3, 0, nil); stat != rpc.ProgUnavail {
		t.Errorf("NFS on the portmapper's port = %d; want PROG_UNAVAIL", stat)
	}
}

// allListeners has all sockets that a Serve may have, on ports of this machine's choice.
func allListeners(t *testing.T) (l Listeners) {
	t.Helper()
	var errs [4]error
	l.NFS, errs[0] = net.Listen("tcp", "127.0.0.1:0")
	l.Portmap, errs[1] = net.Listen("tcp", "127.0.0.1:0")
	l.MountUDP, errs[2] = net.ListenPacket("udp", "127.0.0.1:0")
	l.PortmapUDP, errs[3] = net.ListenPacket("udp", "127.0.0.1:0")
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return l
}

// datagram sends call and returns the reply. If silent, there must be none
// before the reply to a later call.
func datagram(t *testing.T, to net.Addr, call []byte, silent bool) []byte {
	t.Helper()
	conn, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	calls := [][]byte{call}
	if silent {
		calls = append(calls, words(10, 0, 2, 1, 1, 0, 0, 0, 0, 0))
	}
	for _, c := range calls {
		if _, err := conn.Write(c); err != nil {
			t.Fatal(err)
		}
	}
	reply := make([]byte, 1000)
	n, err := conn.Read(reply)
	if err != nil {
		t.Fatal(err)
	}
	if xid := binary.BigEndian.Uint32(reply); silent && xid != 10 {
		t.Errorf("reply to xid %d; want silence", xid)
	}
	return reply[:n]
}
