//go:build netns

package nfs

import (
	"bytes"
	"errors"
	"fmt"
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

// TestOwnership: what a user may do is what the kernel would let it do.
func TestOwnership(t *testing.T) {
	fileSystems(t, func(b *bench) {
		if err := os.Chmod(b.dir, 0o777|os.ModeSticky); err != nil {
			b.Fatal(err)
		}
		u, v := b.c.user(1000, 1000, 50), b.c.user(1001, 1001)
		rootsFile(b, u)
		ownFile(b, u, v)
		readOnlyFiles(b, u, v)
		closedDirectory(b, u)
		accessOfModes(b, u)
	})
}

// rootsFile: a user may do nothing to a secret file of root.
func rootsFile(b *bench, u *rawClient) {
	secret := b.c.create(b.root, "secret", 0o600)
	b.want("WRITE by root", b.c.write(secret, 0, fileSync, []byte("x")), statusOK)
	b.want("READ of root's file", b.call(u, 6, secret, uint64(0), 10), statusAcces)
	b.want("WRITE of root's file", b.call(u, 7, secret, uint64(0), 1, fileSync, "y"), statusAcces)
	b.want("truncating root's file", b.call(u, 2, secret, sattr{size: ptr(uint64(0))}, false), statusAcces)
	b.want("chmod of root's file", b.call(u, 2, secret, sattr{mode: ptr(uint32(0o666))}, false), statusPerm)
	b.want("LINK of a secret file", b.call(u, 15, secret, b.root, "link"), statusPerm)
}

// ownFile: u may change the group of its file to one of its own, whose members may then read it.
func ownFile(b *bench, u, v *rawClient) {
	mine := u.create(b.root, "mine", 0o640)
	if a := u.getattr(mine); a.uid != 1000 || a.gid != 1000 {
		b.Errorf("a user's file belongs to %d:%d; want 1000:1000", a.uid, a.gid)
	}
	b.want("chown of own file", b.call(u, 2, mine, sattr{uid: ptr(uint32(0))}, false), statusPerm)
	b.want("chgrp to own group", b.call(u, 2, mine, sattr{gid: ptr(uint32(50))}, false), statusOK)
	b.want("chgrp to a foreign group", b.call(u, 2, mine, sattr{gid: ptr(uint32(51))}, false), statusPerm)
	b.want("READ by the group", b.call(b.c.user(1002, 1002, 1, 2, 50), 6, mine, uint64(0), 10), statusOK)
	b.want("READ by others", b.call(v, 6, mine, uint64(0), 10), statusAcces)
	b.want("READ without credentials", b.call(&rawClient{t: b.T, conn: b.c.conn, xid: 77, none: true}, 6, mine, uint64(0), 10), statusAcces)
	b.want("REMOVE of another's file in a sticky directory", b.call(v, 12, b.root, "mine"), statusPerm)
}

// readOnlyFiles: who has a file open goes on when its mode changes, and the server knows no open
// files. So the owner may always write.
func readOnlyFiles(b *bench, u, v *rawClient) {
	mine, _ := u.lookup(b.root, "mine")
	mine = bytes.Clone(mine)
	b.want("chmod 0444", b.call(u, 2, mine, sattr{mode: ptr(uint32(0o444))}, false), statusOK)
	b.want("WRITE to an open file that is 0444 now", b.call(u, 7, mine, uint64(0), 1, fileSync, "y"), statusOK)
	b.want("truncating it", b.call(u, 2, mine, sattr{size: ptr(uint64(0))}, false), statusOK)
	frozen := u.create(b.root, "frozen", 0o444)
	b.want("WRITE to an own new file of mode 0444", b.call(u, 7, frozen, uint64(0), 1, fileSync, "y"), statusOK)
	b.want("WRITE to another's file of mode 0444", b.call(v, 7, frozen, uint64(0), 1, fileSync, "y"), statusAcces)
	b.want("RENAME of another's file in a sticky directory", b.call(v, 14, b.root, "frozen", b.root, "taken"), statusPerm)
}

func closedDirectory(b *bench, u *rawClient) {
	b.want("MKDIR", b.call(b.c, 9, b.root, "closed", sattr{mode: ptr(uint32(0o700))}), statusOK)
	closed, _ := b.c.lookup(b.root, "closed")
	closed = bytes.Clone(closed)
	b.c.create(closed, "f", 0o666)
	b.want("LOOKUP in a closed directory", b.call(u, 3, closed, "f"), statusAcces)
	b.want("READDIR of a closed directory", b.call(u, 16, closed, uint64(0), uint64(0), 1000), statusAcces)
	b.want("CREATE in a closed directory", b.call(u, 8, closed, "g", guarded, sattr{}), statusAcces)
	b.want("RENAME out of a closed directory", b.call(u, 14, closed, "f", b.root, "f"), statusAcces)
}

// accessOfModes: what ACCESS grants to others, by a file's mode.
func accessOfModes(b *bench, u *rawClient) {
	for mode, want := range map[uint32]uint32{
		0o777: 0x2d, 0o700: 0, 0o705: accessRead | accessExecute, 0o771: accessExecute, 0o702: accessModify | accessExtend,
	} {
		f := b.c.create(b.root, fmt.Sprintf("%o", mode), mode)
		_, d := u.nfs(4, f, 0x3f)
		if d.postAttr(); d.Uint32() != want {
			b.Errorf("ACCESS of mode %o is not %#x", mode, want)
		}
	}
	run := b.c.create(b.root, "run", 0o711)
	b.want("READ of what a user may only execute", b.call(u, 6, run, uint64(0), 10), statusOK)
}

// TestSetIDs: setuid and setgid go where they must.
func TestSetIDs(t *testing.T) {
	fileSystems(t, func(b *bench) {
		if err := os.Chmod(b.dir, 0o777); err != nil {
			b.Fatal(err)
		}
		setIDsCleared(b, b.c.user(1000, 1000))
		setGIDInherited(b, b.c.user(1000, 1000))
	})
}

func (b *bench) mode(name string) uint32 {
	b.Helper()
	return onDisk(b.T, b.path(name)).Mode & 0o7777
}

func setIDsCleared(b *bench, u *rawClient) {
	all := b.c.create(b.root, "all", 0o6777)
	b.want("WRITE by root", b.c.write(all, 0, fileSync, []byte("x")), statusOK)
	if m := b.mode("all"); m != 0o6777 {
		b.Errorf("after a write by root the mode is %o; want 6777", m)
	}
	b.want("WRITE by a user", b.call(u, 7, all, uint64(0), 1, fileSync, "y"), statusOK)
	if m := b.mode("all"); m != 0o777 {
		b.Errorf("after a write by a user the mode is %o; want 777", m)
	}
	own := u.create(b.root, "own", 0o755)
	b.want("chgrp by root", b.call(b.c, 2, own, sattr{gid: ptr(uint32(9))}, false), statusOK)
	b.want("setgid of a group that is not ours", b.call(u, 2, own, sattr{mode: ptr(uint32(0o2755))}, false), statusOK)
	if m := b.mode("own"); m != 0o755 {
		b.Errorf("a user has made the mode %o; want 755", m)
	}
	chowned := b.c.create(b.root, "chowned", 0o6755)
	b.want("chown", b.call(b.c, 2, chowned, sattr{uid: ptr(uint32(1))}, false), statusOK)
	if m := b.mode("chowned"); m != 0o755 {
		b.Errorf("after chown the mode is %o; want 755", m)
	}
	cut := b.c.create(b.root, "cut", 0o6777)
	b.want("truncating by a user", b.call(u, 2, cut, sattr{size: ptr(uint64(0))}, false), statusOK)
	if m := b.mode("cut"); m != 0o777 {
		b.Errorf("after truncating by a user the mode is %o; want 777", m)
	}
}

// setGIDInherited: what is made in a setgid directory has its group.
func setGIDInherited(b *bench, u *rawClient) {
	b.want("MKDIR", b.call(b.c, 9, b.root, "shared", sattr{mode: ptr(uint32(0o777))}), statusOK)
	shared, _ := b.c.lookup(b.root, "shared")
	shared = bytes.Clone(shared)
	b.want("setgid directory", b.call(b.c, 2, shared, sattr{mode: ptr(uint32(0o2777)), gid: ptr(uint32(9))}, false), statusOK)
	b.want("MKDIR in it", b.call(u, 9, shared, "sub", sattr{mode: ptr(uint32(0o755))}), statusOK)
	if st := onDisk(b.T, b.path("shared/sub")); st.Mode&0o7777 != 0o2755 || st.Gid != 9 {
		b.Errorf("a directory in a setgid directory has mode %o, group %d; want 2755, 9", st.Mode&0o7777, st.Gid)
	}
	u.create(shared, "foreign", 0o2755)
	if m := b.mode("shared/foreign"); m != 0o755 {
		b.Errorf("a user has made a file of a foreign group with mode %o; want 755", m)
	}
	in := u.create(shared, "in", 0o644)
	if a := u.getattr(in); a.uid != 1000 || a.gid != 9 {
		b.Errorf("a file in a setgid directory belongs to %d:%d; want 1000:9", a.uid, a.gid)
	}
}

// TestTouchByWriters: who may write to a file may truncate it with O_TRUNC. Linux sends the time
// of modification with that, and nothing else for an empty file.
func TestTouchByWriters(t *testing.T) {
	fileSystems(t, func(b *bench) {
		now := &unix.Timespec{Nsec: unix.UTIME_NOW}
		f := b.c.create(b.root, "f", 0o664)
		b.want("giving the file away", b.call(b.c, 2, f, sattr{uid: ptr(uint32(1)), gid: ptr(uint32(9))}, false), statusOK)
		old := sattr{atime: &unix.Timespec{Sec: 5}, mtime: &unix.Timespec{Sec: 6}}
		for who, want := range map[*rawClient]status{b.c.user(1000, 9): statusOK, b.c.user(1001, 1001, 9): statusOK, b.c.user(1002, 1002): statusPerm} {
			b.want("old times", b.call(b.c, 2, f, old, false), statusOK)
			b.want("mtime", b.call(who, 2, f, sattr{mtime: now}, false), want)
			if a := b.c.getattr(f); a.atime[0] != 5 || (a.mtime[0] != 6) != (want == statusOK) {
				b.Errorf("user %d, group %d: times %v, %v; want %v", who.cred.uid, who.cred.gid, a.atime, a.mtime, want)
			}
			if want != statusOK {
				want = statusAcces // the size comes first
			}
			b.want("size and mtime", b.call(who, 2, f, sattr{size: ptr(uint64(0)), mtime: now}, false), want)
		}
		u := b.c.user(1000, 9)
		for what, s := range map[string]sattr{
			"atime": {atime: now}, "mtime of the client's": {mtime: &unix.Timespec{Sec: 7}}, "mode too": {mode: ptr(uint32(0o666)), mtime: now},
		} {
			b.want(what, b.call(u, 2, f, s, false), statusPerm)
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
				if s != statusOK || !d.Bool() {
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
