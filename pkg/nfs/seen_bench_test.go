//go:build bench

package nfs

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// Each client sees a directory of its own: a million files in all.
	seenClients = 200
	seenFiles   = 5000

	// seenLimit is what the server may take for it, in MB.
	seenLimit = 100
)

// seenFrom are the clients' addresses.
func seenFrom() []netip.Addr {
	all := []netip.Addr{netip.MustParseAddr("127.0.1.1")}
	for len(all) < seenClients {
		all = append(all, all[len(all)-1].Next())
	}
	return all
}

// TestMillionFiles prints how much memory the server's process has had once
// two hundred clients, all connected, have listed, looked up and asked for a
// million different files.
func TestMillionFiles(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4g,nr_inodes=2000000"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	for i := range seenClients {
		if err := makeSeen(filepath.Join(dir, numbered(i))); err != nil {
			t.Fatal(err)
		}
	}
	c := startOurs(t, dir)
	start := c.peakMemory()
	var all errgroup.Group
	for i, from := range seenFrom() {
		k := c.callerFrom(from)
		all.Go(func() error { return c.see(k, numbered(i)) })
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	peak := c.peakMemory()
	fmt.Printf("%d files seen by %d clients: %d MB of memory at most, %d before\n", seenClients*seenFiles, seenClients, peak, start)
	if peak > seenLimit {
		t.Errorf("the server took %d MB; want at most %d", peak, seenLimit)
	}
	c.disconnect()
}

func makeSeen(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range seenFiles {
		if err := unix.Mknod(filepath.Join(dir, numbered(i)), unix.S_IFREG|0o644, 0); err != nil {
			return err
		}
	}
	return nil
}

// see lists a directory, looks each of its files up and asks for the
// attributes of each by its handle.
func (c *contender) see(k *caller, name string) error {
	dir, err := c.lookup(k, name)
	if err != nil {
		return err
	}
	if n, err := k.list(dir); err != nil || n != seenFiles+2 {
		return fmt.Errorf("READDIRPLUS lists %d entries; want %d: %w", n, seenFiles+2, err)
	}
	var wires [][]byte
	look := func(i int) error { return k.send(k.request(3, dir, numbered(i))) }
	err = k.many(seenFiles, 16, look, func(d decoder) error {
		wires = append(wires, bytes.Clone(d.handle()))
		return nil
	})
	if err != nil {
		return fmt.Errorf("LOOKUP: %w", err)
	}
	ask := func(i int) error { return k.send(k.request(1, wires[i])) }
	if err := k.many(seenFiles, 16, ask, func(decoder) error { return nil }); err != nil {
		return fmt.Errorf("GETATTR: %w", err)
	}
	return nil
}

// callerFrom is caller for a client with that address.
func (c *contender) callerFrom(from netip.Addr) *caller {
	c.t.Helper()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	var nc net.Conn
	err := c.ns.Do(func() (err error) { nc, err = dialer.Dial("tcp", speedAddr); return err })
	if err != nil {
		c.t.Fatal(err)
	}
	c.open = append(c.open, nc)
	return newCaller(c.t, nc)
}
