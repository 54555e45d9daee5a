//go:build e2e

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"pibootd/pkg/netlab"
)

// A gate is a way to a server that can be held and cut.
type gate struct {
	url    string
	server string
	net    *netlab.Namespace

	mu      sync.Mutex
	conns   map[net.Conn]bool
	left    int           // bytes that a connection may send until it is held; 0: any number
	barred  bool          // connections are refused
	changed chan struct{} // closed and replaced with each change
}

// openGate opens a gate to a server. It ends with the test.
func openGate(t *testing.T, where *netlab.Namespace, server string) *gate {
	t.Helper()
	g := &gate{server: server, net: where, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	var listener net.Listener
	err := where.Do(func() (err error) {
		listener, err = net.Listen("tcp4", "10.77.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + listener.Addr().String() + "/"
	var running sync.WaitGroup
	ctx, end := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			// Else the kernel would take in what is held.
			if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
				t.Error(err)
			}
			running.Go(func() { g.pass(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		end()
		g.set(0, true)
		running.Wait()
	})
	return g
}

// pass passes on what both sides of a connection send, until one of them ends it.
func (g *gate) pass(ctx context.Context, client net.Conn) {
	defer client.Close()
	var server net.Conn
	err := g.net.Do(func() (err error) {
		server, err = net.Dial("tcp4", g.server)
		return err
	})
	if err != nil || !g.enter(client, server) {
		return
	}
	defer g.leave(client, server)
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, server) // both end with the connection
		_ = errors.Join(client.Close(), server.Close())
	})
	g.send(ctx, server, client)
	_ = errors.Join(client.Close(), server.Close())
	answers.Wait()
}

func (g *gate) enter(client, server net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.barred {
		_ = server.Close()
		return false
	}
	g.conns[client], g.conns[server] = true, true
	return true
}

func (g *gate) leave(conns ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range conns {
		delete(g.conns, conn)
	}
}

// send copies until the gate is held and enough has been sent, and then waits.
func (g *gate) send(ctx context.Context, to io.Writer, from io.Reader) {
	buf := make([]byte, 16<<10)
	for sent := 0; ; {
		n, err := from.Read(buf)
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			return
		}
		sent += n
		for changed := g.holds(sent); changed != nil; changed = g.holds(sent) {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// holds returns what is closed when it may be otherwise; nil: go on.
func (g *gate) holds(sent int) (changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.barred || g.left == 0 || sent < g.left {
		return nil
	}
	return g.changed
}

// set holds each connection that has sent so many bytes, 0: none; barred ends all of
// them, and refuses others.
func (g *gate) set(left int, barred bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.barred = left, barred
	for conn := range g.conns {
		if barred {
			_ = conn.Close() // its copies end
		}
	}
	close(g.changed)
	g.changed = make(chan struct{})
}
