//go:build netns

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/nfs"
	"pibootd/pkg/pi"
)

// A board that fills its root, or its scratch, leaves the database, the other
// board and the media share working.
func TestABoardThatFillsTheDisk(t *testing.T) {
	for _, full := range []string{"/roots/3333347a", "/scratch/3333347a"} {
		t.Run(filepath.Dir(full), func(t *testing.T) {
			f := newFleet(t, mountDisk(t, "ext4"))
			first := add(t, f, request).Pi
			other := request
			other.MAC, other.Serial, other.Name = pi.MAC{0xb8, 0x27, 0xeb, 0, 0, 1}, 0x00000001, "hlspi2"
			second := add(t, f, other).Pi
			server := serveBoards(t, f)

			hostile := server.mount(t, first.IP, full)
			if wrote, err := fill(hostile, "fill"); !nfsError(err, nfsclient.NFS3ErrNoSpc) {
				t.Errorf("after %d MB it gets %v; want that there is no space", wrote>>20, err)
			}
			for _, path := range []string{"/roots/00000001", "/scratch/00000001"} {
				target := server.mount(t, second.IP, path)
				if err := write(target, "log", make([]byte, 1<<20)); err != nil {
					t.Errorf("the other board writes to %s: %v", path, err)
				}
			}
			for i := range 100 {
				more := second
				more.ID, more.Name, more.IP = 0, fmt.Sprint("more", i), netip.AddrFrom4([4]byte{10, 9, 0, byte(10 + i)})
				more.MAC, more.Serial = pi.MAC{0xb8, 0x27, 0xeb, 0, 1, byte(i)}, pi.Serial(0x100+i)
				if _, err := f.Registry.Add(t.Context(), more, "token"); err != nil {
					t.Fatalf("the database: %v", err)
				}
			}
			if err := os.WriteFile(filepath.Join(f.MediaDir, "playlist.m3u8"), make([]byte, 1<<20), 0o644); err != nil {
				t.Errorf("the media share: %v", err)
			}
			if err := hostile.Remove("fill0"); err != nil {
				t.Errorf("the board cannot remove what it wrote: %v", err)
			}
		})
	}
}

func nfsError(err error, want uint32) bool {
	var e *nfsclient.Error
	return errors.As(err, &e) && e.ErrorNum == want
}

// fill writes files until that fails.
func fill(target *nfsclient.Target, name string) (wrote int, err error) {
	data := make([]byte, 4<<20)
	for i := 0; ; i++ {
		if err := write(target, fmt.Sprint(name, i), data); err != nil {
			return wrote, err
		}
		wrote += len(data)
	}
}

func write(target *nfsclient.Target, name string, data []byte) error {
	f, err := target.OpenFile(name, 0o644)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(len(data), 512<<10)
		if _, err := f.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return f.Close()
}

// A boardNet is the boards' network, with the fleet's NFS server on it.
type boardNet struct {
	server *netlab.Namespace
	ports  int
}

func serveBoards(t *testing.T, f *Fleet) *boardNet {
	t.Helper()
	n := &boardNet{server: netlabtest.NewBridge(t, f.Network.String())}
	var l nfs.Listeners
	err := n.server.Do(func() (err error) {
		if l.NFS, err = net.Listen("tcp", f.Network.Addr().String()+":2049"); err != nil {
			return err
		}
		l.Portmap, err = net.Listen("tcp", f.Network.Addr().String()+":111")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f.NFS.(*nfs.Server).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		for _, e := range f.NFS.Exports() { // which keep the disk
			if err := f.NFS.Unexport(e.Path); err != nil {
				t.Error(err)
			}
		}
	})
	return n
}

// mount mounts an export as the board of an address does.
func (n *boardNet) mount(t *testing.T, from netip.Addr, export string) *nfsclient.Target {
	t.Helper()
	n.ports++
	board := netlabtest.Host{Port: fmt.Sprint("port", n.ports), Addr: from.String() + "/24"}.Join(t, n.server)
	var target *nfsclient.Target
	err := board.Do(func() error {
		m, err := nfsclient.DialMount("10.9.0.1")
		if err != nil {
			return err
		}
		defer m.Close()
		target, err = m.Mount(export, rpc.NewAuthUnix("board", 0, 0).Auth())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}
