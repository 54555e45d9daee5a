//go:build netns

package nfs

import (
	"bytes"
	"os"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestRepeatedCalls: a call that comes again, on another connection because
// the first broke, is answered and not run again.
func TestRepeatedCalls(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	b.c.create(b.root, "f", 0o644)
	repeat := func() *rawClient {
		c := dial(t, b.s.addr)
		c.xid = b.c.xid - 1
		return c
	}
	b.want("REMOVE", b.call(b.c, 12, b.root, "f"), statusOK)
	b.want("REMOVE repeated", b.call(repeat(), 12, b.root, "f"), statusOK)
	b.want("REMOVE again", b.call(b.c, 12, b.root, "f"), statusNoEnt)
	b.want("MKDIR", b.call(b.c, 9, b.root, "d", sattr{}), statusOK)
	b.want("MKDIR repeated", b.call(repeat(), 9, b.root, "d", sattr{}), statusOK)
	b.want("MKDIR with other arguments", b.call(repeat(), 9, b.root, "d", sattr{mode: ptr(uint32(0))}), statusExist)
	b.want("RENAME", b.call(b.c, 14, b.root, "d", b.root, "e"), statusOK)
	b.want("RENAME repeated", b.call(repeat(), 14, b.root, "d", b.root, "e"), statusOK)
}

// TestStableWrites: what was promised to be on the disk has its place there.
// An extent whose place is still to be found exists in memory only.
func TestStableWrites(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	data := bytes.Repeat([]byte("data"), 64<<10/4)
	for name, how := range map[string]int{"data": dataSync, "file": fileSync} {
		f := b.c.create(b.root, name, 0o644)
		b.want("WRITE", b.c.write(f, 0, how, data), statusOK)
		if pending(t, b.path(name)) {
			t.Errorf("%s: a stable WRITE is in memory only", name)
		}
	}
	// Anybody on this machine may sync at any moment, so one try proves nothing.
	f, tries := b.c.create(b.root, "unstable", 0o644), 0
	for ; tries < 20 && !pending(t, b.path("unstable")); tries++ {
		b.want("WRITE", b.c.write(f, uint64(tries*len(data)), unstable, data), statusOK)
	}
	if tries == 20 {
		t.Error("all UNSTABLE WRITEs are on the disk at once; want them in memory")
	}
	b.want("COMMIT", b.call(b.c, 21, f, uint64(0), 0), statusOK)
	if pending(t, b.path("unstable")) {
		t.Error("after COMMIT a write is in memory only")
	}
	f = b.c.create(b.root, "unexported", 0o644)
	b.want("WRITE", b.c.write(f, 0, unstable, data), statusOK)
	b.s.Unexport("/roots/1")
	if pending(t, b.path("unexported")) {
		t.Error("after Unexport a write is in memory only")
	}
}

// pending reports whether a file has extents without a place on the disk yet.
func pending(t *testing.T, path string) bool {
	t.Helper()
	const (
		fsIocFiemap   = 0xc020660b
		extentUnknown = 0x2
		extentDelayed = 0x4
		maxExtents    = 32
	)
	var req struct { // struct fiemap
		start, length                  uint64
		flags, mapped, count, reserved uint32
		extents                        [maxExtents]struct { // struct fiemap_extent
			logical, physical, size uint64
			_                       [2]uint64
			flags                   uint32
			_                       [3]uint32
		}
	}
	req.length, req.count = 1<<62, maxExtents
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(&req))); errno != 0 {
		t.Fatalf("asking for the extents of %s: %v; want TMPDIR on ext4, xfs or btrfs", path, errno)
	}
	for _, e := range req.extents[:req.mapped] {
		if e.flags&(extentUnknown|extentDelayed) != 0 {
			return true
		}
	}
	return false
}

// TestManyUncommittedFiles: files that are written and not committed are kept
// open up to a limit, and their data is good.
func TestManyUncommittedFiles(t *testing.T) {
	b := &bench{T: t, dir: tmpfs(t)}
	b.s, b.c, b.root = serveDir(t, b.dir)
	var files [][]byte
	for i := range 3 * maxWriters {
		f := b.c.create(b.root, string(rune('A'+i)), 0o644)
		b.want("WRITE", b.c.write(f, 0, unstable, []byte{byte(i)}), statusOK)
		files = append(files, f)
	}
	if n := len(b.s.exports.byPath["/roots/1"].writers.order); n != maxWriters {
		t.Errorf("%d files are open; want %d", n, maxWriters)
	}
	for i, f := range files {
		if _, data, _ := b.c.read(f, 0, 10); len(data) != 1 || data[0] != byte(i) {
			t.Errorf("file %d holds %x", i, data)
		}
	}
}

// TestWritersSideBySide: writes and commits of one file at the same time.
func TestWritersSideBySide(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	f := b.c.create(b.root, "f", 0o644)
	const clients, blocks, size = 4, 16, 4096
	var all sync.WaitGroup
	for i := range clients {
		c := dial(t, b.s.addr)
		all.Go(func() {
			for n := range blocks {
				at := uint64(n*clients+i) * size
				c.write(f, at, n%3, bytes.Repeat([]byte{byte(i + 1)}, size))
				if s, _ := c.nfs(21, f, uint64(0), 0); s != statusOK {
					t.Errorf("COMMIT = %v; want OK", s)
				}
			}
		})
	}
	all.Wait()
	got, err := os.ReadFile(b.path("f"))
	if err != nil || len(got) != clients*blocks*size {
		t.Fatalf("the file has %d bytes, %v; want %d", len(got), err, clients*blocks*size)
	}
	for i, c := range got {
		if want := byte(i/size%clients + 1); c != want {
			t.Fatalf("byte %d is %d; want %d", i, c, want)
		}
	}
	if n := len(b.s.exports.byPath["/roots/1"].writers.order); n != 0 {
		t.Errorf("%d files are open after the last COMMIT; want none", n)
	}
}
