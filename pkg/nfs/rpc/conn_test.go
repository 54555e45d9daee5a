package rpc

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLostThread: a call that leaves its thread with other rights is the last
// on that thread, and the connection continues.
func TestLostThread(t *testing.T) {
	threads := make(chan int, 2)
	lose := Procedure{Quick: always, Run: func(c *Call) []byte {
		runtime.LockOSThread()
		threads <- unix.Gettid()
		c.Reply.Lost = true
		return Mark(Refused(c.XID, Success), 0)
	}}
	s := newServer(false)
	near, far := net.Pipe()
	c := s.newConn(far, s.enter(netip.Addr{}), 1, []Program{{Number: 1, Version: 1, Procedures: []Procedure{lose}}})
	ended := make(chan error, 1)
	go func() { ended <- c.serve(t.Context()) }()
	for xid := range uint32(2) {
		wantSuccess(t, near, xid, 1, 1)
	}
	if a, b := <-threads, <-threads; a == b {
		t.Error("both calls ran on one thread")
	}
	near.Close()
	<-ended
}

func always(Decoder) bool { return true }

// newServer returns a server to which every address is known, or none.
func newServer(known bool) *Server {
	return &Server{
		Known: func(netip.Addr) bool { return known }, Memory: NewMemory(0),
		MaxConns: 512, MaxClientConns: 16, MaxClientCalls: 16,
	}
}

// nullCall is a call of procedure 0, with its record mark.
func nullCall(xid, program, version uint32) []byte {
	return Mark(words(0, xid, MsgCall, Version, program, version, 0, AuthNone, 0, AuthNone, 0), 0)
}

// wantSuccess makes a call of procedure 0 and wants an empty result.
func wantSuccess(t *testing.T, conn net.Conn, xid, program, version uint32) {
	t.Helper()
	if _, err := conn.Write(nullCall(xid, program, version)); err != nil {
		t.Fatal(err)
	}
	want := Mark(Refused(xid, Success), 0)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("reply = %x, %v; want %x", got, err, want)
	}
}

// words is XDR made of 32-bit words.
func words(v ...uint32) []byte {
	var e Encoder
	for _, w := range v {
		e.Uint32(w)
	}
	return e.Buf
}
