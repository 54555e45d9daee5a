package nfs

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLostThread: a call that leaves its thread with other rights is the last
// on that thread, and the connection goes on.
func TestLostThread(t *testing.T) {
	s := &Server{Key: testKey()}
	if err := s.ready(); err != nil {
		t.Fatal(err)
	}
	threads := make(chan int, 2)
	lose := procedure{name: "LOSE", quick: always, run: func(c *call) error {
		runtime.LockOSThread()
		threads <- unix.Gettid()
		c.reply.lost = true
		return nil
	}}
	v := &service{server: s, clients: map[netip.Addr]*client{}}
	near, far := net.Pipe()
	c := v.newConn(far, v.enter(loopback), 1, []program{{number: 1, version: 1, procedures: []procedure{lose}}})
	ended := make(chan error, 1)
	go func() { ended <- c.serve(t.Context()) }()
	raw := &rawClient{t: t, conn: near}
	for range 2 {
		if stat, _ := raw.rpc(1, 1, 0, nil); stat != acceptSuccess {
			t.Fatalf("accept status %d; want 0", stat)
		}
	}
	if a, b := <-threads, <-threads; a == b {
		t.Error("both calls ran on one thread")
	}
	near.Close()
	<-ended
}
