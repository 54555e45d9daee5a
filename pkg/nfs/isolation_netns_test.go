//go:build netns

package nfs

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pibootd/pkg/nfs/rpc"
)

// stranger is an address of this machine that no export names by default.
var stranger = netip.MustParseAddr("127.0.0.2")

func dialFrom(t *testing.T, from netip.Addr, addr string) *rawClient {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawClient{t: t, conn: conn, xid: 5000}
}

// dialLow dials from a privileged port: any that is free.
func dialLow(t *testing.T, addr string) *rawClient {
	t.Helper()
	var err error
	for port := 1023; port > 600; port-- {
		var conn net.Conn
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: loopback.AsSlice(), Port: port}}
		if conn, err = d.Dial("tcp", addr); err == nil {
			t.Cleanup(func() { conn.Close() })
			return &rawClient{t: t, conn: conn, xid: 9000}
		}
	}
	t.Fatal(err)
	return nil
}

func TestHandlesSurviveARestart(t *testing.T) {
	fileSystems(t, func(b *bench) {
		f := b.c.create(b.root, "f", 0o644)
		b.want("WRITE", b.c.write(f, 0, fileSync, []byte("kept")), statusOK)
		b.s.stop()
		s, c, root := serveDir(b.T, b.dir)
		if !bytes.Equal(root, b.root) {
			b.Error("the root has another handle after a restart")
		}
		if st, data, _ := c.read(f, 0, 10); st != statusOK || string(data) != "kept" {
			b.Errorf("READ by the old handle = %v, %q; want OK, kept", st, data)
		}
		s.stop()
		other := serve(b.T, &Server{Key: bytes.Repeat([]byte{8}, keySize)})
		mustExport(b.T, other.Server, Export{ID: 1, Path: "/roots/1", Dir: b.dir, Clients: []netip.Addr{loopback}})
		b.want("GETATTR under another key", b.call(dial(b.T, other.addr), 1, f), statusBadHandle)
	})
}

// TestHandlesSurviveARemount: the kernel then knows nothing any more of the
// file system, as after a reboot.
func TestHandlesSurviveARemount(t *testing.T) {
	for name, image := range map[string]func(*testing.T) string{
		"ext4":  func(t *testing.T) string { return newImage(t, "64M", "mkfs.ext4", "-q", "-F") },
		"xfs":   func(t *testing.T) string { return newImage(t, "320M", "mkfs.xfs", "-q") },
		"btrfs": func(t *testing.T) string { return newImage(t, "160M", "mkfs.btrfs", "-q") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := image(t)
			var root, f, dead []byte
			t.Run("before", func(t *testing.T) {
				b := newBench(t, loopMount(t, image, ""))
				root, f, dead = b.root, b.c.create(b.root, "f", 0o644), b.c.create(b.root, "dead", 0o644)
				b.want("RENAME", b.call(b.c, 14, b.root, "f", b.root, "g"), statusOK)
				b.want("REMOVE", b.call(b.c, 12, b.root, "dead"), statusOK)
			})
			t.Run("after", func(t *testing.T) {
				b := newBench(t, loopMount(t, image, ""))
				if !bytes.Equal(b.root, root) {
					b.Error("the root has another handle")
				}
				b.want("WRITE", b.c.write(f, 0, fileSync, []byte("found")), statusOK)
				if got, err := os.ReadFile(b.path("g")); err != nil || string(got) != "found" {
					b.Errorf("the file holds %q, %v; want what was written by its handle", got, err)
				}
				b.want("GETATTR of what was removed", b.call(b.c, 1, dead), statusStale)
			})
		})
	}
}

func TestForgedHandles(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	for i := range b.root {
		forged := bytes.Clone(b.root)
		forged[i] ^= 1
		b.want(fmt.Sprintf("GETATTR with byte %d changed", i), b.call(b.c, 1, forged), statusBadHandle)
	}
	for _, n := range []int{0, 1, handleMAC, handleMAC + handleFile, len(b.root) - 1} {
		b.want(fmt.Sprintf("GETATTR with %d bytes", n), b.call(b.c, 1, b.root[:n]), statusBadHandle)
	}
	b.want("GETATTR with more bytes", b.call(b.c, 1, append(bytes.Clone(b.root), make([]byte, maxHandle-len(b.root))...)), statusBadHandle)
}

func TestOnlyClientsOfAnExport(t *testing.T) {
	var mu sync.Mutex
	var events []string
	one, two := t.TempDir(), t.TempDir()
	s := serve(t, &Server{Key: testKey(), OnMount: func(e MountEvent) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, fmt.Sprintf("%s %s %s %s", e.Client, e.Op, e.Export, e.Reason))
	}})
	mustExport(t, s.Server, Export{ID: 1, Path: "/roots/1", Dir: one, Clients: []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}})
	mustExport(t, s.Server, Export{ID: 2, Path: "/roots/2", Dir: two, Clients: []netip.Addr{stranger}})
	b := &bench{T: t}
	c1, c2 := dial(t, s.addr), dialFrom(t, stranger, s.addr)
	root1, root2 := bytes.Clone(c1.mustMount("/roots/1")), bytes.Clone(c2.mustMount("/roots/2/"))
	if st, _ := c2.mount("/roots/1"); st != statusAcces {
		t.Errorf("MNT of another's export = %v; want ACCES", st)
	}
	if st, _ := c2.mount("/nothing"); st != statusNoEnt {
		t.Errorf("MNT of no export = %v; want NOENT", st)
	}
	f := c1.create(root1, "f", 0o666)
	b.want("another's handle", b.call(c2, 1, root1), statusAcces)
	b.want("READ by another's handle", b.call(c2, 6, f, uint64(0), 10), statusAcces)
	b.want("RENAME out of another's export", b.call(c2, 14, root1, "f", root2, "f"), statusAcces)
	b.want("own handle", b.call(c2, 1, root2), statusOK)
	_, d := c2.rpc(100005, 3, 5, nil)
	if !d.Bool() || string(d.Opaque(100)) != "/roots/2" || !d.Bool() || string(d.Opaque(100)) != "127.0.0.2" || d.Bool() || d.Bool() {
		t.Error("EXPORT does not list just what the client may mount")
	}
	_, d = c2.rpc(100005, 3, 2, nil)
	if !d.Bool() || string(d.Opaque(100)) != "127.0.0.2" || string(d.Opaque(100)) != "/roots/2" || d.Bool() {
		t.Error("DUMP does not list the client's mount")
	}
	c2.rpc(100005, 3, 3, args("/roots/2"))
	c2.rpc(100005, 3, 3, args("/roots/2")) // no longer mounted: no event
	c1.rpc(100005, 3, 4, nil)
	mu.Lock()
	defer mu.Unlock()
	want := []string{
		"127.0.0.1 mount /roots/1 ", "127.0.0.2 mount /roots/2 ",
		"127.0.0.2 refused /roots/1 the address is not one of the export's clients",
		"127.0.0.2 refused /nothing no such export",
		"127.0.0.2 unmount /roots/2 ", "127.0.0.1 unmount /roots/1 ",
	}
	if strings.Join(events, "\n") != strings.Join(want, "\n") {
		t.Errorf("events are\n%s\nwant\n%s", strings.Join(events, "\n"), strings.Join(want, "\n"))
	}
}

// TestMountOverUDP: an initramfs that mounts over UDP gets the same handle,
// and is as well remembered.
func TestMountOverUDP(t *testing.T) {
	l := allListeners(t)
	s := serveOn(t, &Server{Key: testKey()}, l)
	mustExport(t, s.Server, Export{ID: 1, Path: "/roots/1", Dir: t.TempDir(), Clients: []netip.Addr{loopback}})
	root := dial(t, s.addr).mustMount("/roots/1")
	head := []uint32{9, 1, 0, 0, 0, 0}
	call := func(proc uint32) []byte {
		return append(words(9, 0, 2, 100005, 3, proc, 0, 0, 0, 0), args("/roots/1")...)
	}
	want := append(words(head...), args(0, root, 1, rpc.AuthSys)...)
	if got := datagram(t, l.MountUDP.LocalAddr(), call(1), false); !bytes.Equal(got, want) {
		t.Errorf("MNT = %x; want %x", got, want)
	}
	want = append(words(head...), args(true, "127.0.0.1", "/roots/1", false)...)
	if got := datagram(t, l.MountUDP.LocalAddr(), call(2), false); !bytes.Equal(got, want) {
		t.Errorf("DUMP = %x; want %x", got, want)
	}
	datagram(t, l.MountUDP.LocalAddr(), call(3), false)
	want = append(words(head...), args(false)...)
	if got := datagram(t, l.MountUDP.LocalAddr(), call(2), false); !bytes.Equal(got, want) {
		t.Errorf("DUMP after UMNT = %x; want %x", got, want)
	}
}

func TestExportsChangeLive(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	f := b.c.create(b.root, "f", 0o644)
	e := Export{ID: 2, Path: "/roots/2", Dir: t.TempDir(), Clients: []netip.Addr{loopback}}
	mustExport(t, b.s.Server, e)
	other := bytes.Clone(b.c.mustMount("/roots/2"))
	b.want("RENAME from one export to another", b.call(b.c, 14, b.root, "f", other, "f"), statusXDev)
	b.want("LINK from one export to another", b.call(b.c, 15, f, other, "f"), statusXDev)
	e.ReadOnly = true
	mustExport(t, b.s.Server, e)
	b.want("CREATE after a change to read-only", b.call(b.c, 8, other, "x", guarded, sattr{}), statusROFS)
	e.Clients = nil
	mustExport(t, b.s.Server, e)
	b.want("GETATTR after a change of clients", b.call(b.c, 1, other), statusAcces)
	b.s.Unexport("/roots/2")
	b.s.Unexport("/roots/2")
	b.want("GETATTR after Unexport", b.call(b.c, 1, other), statusStale)
	b.want("GETATTR in the other export", b.call(b.c, 1, f), statusOK)
	if all := b.s.Exports(); len(all) != 1 || all[0].Path != "/roots/1" {
		t.Errorf("Exports = %+v; want /roots/1", all)
	}
	e.ID = 1
	if err := b.s.Export(e); err == nil || !strings.Contains(err.Error(), "want an id of its own") {
		t.Errorf("Export with a taken id = %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	f := b.c.create(b.root, "f", 0o644)
	mustExport(t, b.s.Server, Export{ID: 1, Path: "/roots/1", Dir: b.dir, Clients: []netip.Addr{loopback}, ReadOnly: true})
	for what, got := range map[string]status{
		"SETATTR": b.call(b.c, 2, f, sattr{mode: ptr(uint32(0))}, false),
		"WRITE":   b.call(b.c, 7, f, uint64(0), 1, fileSync, "x"),
		"CREATE":  b.call(b.c, 8, b.root, "x", unchecked, sattr{}),
		"MKDIR":   b.call(b.c, 9, b.root, "x", sattr{}),
		"SYMLINK": b.call(b.c, 10, b.root, "x", sattr{}, "y"),
		"MKNOD":   b.call(b.c, 11, b.root, "x", typeFIFO, sattr{}),
		"REMOVE":  b.call(b.c, 12, b.root, "f"),
		"RMDIR":   b.call(b.c, 13, b.root, "f"),
		"RENAME":  b.call(b.c, 14, b.root, "f", b.root, "g"),
		"LINK":    b.call(b.c, 15, f, b.root, "g"),
	} {
		b.want(what, got, statusROFS)
	}
	b.want("READ", b.call(b.c, 6, f, uint64(0), 1), statusOK)
	b.want("COMMIT", b.call(b.c, 21, f, uint64(0), 0), statusOK)
	_, d := b.c.nfs(4, b.root, 0x3f)
	if d.postAttr(); d.Uint32() != accessRead|accessLookup {
		t.Error("ACCESS grants more than reading")
	}
}

// TestNestedMounts: what is mounted in an export on this machine is not in it.
func TestNestedMounts(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	for _, d := range []string{"before", "after"} {
		if err := os.Mkdir(b.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(b.path(d+"/below"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mountTmpfs(t, b.path("before"))
	b.s, b.c, b.root = serveDir(t, b.dir)
	mountTmpfs(t, b.path("after"))
	for _, d := range []string{"before", "after"} {
		if err := os.WriteFile(b.path(d+"/mounted"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		wire, _ := b.c.lookup(b.root, d)
		wire = bytes.Clone(wire)
		b.want("LOOKUP of what is mounted", b.call(b.c, 3, wire, "mounted"), statusNoEnt)
		b.want("LOOKUP of what is below", b.call(b.c, 3, wire, "below"), statusOK)
	}
}

// TestNothingAboveTheRoot: not even through a directory that was moved away.
func TestNothingAboveTheRoot(t *testing.T) {
	b := &bench{T: t}
	parent := t.TempDir()
	b.dir = filepath.Join(parent, "export")
	if err := os.MkdirAll(b.path("d/e"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.s, b.c, b.root = serveDir(t, b.dir)
	d, _ := b.c.lookup(b.root, "d")
	d = bytes.Clone(d)
	e, _ := b.c.lookup(d, "e")
	e = bytes.Clone(e)
	if up, _ := b.c.lookup(d, ".."); !bytes.Equal(up, b.root) {
		t.Error("LOOKUP .. is not the root")
	}
	if err := os.Rename(b.path("d"), filepath.Join(parent, "d")); err != nil {
		t.Fatal(err)
	}
	b.want("LOOKUP .. of a directory that was moved away", b.call(b.c, 3, d, ".."), statusNoEnt)
	b.want("LOOKUP .. below it", b.call(b.c, 3, e, ".."), statusNoEnt)
}

func TestExportRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	merged := overlay(t, "")
	s := &Server{Key: testKey()}
	for _, tt := range []struct {
		name string
		e    Export
		err  string
	}{
		{"no id", Export{Path: "/x", Dir: dir}, "has no id"},
		{"path", Export{ID: 1, Path: "x/../y", Dir: dir}, "want a clean absolute path"},
		{"squash", Export{ID: 1, Path: "/x", Dir: dir, Squash: 9}, "want NoSquash, RootSquash or AllSquash"},
		{"nothing there", Export{ID: 1, Path: "/x", Dir: filepath.Join(dir, "nothing")}, "no such file"},
		{"a file", Export{ID: 1, Path: "/x", Dir: file}, "want a directory"},
		{"proc", Export{ID: 1, Path: "/x", Dir: "/proc"}, "put the tree on ext4, xfs, btrfs, tmpfs or overlayfs"},
		{"FUSE", Export{ID: 1, Path: "/x", Dir: fuse(t)}, "(type 0x65735546) has no file handles that last"},
		{"overlay", Export{ID: 1, Path: "/x", Dir: merged}, "mount it with index=on,nfs_export=on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.Export(tt.e); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Export = %v; want %q", err, tt.err)
			}
		})
	}
	if err := new(Server).Export(Export{ID: 1, Path: "/x", Dir: dir}); err == nil || !strings.Contains(err.Error(), "want 32") {
		t.Errorf("Export without a key = %v", err)
	}
	if all := s.Exports(); len(all) != 0 {
		t.Errorf("Exports = %v; want none", all)
	}
}

func TestOverlay(t *testing.T) {
	b := &bench{T: t, dir: overlay(t, ",index=on,nfs_export=on")}
	b.s, b.c, b.root = serveDir(t, b.dir)
	f, _ := b.c.lookup(b.root, "f")
	f = bytes.Clone(f)
	b.want("WRITE to a lower file", b.c.write(f, 0, fileSync, []byte("upper")), statusOK)
	if _, data, _ := b.c.read(f, 0, 10); string(data) != "upper" {
		t.Errorf("READ after the copy-up = %q; want upper", data)
	}
	b.want("RENAME", b.call(b.c, 14, b.root, "f", b.root, "g"), statusOK)
	b.want("GETATTR by the handle", b.call(b.c, 1, f), statusOK)
	b.want("REMOVE", b.call(b.c, 12, b.root, "g"), statusOK)
}
