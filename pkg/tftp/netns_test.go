//go:build netns

package tftp

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
)

// TestBlocksFitThePath reads over Ethernet, whose MTU loopback has not, with a
// client that asks for more, and with busybox's, which knows its own MTU.
func TestBlocksFitThePath(t *testing.T) {
	t.Parallel()
	nas, board := netlabtest.NewPair(t, "10.0.0.1/24", "10.0.0.2/24")
	data := pattern(100_000)
	addr := serveIn(t, nas, &Server{Source: files{"f": data}})

	c := &client{t: t, server: addr}
	ok(t, board.Do(func() (err error) {
		c.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2)})
		return err
	}))
	defer c.conn.Close()
	if got, want := c.requestUntilAnswered("f", "blksize", "65464"), "OACK blksize 1468"; got != want {
		t.Errorf("reply = %q; want %q", got, want)
	}
	c.ack(0)
	if got := len(c.packet()); got != headerLen+1468 {
		t.Errorf("the first block has %d bytes; want %d", got, headerLen+1468)
	}
	c.sendTo([]byte("\x00\x05\x00\x00\x00"), c.peer)

	file := filepath.Join(t.TempDir(), "f")
	ok(t, board.Do(func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return exec.CommandContext(ctx, "busybox", "tftp", "-g", "-b", "1468", "-r", "f", "-l", file, "10.0.0.1").Run()
	}))
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
		t.Errorf("busybox tftp reads %d bytes, %v; want the file", len(got), err)
	}
}

// requestUntilAnswered repeats a request as boot code does: a fresh link loses
// its first packets.
func (c *client) requestUntilAnswered(name string, options ...string) string {
	c.t.Helper()
	for range 20 {
		c.request(name, options...)
		if p, ok := c.packetWithin(time.Second); ok {
			return describe(p)
		}
	}
	c.t.Fatal("no answer to the requests")
	return ""
}

// serveIn runs s on port 69 inside ns until the test ends.
func serveIn(t *testing.T, ns *netlab.Namespace, s *Server) *net.UDPAddr {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addr := &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 69}
	bound, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- ns.Do(func() error {
			conn, err := net.ListenUDP("udp4", addr)
			close(bound)
			if err != nil {
				return err
			}
			defer conn.Close()
			return s.Serve(ctx, conn)
		})
	}()
	<-bound
	t.Cleanup(func() {
		cancel()
		ok(t, <-ended)
	})
	return addr
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
