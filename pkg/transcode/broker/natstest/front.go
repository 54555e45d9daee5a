package natstest

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A front is an address that stays while servers behind it come and go.
type front struct {
	listen net.Listener
	to     atomic.Pointer[string] // the server's address; nil: there is none
	pipes  sync.WaitGroup
}

// newFront opens one until the test ends. The server has to end before, so its
// Cleanup has to come later.
func newFront(t testing.TB) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{listen: l}
	f.pipes.Go(f.serve)
	t.Cleanup(func() {
		l.Close()
		f.pipes.Wait()
	})
	return f
}

// serve passes connections on to the server that runs.
func (f *front) serve() {
	for {
		near, err := f.listen.Accept()
		if err != nil {
			return
		}
		far, err := f.dial()
		if err != nil {
			near.Close()
			continue
		}
		f.pipes.Go(func() { pass(near, far) })
		f.pipes.Go(func() { pass(far, near) })
	}
}

func (f *front) dial() (net.Conn, error) {
	to := f.to.Load()
	if to == nil {
		return nil, errors.New("stopped")
	}
	return net.Dial("tcp", *to)
}

// pass copies until one side is closed, and then closes the other.
func pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	_, _ = io.Copy(to, from) // what ends it is seen at both ends
}
