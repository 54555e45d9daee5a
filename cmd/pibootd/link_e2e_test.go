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

// A link is a way to a server that can be held and cut.
type link struct {
	url    string
	server string
	net    *netlab.Namespace

	mu      sync.Mutex
	conns   map[net.Conn]bool
	left    int           // bytes that a connection may send until it is held; 0: any number
	barred  bool          // connections are refused
	changed chan struct{} // closed and replaced with each change
}

// openLink opens a link to a server. It ends with the test.
func openLink(t *testing.T, where *netlab.Namespace, server string) *link {
	t.Helper()
	l := &link{server: server, net: where, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	var listener net.Listener
	err := where.Do(func() (err error) {
		listener, err = net.Listen("tcp4", "10.77.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	l.url = "http://" + listener.Addr().String() + "/"
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
			running.Go(func() { l.pass(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		end()
		l.set(0, true)
		running.Wait()
	})
	return l
}

// pass passes on what both sides of a connection send, until one of them ends it.
func (l *link) pass(ctx context.Context, client net.Conn) {
	defer client.Close()
	var server net.Conn
	err := l.net.Do(func() (err error) {
		server, err = net.Dial("tcp4", l.server)
		return err
	})
	if err != nil || !l.enter(client, server) {
		return
	}
	defer l.leave(client, server)
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, server) // both end with the connection
		_ = errors.Join(client.Close(), server.Close())
	})
	l.send(ctx, server, client)
	_ = errors.Join(client.Close(), server.Close())
	answers.Wait()
}

func (l *link) enter(client, server net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.barred {
		_ = server.Close()
		return false
	}
	l.conns[client], l.conns[server] = true, true
	return true
}

func (l *link) leave(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		delete(l.conns, conn)
	}
}

// send copies until the link is held and enough has been sent, and then waits.
func (l *link) send(ctx context.Context, to io.Writer, from io.Reader) {
	buf := make([]byte, 16<<10)
	for sent := 0; ; {
		n, err := from.Read(buf)
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			return
		}
		sent += n
		for changed := l.holds(sent); changed != nil; changed = l.holds(sent) {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// holds returns what is closed when it may be otherwise; nil: go on.
func (l *link) holds(sent int) (changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.barred || l.left == 0 || sent < l.left {
		return nil
	}
	return l.changed
}

// set holds each connection that has sent so many bytes, 0: none; barred ends all of
// them, and refuses others.
func (l *link) set(left int, barred bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left, l.barred = left, barred
	for conn := range l.conns {
		if barred {
			_ = conn.Close() // its copies end
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}
