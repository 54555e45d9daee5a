package rpc

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowClients: who keeps the server waiting is cut off, in time.
func TestSlowClients(t *testing.T) {
	null := nullCall(1, 100003, 3)
	silent := func(net.Conn) {}
	dribble := func(c net.Conn) { // a byte every seven seconds
		for _, b := range null {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(7 * time.Second)
		}
	}
	for _, tt := range []struct {
		name     string
		known    bool
		talk     func(net.Conn)
		wantLast time.Duration // until the server closes the connection
	}{
		{"a silent stranger", false, silent, strangerTimeout},
		{"a stranger in no hurry", false, dribble, recordTimeout},
		{"a client in no hurry", true, dribble, recordTimeout},
		{"a call that is never finished", true, func(c net.Conn) { _, _ = c.Write(null[:len(null)-1]) }, recordTimeout},
		{"a length that never follows", true, func(c net.Conn) { _, _ = c.Write(null[:2]) }, recordTimeout},
		{"a reply that is not read", true, func(c net.Conn) { _, _ = c.Write(null) }, recordTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, ended := slowService(t, tt.known)
				start := time.Now()
				tt.talk(client)
				if lasted := (<-ended).Sub(start); lasted != tt.wantLast {
					t.Errorf("the server closes the connection after %v; want %v", lasted, tt.wantLast)
				}
			})
		})
	}
}

// TestIdleClient: a board that has nothing to ask for a day stays connected.
func TestIdleClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := slowService(t, true)
		for xid := range uint32(2) {
			wantSuccess(t, conn, xid, 100003, 3)
			time.Sleep(24 * time.Hour)
		}
	})
}

// slowService serves one connection. It returns its other end and what tells
// when it ended.
func slowService(t *testing.T, known bool) (net.Conn, <-chan time.Time) {
	t.Helper()
	s := newServer(known)
	null := Procedure{Quick: always, Run: func(c *Call) []byte { return Mark(Refused(c.XID, Success), 0) }}
	board, nas := net.Pipe()
	ended := make(chan time.Time, 1)
	var served sync.WaitGroup
	served.Go(func() {
		s.connection(context.Background(), nas, []Program{{Number: 100003, Version: 3, Procedures: []Procedure{null}}})
		ended <- time.Now()
	})
	t.Cleanup(func() {
		board.Close()
		served.Wait()
	})
	return board, ended
}
