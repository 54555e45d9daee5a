//go:build netns

package nfs

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	if !d.bool() || string(d.opaque(100)) != "/roots/2" || !d.bool() || string(d.opaque(100)) != "127.0.0.2" || d.bool() || d.bool() {
		t.Error("EXPORT does not list just what the client may mount")
	}
	_, d = c2.rpc(100005, 3, 2, nil)
	if !d.bool() || string(d.opaque(100)) != "127.0.0.2" || string(d.opaque(100)) != "/roots/2" || d.bool() {
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
	if d.postAttr(); d.uint32() != accessRead|accessLookup {
		t.Error("ACCESS grants more than reading")
	}
}

// TestOwnership: what a user may do is what the kernel would let it do.
func TestOwnership(t *testing.T) {
	fileSystems(t, func(b *bench) {
		if err := os.Chmod(b.dir, 0o777|os.ModeSticky); err != nil {
			b.Fatal(err)
		}
		u, v := b.c.user(1000, 1000, 50), b.c.user(1001, 1001)
		mine := u.create(b.root, "mine", 0o640)
		if a := u.getattr(mine); a.uid != 1000 || a.gid != 1000 {
			b.Errorf("a user's file belongs to %d:%d; want 1000:1000", a.uid, a.gid)
		}
		secret := b.c.create(b.root, "secret", 0o600)
		b.want("WRITE by root", b.c.write(secret, 0, fileSync, []byte("x")), statusOK)
		b.want("READ of root's file", b.call(u, 6, secret, uint64(0), 10), statusAcces)
		b.want("WRITE of root's file", b.call(u, 7, secret, uint64(0), 1, fileSync, "y"), statusAcces)
		b.want("truncating root's file", b.call(u, 2, secret, sattr{size: ptr(uint64(0))}, false), statusAcces)
		b.want("chmod of root's file", b.call(u, 2, secret, sattr{mode: ptr(uint32(0o666))}, false), statusPerm)
		b.want("chown of own file", b.call(u, 2, mine, sattr{uid: ptr(uint32(0))}, false), statusPerm)
		b.want("chgrp to own group", b.call(u, 2, mine, sattr{gid: ptr(uint32(50))}, false), statusOK)
		b.want("chgrp to a foreign group", b.call(u, 2, mine, sattr{gid: ptr(uint32(51))}, false), statusPerm)
		b.want("READ by the group", b.call(b.c.user(1002, 1002, 1, 2, 50), 6, mine, uint64(0), 10), statusOK)
		b.want("READ by others", b.call(v, 6, mine, uint64(0), 10), statusAcces)
		b.want("READ without credentials", b.call(&rawClient{t: b.T, conn: b.c.conn, xid: 77, none: true}, 6, mine, uint64(0), 10), statusAcces)
		b.want("REMOVE of another's file in a sticky directory", b.call(v, 12, b.root, "mine"), statusPerm)
		b.want("LINK of a secret file", b.call(u, 15, secret, b.root, "link"), statusPerm)
		b.want("chmod 0444", b.call(u, 2, mine, sattr{mode: ptr(uint32(0o444))}, false), statusOK)
		b.want("WRITE to an open file that is 0444 now", b.call(u, 7, mine, uint64(0), 1, fileSync, "y"), statusOK)

		b.want("MKDIR", b.call(b.c, 9, b.root, "closed", sattr{mode: ptr(uint32(0o700))}), statusOK)
		closed, _ := b.c.lookup(b.root, "closed")
		closed = bytes.Clone(closed)
		b.c.create(closed, "f", 0o666)
		b.want("LOOKUP in a closed directory", b.call(u, 3, closed, "f"), statusAcces)
		b.want("READDIR of a closed directory", b.call(u, 16, closed, uint64(0), uint64(0), 1000), statusAcces)
		b.want("CREATE in a closed directory", b.call(u, 8, closed, "g", guarded, sattr{}), statusAcces)
		b.want("RENAME out of a closed directory", b.call(u, 14, closed, "f", b.root, "f"), statusAcces)

		for mode, want := range map[uint32]uint32{
			0o777: 0x2d, 0o700: 0, 0o705: accessRead | accessExecute, 0o771: accessExecute, 0o702: accessModify | accessExtend,
		} {
			f := b.c.create(b.root, fmt.Sprintf("%o", mode), mode)
			_, d := u.nfs(4, f, 0x3f)
			if d.postAttr(); d.uint32() != want {
				b.Errorf("ACCESS of mode %o is not %#x", mode, want)
			}
		}
		run := b.c.create(b.root, "run", 0o711)
		b.want("READ of what a user may only execute", b.call(u, 6, run, uint64(0), 10), statusOK)
	})
}

// TestSetIDs: setuid and setgid go where they must.
func TestSetIDs(t *testing.T) {
	fileSystems(t, func(b *bench) {
		if err := os.Chmod(b.dir, 0o777); err != nil {
			b.Fatal(err)
		}
		u := b.c.user(1000, 1000)
		mode := func(name string) uint32 { return onDisk(b.T, b.path(name)).Mode & 0o7777 }
		all := b.c.create(b.root, "all", 0o6777)
		b.want("WRITE by root", b.c.write(all, 0, fileSync, []byte("x")), statusOK)
		if m := mode("all"); m != 0o6777 {
			b.Errorf("after a write by root the mode is %o; want 6777", m)
		}
		b.want("WRITE by a user", b.call(u, 7, all, uint64(0), 1, fileSync, "y"), statusOK)
		if m := mode("all"); m != 0o777 {
			b.Errorf("after a write by a user the mode is %o; want 777", m)
		}
		own := u.create(b.root, "own", 0o755)
		b.want("chgrp by root", b.call(b.c, 2, own, sattr{gid: ptr(uint32(9))}, false), statusOK)
		b.want("setgid of a group that is not ours", b.call(u, 2, own, sattr{mode: ptr(uint32(0o2755))}, false), statusOK)
		if m := mode("own"); m != 0o755 {
			b.Errorf("a user has made the mode %o; want 755", m)
		}
		b.want("MKDIR", b.call(b.c, 9, b.root, "shared", sattr{mode: ptr(uint32(0o777))}), statusOK)
		shared, _ := b.c.lookup(b.root, "shared")
		shared = bytes.Clone(shared)
		b.want("setgid directory", b.call(b.c, 2, shared, sattr{mode: ptr(uint32(0o2777)), gid: ptr(uint32(9))}, false), statusOK)
		in := u.create(shared, "in", 0o644)
		if a := u.getattr(in); a.uid != 1000 || a.gid != 9 {
			b.Errorf("a file in a setgid directory belongs to %d:%d; want 1000:9", a.uid, a.gid)
		}
	})
}

// TestIdentityStaysWithItsCall: while users work side by side, each file
// belongs to who made it, and no thread keeps an identity.
func TestIdentityStaysWithItsCall(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	if err := os.Chmod(b.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	var users sync.WaitGroup
	for i := range uint32(8) {
		c := dial(t, b.s.addr).user(2000+i, 3000+i, 4000+i)
		users.Go(func() {
			for n := range 20 {
				s, d := c.nfs(8, b.root, fmt.Sprintf("%d-%d", i, n), guarded, sattr{mode: ptr(uint32(0o600))})
				if s != statusOK || !d.bool() {
					t.Errorf("CREATE = %v; want OK", s)
					return
				}
				f := bytes.Clone(d.handle())
				c.write(f, 0, unstable, []byte("x"))
				if a := c.getattr(f); a.uid != 2000+i || a.gid != 3000+i {
					t.Errorf("file of user %d belongs to %d:%d", 2000+i, a.uid, a.gid)
				}
			}
		})
	}
	users.Wait()
	// A thread that has served its call may take a moment to end.
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) && len(oddThreads(t)) > 0 {
		runtime.Gosched()
	}
	for _, odd := range oddThreads(t) {
		t.Error(odd)
	}
}

// oddThreads returns what is different about threads of this process from its
// main one.
func oddThreads(t *testing.T) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(tasks) == 0 {
		t.Fatal(tasks, err)
	}
	self, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var odd []string
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
			continue // it has just ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"Uid:", "Gid:", "Groups:", "Umask:", "CapEff:"} {
			if got, want := line(status, key), line(self, key); got != want {
				odd = append(odd, fmt.Sprintf("%s has %s %q; want %q", task, key, got, want))
			}
		}
	}
	return odd
}

func line(status []byte, key string) string {
	_, after, _ := bytes.Cut(status, []byte("\n"+key))
	l, _, _ := bytes.Cut(after, []byte("\n"))
	return strings.TrimSpace(string(l))
}

func TestSquash(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	s := serve(t, &Server{Key: testKey()})
	mustExport(t, s.Server, Export{ID: 1, Path: "/root", Dir: dir, Clients: []netip.Addr{loopback}, Squash: RootSquash})
	mustExport(t, s.Server, Export{ID: 2, Path: "/all", Dir: dir, Clients: []netip.Addr{loopback}, Squash: AllSquash, AnonUID: 10, AnonGID: 20})
	c := dial(t, s.addr)
	for i, tt := range []struct {
		path     string
		caller   *rawClient
		uid, gid uint32
	}{
		{"/root", c, nobody, nobody},
		{"/root", c.user(1000, 0), 1000, nobody},
		{"/root", c.user(1000, 1000, 0), 1000, 1000},
		{"/all", c, 10, 20},
		{"/all", c.user(1000, 1000), 10, 20},
		{"/root", c.user(invalidID, invalidID, invalidID), nobody, nobody},
	} {
		root := bytes.Clone(tt.caller.mustMount(tt.path))
		f := tt.caller.create(root, fmt.Sprint(i), 0o644)
		if a := tt.caller.getattr(f); a.uid != tt.uid || a.gid != tt.gid {
			t.Errorf("%s: file of %+v belongs to %d:%d; want %d:%d", tt.path, tt.caller.cred, a.uid, a.gid, tt.uid, tt.gid)
		}
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

// overlay mounts an overlay, on a tmpfs of its own, and returns where.
func overlay(t *testing.T, options string) string {
	t.Helper()
	base := tmpfs(t)
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "lower/f"), []byte("lower"), 0o644); err != nil {
		t.Fatal(err)
	}
	merged := filepath.Join(base, "merged")
	data := fmt.Sprintf("lowerdir=%s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work%s", base, options)
	if err := unix.Mount("overlay", merged, "overlay", 0, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return merged
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
