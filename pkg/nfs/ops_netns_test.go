//go:build netns

package nfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A bench is one export and a root client of it.
type bench struct {
	*testing.T
	dir  string
	s    *testServer
	c    *rawClient
	root []byte
}

// newBench exports dir.
func newBench(t *testing.T, dir string) *bench {
	t.Helper()
	b := &bench{T: t, dir: dir}
	b.s, b.c, b.root = serveDir(t, dir)
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// want reports a status other than the wanted one.
func (b *bench) want(what string, got, want status) {
	b.Helper()
	if got != want {
		b.Errorf("%s = %v; want %v", what, got, want)
	}
}

// call is nfs for those who want the status only.
func (b *bench) call(c *rawClient, proc uint32, all ...any) status {
	b.Helper()
	s, _ := c.nfs(proc, all...)
	return s
}

func TestOperations(t *testing.T) {
	operations := map[string]func(*bench){
		"create modes":        createModes,
		"create existing":     createExisting,
		"create exclusive":    createExclusive,
		"directories":         directories,
		"symbolic links":      symbolicLinks,
		"special files":       specialFiles,
		"attributes":          attributes,
		"times":               times,
		"guard":               guard,
		"rename":              renames,
		"hard links":          hardLinks,
		"unlink open":         unlinkOpen,
		"silly rename":        sillyRename,
		"largest file":        largestFile,
		"names":               names,
		"large offsets":       largeOffsets,
		"file system":         aboutFileSystem,
		"commit":              commits,
		"weak cache":          weakCache,
		"read across the end": readAcrossTheEnd,
	}
	for _, fs := range allFileSystems() {
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			mnt := fs.mount(t)
			for name, f := range operations {
				t.Run(name, func(t *testing.T) { f(newBench(t, emptyDir(t, mnt))) })
			}
		})
	}
}

// createModes: the umask of this process is not the client's.
func createModes(b *bench) {
	for name, mode := range map[string]uint32{"plain": 0o666, "setuid": 0o4755, "setgid": 0o2711, "none": 0} {
		f := b.c.create(b.root, name, mode)
		if a := b.c.getattr(f); a.typ != typeReg || a.mode != mode || a.nlink != 1 || a.fsid != 1 {
			b.Errorf("%s: attributes %+v; want mode %o", name, a, mode)
		}
		if st := onDisk(b.T, b.path(name)); st.Mode != unix.S_IFREG|mode || st.Uid != 0 {
			b.Errorf("%s: mode on disk %o; want %o", name, st.Mode, mode)
		}
	}
	b.want("MKDIR", b.call(b.c, 9, b.root, "sticky", sattr{mode: ptr(uint32(0o1777))}), statusOK)
	if st := onDisk(b.T, b.path("sticky")); st.Mode != unix.S_IFDIR|0o1777 {
		b.Errorf("mode of the directory is %o; want 1777", st.Mode)
	}
	s, d := b.c.nfs(8, b.root, "sized", unchecked, sattr{size: ptr(uint64(5000)), uid: ptr(uint32(7)), gid: ptr(uint32(8))})
	b.want("CREATE with size and owner", s, statusOK)
	d.Bool()
	if a := b.c.getattr(d.handle()); a.size != 5000 || a.uid != 7 || a.gid != 8 || a.mode != 0o600 {
		b.Errorf("attributes %+v; want size 5000, owner 7:8, mode 600", a)
	}
}

func createExisting(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	b.want("WRITE", b.c.write(f, 0, fileSync, []byte("content")), statusOK)
	b.want("GUARDED", b.call(b.c, 8, b.root, "f", guarded, sattr{}), statusExist)
	s, d := b.c.nfs(8, b.root, "f", unchecked, sattr{mode: ptr(uint32(0o777))})
	if b.want("UNCHECKED", s, statusOK); !d.Bool() || !bytes.Equal(d.handle(), f) {
		b.Error("UNCHECKED gave another handle")
	}
	if a := b.c.getattr(f); a.size != 7 || a.mode != 0o644 {
		b.Errorf("UNCHECKED made it %+v; want size 7, mode 644 as before", a)
	}
	b.want("UNCHECKED, size 0", b.call(b.c, 8, b.root, "f", unchecked, sattr{size: ptr(uint64(0))}), statusOK)
	if st := onDisk(b.T, b.path("f")); st.Size != 0 {
		b.Errorf("size on disk is %d; want 0", st.Size)
	}
	b.call(b.c, 9, b.root, "d", sattr{})
	b.want("UNCHECKED on a directory", b.call(b.c, 8, b.root, "d", unchecked, sattr{}), statusIsDir)
	if err := os.Symlink("/etc/passwd", b.path("l")); err != nil {
		b.Fatal(err)
	}
	b.want("UNCHECKED on a link", b.call(b.c, 8, b.root, "l", unchecked, sattr{size: ptr(uint64(0))}), statusExist)
	u := b.c.user(1000, 1000)
	b.want("truncating another's file by CREATE", b.call(u, 8, b.root, "f", unchecked, sattr{size: ptr(uint64(9))}), statusAcces)
}

func createExclusive(b *bench) {
	const first, second = uint64(0xfedcba9876543210), uint64(1)
	s, d := b.c.nfs(8, b.root, "x", exclusive, first)
	b.want("first", s, statusOK)
	d.Bool()
	wire := bytes.Clone(d.handle())
	b.c.xid += 50 // not a repetition that the server remembers
	s, d = b.c.nfs(8, b.root, "x", exclusive, first)
	if b.want("again", s, statusOK); !d.Bool() || !bytes.Equal(d.handle(), wire) {
		b.Error("again: another handle")
	}
	b.want("other verifier", b.call(b.c, 8, b.root, "x", exclusive, second), statusExist)
	b.s.stop()
	s2, c2, root2 := serveDir(b.T, b.dir)
	defer s2.stop()
	b.want("after a restart", b.call(c2, 8, root2, "x", exclusive, first), statusOK)
	b.want("other, after a restart", b.call(c2, 8, root2, "x", exclusive, second), statusExist)
}

func directories(b *bench) {
	b.want("MKDIR", b.call(b.c, 9, b.root, "d", sattr{mode: ptr(uint32(0o755))}), statusOK)
	b.want("MKDIR again", b.call(b.c, 9, b.root, "d", sattr{}), statusExist)
	d, a := b.c.lookup(b.root, "d")
	if links := onDisk(b.T, b.path("d")).Nlink; a.typ != typeDir || uint64(a.nlink) != uint64(links) {
		b.Errorf("attributes %+v; want a directory with %d links", a, links)
	}
	f := b.c.create(d, "f", 0o644)
	b.want("RMDIR not empty", b.call(b.c, 13, b.root, "d"), statusNotEmpty)
	b.want("REMOVE a directory", b.call(b.c, 12, b.root, "d"), statusIsDir)
	b.want("RMDIR a file", b.call(b.c, 13, d, "f"), statusNotDir)
	b.want("LOOKUP in a file", b.call(b.c, 3, f, "x"), statusNotDir)
	b.want("CREATE in a file", b.call(b.c, 8, f, "x", guarded, sattr{}), statusNotDir)
	b.want("READ a directory", b.call(b.c, 6, d, uint64(0), 10), statusIsDir)
	b.want("WRITE a directory", b.call(b.c, 7, d, uint64(0), 1, fileSync, "x"), statusIsDir)
	b.want("READDIR a file", b.call(b.c, 16, f, uint64(0), uint64(0), 1000), statusNotDir)
	b.want("READLINK a file", b.call(b.c, 5, f), statusInval)
	b.want("REMOVE", b.call(b.c, 12, d, "f"), statusOK)
	b.want("REMOVE again", b.call(b.c, 12, d, "f"), statusNoEnt)
	b.want("RMDIR", b.call(b.c, 13, b.root, "d"), statusOK)
	gone(b.T, b.path("d"))
	b.want("LOOKUP in what is gone", b.call(b.c, 3, d, "x"), statusStale)
}

// symbolicLinks are the client's to follow.
func symbolicLinks(b *bench) {
	for name, target := range map[string]string{"abs": "/etc", "rel": "../../../../../etc/passwd", "dangling": "nowhere"} {
		b.want("SYMLINK", b.call(b.c, 10, b.root, name, sattr{}, target), statusOK)
		if got, err := os.Readlink(b.path(name)); err != nil || got != target {
			b.Errorf("link on disk is %q, %v; want %q", got, err, target)
		}
		l, a := b.c.lookup(b.root, name)
		if a.typ != typeLnk || a.size != uint64(len(target)) {
			b.Errorf("attributes %+v; want a link of %d bytes", a, len(target))
		}
		s, d := b.c.nfs(5, l)
		if b.want("READLINK", s, statusOK); d.postAttr() == nil || string(d.Opaque(maxString)) != target {
			b.Errorf("READLINK result is wrong; want %q", target)
		}
		b.want("READ a link", b.call(b.c, 6, l, uint64(0), 100), statusInval)
		b.want("WRITE a link", b.call(b.c, 7, l, uint64(0), 1, fileSync, "x"), statusInval)
		b.want("truncate a link", b.call(b.c, 2, l, sattr{size: ptr(uint64(0))}, false), statusInval)
		b.want("LOOKUP in a link", b.call(b.c, 3, l, "hostname"), statusNotDir)
		b.want("CREATE in a link", b.call(b.c, 8, l, "pwned", guarded, sattr{}), statusNotDir)
		b.want("READDIR of a link", b.call(b.c, 16, l, uint64(0), uint64(0), 1000), statusNotDir)
		b.want("chown of a link", b.call(b.c, 2, l, sattr{uid: ptr(uint32(5)), mtime: &unix.Timespec{Sec: 9}}, false), statusOK)
		if st := onDisk(b.T, b.path(name)); st.Uid != 5 || st.Mtim.Sec != 9 {
			b.Errorf("link belongs to %d, mtime %d; want 5, 9", st.Uid, st.Mtim.Sec)
		}
	}
	b.want("SYMLINK exists", b.call(b.c, 10, b.root, "abs", sattr{}, "x"), statusExist)
	b.want("SYMLINK to nothing", b.call(b.c, 10, b.root, "empty", sattr{}, ""), statusInval)
}

func specialFiles(b *bench) {
	mode := sattr{mode: ptr(uint32(0o620))}
	for _, tt := range []struct {
		name string
		args []any
		mode uint32
		rdev uint64
	}{
		{"chr", []any{typeChr, mode, 4, 64}, unix.S_IFCHR | 0o620, unix.Mkdev(4, 64)},
		{"blk", []any{typeBlk, mode, 259, 70000}, unix.S_IFBLK | 0o620, unix.Mkdev(259, 70000)},
		{"fifo", []any{typeFIFO, mode}, unix.S_IFIFO | 0o620, 0},
		{"sock", []any{typeSock, mode}, unix.S_IFSOCK | 0o620, 0},
	} {
		b.want("MKNOD "+tt.name, b.call(b.c, 11, append([]any{b.root, tt.name}, tt.args...)...), statusOK)
		if st := onDisk(b.T, b.path(tt.name)); st.Mode != tt.mode || st.Rdev != tt.rdev {
			b.Errorf("%s: mode %o, device %#x; want %o, %#x", tt.name, st.Mode, st.Rdev, tt.mode, tt.rdev)
		}
		n, a := b.c.lookup(b.root, tt.name)
		if unix.Mkdev(a.major, a.minor) != tt.rdev {
			b.Errorf("%s: device is %d:%d", tt.name, a.major, a.minor)
		}
		b.want("READ "+tt.name, b.call(b.c, 6, n, uint64(0), 10), statusInval)
		b.want("WRITE "+tt.name, b.call(b.c, 7, n, uint64(0), 1, fileSync, "x"), statusInval)
		b.want("COMMIT "+tt.name, b.call(b.c, 21, n, uint64(0), 0), statusInval)
		b.want("chmod "+tt.name, b.call(b.c, 2, n, sattr{mode: ptr(uint32(0o600))}, false), statusOK)
		if st := onDisk(b.T, b.path(tt.name)); st.Mode&0o777 != 0o600 {
			b.Errorf("%s: mode %o; want 600", tt.name, st.Mode)
		}
	}
	b.want("MKNOD of a file", b.call(b.c, 11, b.root, "reg", typeReg), statusBadType)
	gone(b.T, b.path("reg"))
	if err := os.Chmod(b.dir, 0o777); err != nil {
		b.Fatal(err)
	}
	u := b.c.user(1000, 1000)
	b.want("MKNOD of a device by a user", b.call(u, 11, b.root, "mine", typeChr, mode, 1, 3), statusPerm)
	b.want("MKNOD of a FIFO by a user", b.call(u, 11, b.root, "pipe", typeFIFO, mode), statusOK)
}

func renames(b *bench) {
	b.call(b.c, 9, b.root, "d", sattr{mode: ptr(uint32(0o755))})
	d, _ := b.c.lookup(b.root, "d")
	d = bytes.Clone(d)
	f, old := b.c.create(b.root, "f", 0o644), b.c.create(d, "g", 0o644)
	b.want("WRITE", b.c.write(f, 0, fileSync, []byte("new")), statusOK)
	s, res := b.c.nfs(14, b.root, "f", d, "g")
	b.want("RENAME over a file", s, statusOK)
	for range 2 {
		if before, after := res.wcc(); !before || after == nil {
			b.Error("RENAME says nothing of a directory before and after")
		}
	}
	if got, err := os.ReadFile(b.path("d/g")); err != nil || string(got) != "new" {
		b.Errorf("the target holds %q, %v; want the new file", got, err)
	}
	if _, data, _ := b.c.read(f, 0, 10); string(data) != "new" {
		b.Errorf("after RENAME the handle reads %q; want %q", data, "new")
	}
	b.want("GETATTR of the replaced file", b.call(b.c, 1, old), statusStale)
	b.want("RENAME of a directory", b.call(b.c, 14, b.root, "d", b.root, "e"), statusOK)
	b.want("LOOKUP in it by its old handle", b.call(b.c, 3, d, "g"), statusOK)
	b.call(b.c, 9, b.root, "full", sattr{mode: ptr(uint32(0o755))})
	full, _ := b.c.lookup(b.root, "full")
	full = bytes.Clone(full)
	b.c.create(full, "x", 0o644)
	local := statusOf(unix.Rename(b.path("e"), b.path("full"))) // EXIST on xfs, NOTEMPTY elsewhere
	b.want("RENAME over a full directory", b.call(b.c, 14, b.root, "e", b.root, "full"), local)
	b.want("RENAME into itself", b.call(b.c, 14, b.root, "full", full, "sub"), statusInval)
	b.want("RENAME a file over a directory", b.call(b.c, 14, full, "x", b.root, "e"), statusIsDir)
	b.want("RENAME of nothing", b.call(b.c, 14, b.root, "nothing", b.root, "y"), statusNoEnt)
	for _, name := range []string{".", ".."} {
		b.want("RENAME of "+name, b.call(b.c, 14, d, name, b.root, "y"), statusInval)
		b.want("RENAME to "+name, b.call(b.c, 14, b.root, "e", full, name), statusInval)
	}
}

func hardLinks(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	b.want("LINK", b.call(b.c, 15, f, b.root, "g"), statusOK)
	if a := b.c.getattr(f); a.nlink != 2 {
		b.Errorf("link count is %d; want 2", a.nlink)
	}
	if x, y := onDisk(b.T, b.path("f")), onDisk(b.T, b.path("g")); x.Ino != y.Ino {
		b.Errorf("inodes %d and %d; want the same", x.Ino, y.Ino)
	}
	b.want("LINK exists", b.call(b.c, 15, f, b.root, "g"), statusExist)
	b.want("LINK of a directory", b.call(b.c, 15, b.root, b.root, "r"), statusPerm)
	b.call(b.c, 10, b.root, "l", sattr{}, "/etc/passwd")
	l, _ := b.c.lookup(b.root, "l")
	b.want("LINK of a link", b.call(b.c, 15, l, b.root, "m"), statusOK)
	if got, err := os.Readlink(b.path("m")); err != nil || got != "/etc/passwd" {
		b.Errorf("link of a link is %q, %v", got, err)
	}
	b.want("REMOVE of one name", b.call(b.c, 12, b.root, "f"), statusOK)
	b.want("GETATTR by the handle", b.call(b.c, 1, f), statusOK)
}

// TestMostLinks: a file has as many links as PATHCONF says, and no more.
func TestMostLinks(t *testing.T) {
	for _, fs := range allFileSystems() {
		if fs.name != "ext4" && fs.name != "btrfs" { // what others have is too many to try
			continue
		}
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, emptyDir(t, fs.mount(t)))
			f := b.c.create(b.root, "f", 0o644)
			s, d := b.c.nfs(20, f)
			b.want("PATHCONF", s, statusOK)
			d.postAttr()
			most := int(d.Uint32())
			for i := 1; i < most-1; i++ {
				if err := os.Link(b.path("f"), b.path(fmt.Sprint(i))); err != nil {
					t.Fatalf("link %d of %d: %v", i, most, err)
				}
			}
			b.want("the last LINK", b.call(b.c, 15, f, b.root, "last"), statusOK)
			b.want("one more", b.call(b.c, 15, f, b.root, "more"), statusMLink)
			b.want("REMOVE", b.call(b.c, 12, b.root, "1"), statusOK)
			b.want("one more in its place", b.call(b.c, 15, f, b.root, "more"), statusOK)
		})
	}
}

// unlinkOpen: the server holds no file open for a client, except one that has
// written and not committed, and that only while it has a name.
func unlinkOpen(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	b.want("WRITE", b.c.write(f, 0, fileSync, []byte("x")), statusOK)
	b.want("REMOVE", b.call(b.c, 12, b.root, "f"), statusOK)
	gone(b.T, b.path("f"))
	b.want("GETATTR", b.call(b.c, 1, f), statusStale)
	b.want("GETATTR of what a process on this machine has open", b.call(b.c, 1, b.removedButOpen("open")), statusStale)
	again := b.c.create(b.root, "f", 0o644)
	if bytes.Equal(again, f) {
		b.Error("the new file has the handle of the old one")
	}
	b.want("GETATTR of the old one", b.call(b.c, 1, f), statusStale)
	b.want("WRITE", b.c.write(again, 0, unstable, []byte("x")), statusOK)
	b.want("REMOVE", b.call(b.c, 12, b.root, "f"), statusOK)
	b.want("GETATTR of a file with uncommitted data", b.call(b.c, 1, again), statusStale)
	b.want("COMMIT of it", b.call(b.c, 21, again, uint64(0), 0), statusStale)
	replaced := b.c.create(b.root, "g", 0o644)
	b.c.create(b.root, "h", 0o644)
	b.want("WRITE", b.c.write(replaced, 0, unstable, []byte("x")), statusOK)
	b.want("RENAME over it", b.call(b.c, 14, b.root, "h", b.root, "g"), statusOK)
	b.want("GETATTR of what was replaced", b.call(b.c, 1, replaced), statusStale)
}

// removedButOpen returns the handle of a removed file that stays open on this
// machine until the test ends.
func (b *bench) removedButOpen(name string) []byte {
	handle := b.c.create(b.root, name, 0o644)
	f, err := os.Open(b.path(name))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	b.want("REMOVE of an open file", b.call(b.c, 12, b.root, name), statusOK)
	return handle
}

// sillyRename is what a client does to a file that it has open and is to
// remove or replace: by its handle the file is there until it is removed.
func sillyRename(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	b.want("WRITE", b.c.write(f, 0, unstable, []byte("open")), statusOK)
	b.want("RENAME", b.call(b.c, 14, b.root, "f", b.root, ".nfs01"), statusOK)
	g := b.c.create(b.root, "g", 0o644)
	b.want("RENAME into its place", b.call(b.c, 14, b.root, "g", b.root, "f"), statusOK)
	b.want("WRITE", b.c.write(f, 4, unstable, []byte(" still")), statusOK)
	b.want("COMMIT", b.call(b.c, 21, f, uint64(0), 0), statusOK)
	if _, data, _ := b.c.read(f, 0, 100); string(data) != "open still" {
		b.Errorf("READ = %q; want what was written before and after", data)
	}
	b.want("REMOVE", b.call(b.c, 12, b.root, ".nfs01"), statusOK)
	b.want("GETATTR", b.call(b.c, 1, f), statusStale)
	if now, _ := b.c.lookup(b.root, "f"); !bytes.Equal(now, g) {
		b.Error("the name leads to another file than was put there")
	}
}

// names: no name leads anywhere but to an entry of its directory.
func names(b *bench) {
	long := strings.Repeat("n", maxName+1)
	f := b.c.create(b.root, "f", 0o644)
	for name, want := range map[string]status{
		"../x": statusInval, "../../../../etc/hostname": statusInval, "a/b": statusInval, "/": statusInval,
		"/etc/hostname": statusInval, "": statusInval, "f\x00g": statusInval, long: statusNameTooLong,
	} {
		b.want("LOOKUP "+name, b.call(b.c, 3, b.root, name), want)
		b.want("CREATE "+name, b.call(b.c, 8, b.root, name, guarded, sattr{}), want)
		b.want("MKDIR "+name, b.call(b.c, 9, b.root, name, sattr{}), want)
		b.want("SYMLINK "+name, b.call(b.c, 10, b.root, name, sattr{}, "x"), want)
		b.want("MKNOD "+name, b.call(b.c, 11, b.root, name, typeFIFO, sattr{}), want)
		b.want("REMOVE "+name, b.call(b.c, 12, b.root, name), want)
		b.want("RMDIR "+name, b.call(b.c, 13, b.root, name), want)
		b.want("RENAME from "+name, b.call(b.c, 14, b.root, name, b.root, "y"), want)
		b.want("RENAME to "+name, b.call(b.c, 14, b.root, "f", b.root, name), want)
		b.want("LINK "+name, b.call(b.c, 15, f, b.root, name), want)
	}
	for _, name := range []string{".", ".."} {
		b.want("CREATE "+name, b.call(b.c, 8, b.root, name, unchecked, sattr{}), statusExist)
		b.want("MKDIR "+name, b.call(b.c, 9, b.root, name, sattr{}), statusExist)
		b.want("REMOVE "+name, b.call(b.c, 12, b.root, name), statusIsDir)
		l, _ := b.c.lookup(b.root, name)
		if !bytes.Equal(l, b.root) {
			b.Errorf("LOOKUP %q of the root is not the root", name)
		}
	}
	b.want("RMDIR .", b.call(b.c, 13, b.root, "."), statusInval)
	b.want("RMDIR ..", b.call(b.c, 13, b.root, ".."), statusExist)
	b.want("LOOKUP of nothing", b.call(b.c, 3, b.root, "nothing"), statusNoEnt)
	odd := "a \\ü\n\xff*"
	b.c.create(b.root, odd, 0o644)
	onDisk(b.T, b.path(odd))
}
