//go:build netns

package nfs

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func attributes(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	b.want("chown", b.call(b.c, 2, f, sattr{uid: ptr(uint32(1000)), gid: ptr(uint32(100))}, false), statusOK)
	b.want("chmod", b.call(b.c, 2, f, sattr{mode: ptr(uint32(0o6711))}, false), statusOK)
	b.want("truncate", b.call(b.c, 2, f, sattr{size: ptr(uint64(12345))}, false), statusOK)
	a := b.c.getattr(f)
	if a.uid != 1000 || a.gid != 100 || a.size != 12345 || a.mode != 0o6711 {
		b.Errorf("attributes %+v; want 1000:100, size 12345, mode 6711", a)
	}
	b.want("chown and chmod in one", b.call(b.c, 2, f, sattr{uid: ptr(uint32(5)), mode: ptr(uint32(0o4755))}, false), statusOK)
	if st := onDisk(b.T, b.path("f")); st.Mode&0o7777 != 0o4755 || st.Uid != 5 || st.Ino != a.fileID || uint64(st.Blocks)*512 != a.used {
		b.Errorf("on disk %+v; want mode 4755, owner 5, inode %d", st, a.fileID)
	}
	b.want("truncate a directory", b.call(b.c, 2, b.root, sattr{size: ptr(uint64(0))}, false), statusIsDir)
	b.want("truncate too far", b.call(b.c, 2, f, sattr{size: ptr(uint64(1 << 63))}, false), statusFBig)
}

func times(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	at, mt := unix.Timespec{Sec: 1000000007, Nsec: 123456789}, unix.Timespec{Sec: 4000000000, Nsec: 999999999}
	b.want("SETATTR", b.call(b.c, 2, f, sattr{atime: &at, mtime: &mt}, false), statusOK)
	a := b.c.getattr(f)
	if a.atime != [2]uint32{1000000007, 123456789} || a.mtime != [2]uint32{4000000000, 999999999} {
		b.Errorf("times are %v, %v; want the ones that were set", a.atime, a.mtime)
	}
	b.want("SETATTR of one", b.call(b.c, 2, f, sattr{mtime: &unix.Timespec{Sec: 5}}, false), statusOK)
	now := b.c.getattr(f)
	if now.atime != a.atime || now.mtime != [2]uint32{5, 0} || now.ctime[0] < a.ctime[0] || now.ctime[0] < 1000000007 {
		b.Errorf("times are %v, %v, %v; want only mtime set to 5", now.atime, now.mtime, now.ctime)
	}
	u := b.c.user(1000, 1000)
	b.want("times of another's file", b.call(u, 2, f, sattr{mtime: &mt}, false), statusPerm)
	b.want("touching another's file", b.call(u, 2, f, sattr{mtime: &unix.Timespec{Nsec: unix.UTIME_NOW}, atime: &unix.Timespec{Nsec: unix.UTIME_NOW}}, false), statusAcces)
	if err := os.Chmod(b.path("f"), 0o666); err != nil {
		b.Fatal(err)
	}
	b.want("touching a file that all may write", b.call(u, 2, f, sattr{mtime: &unix.Timespec{Nsec: unix.UTIME_NOW}, atime: &unix.Timespec{Nsec: unix.UTIME_NOW}}, false), statusOK)
}

func guard(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	a := b.c.getattr(f)
	b.want("wrong guard", b.call(b.c, 2, f, sattr{mode: ptr(uint32(0o600))}, true, int(a.ctime[0]), int(a.ctime[1]+1)), statusNotSync)
	b.want("right guard", b.call(b.c, 2, f, sattr{mode: ptr(uint32(0o600))}, true, int(a.ctime[0]), int(a.ctime[1])), statusOK)
	if st := onDisk(b.T, b.path("f")); st.Mode&0o777 != 0o600 {
		b.Errorf("mode %o; want 600", st.Mode)
	}
}

func largeOffsets(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	const far = 5 << 30
	b.want("WRITE", b.c.write(f, far, fileSync, []byte("far")), statusOK)
	if _, data, eof := b.c.read(f, far-1, 100); string(data) != "\x00far" || !eof {
		b.Errorf("READ = %q, %v; want a zero, far, the end", data, eof)
	}
	for _, offset := range []uint64{1 << 63, ^uint64(0), 1<<63 - 2} {
		b.want("WRITE beyond", b.call(b.c, 7, f, offset, 3, fileSync, "xyz"), statusFBig)
		if s, data, eof := b.c.read(f, offset, 100); s != statusOK || len(data) != 0 || !eof {
			b.Errorf("READ beyond = %v, %q, %v; want OK, nothing, the end", s, data, eof)
		}
	}
}

func readAcrossTheEnd(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	content := bytes.Repeat([]byte("0123456789abcdef"), maxIO/16)
	b.want("WRITE", b.c.write(f, 0, unstable, content), statusOK)
	for _, tt := range []struct {
		offset uint64
		count  int
		n      int
		eof    bool
	}{
		{0, 10, 10, false}, {0, 0, 0, false}, {3, 5, 5, false}, {0, maxIO, maxIO, true}, {0, 1 << 31, maxIO, true},
		{maxIO - 3, 3, 3, true}, {maxIO - 3, 2, 2, false}, {maxIO - 3, 100000, 3, true}, {maxIO, 10, 0, true}, {maxIO + 1, 10, 0, true},
	} {
		s, data, eof := b.c.read(f, tt.offset, tt.count)
		if s != statusOK || len(data) != tt.n || eof != tt.eof {
			b.Errorf("READ %d at %d = %v, %d bytes, %v; want %d, %v", tt.count, tt.offset, s, len(data), eof, tt.n, tt.eof)
		}
		if len(data) > 0 && !bytes.Equal(data, content[tt.offset:][:len(data)]) {
			b.Errorf("READ %d at %d: other bytes than were written", tt.count, tt.offset)
		}
	}
}

func aboutFileSystem(b *bench) {
	var fs unix.Statfs_t
	if err := unix.Statfs(b.dir, &fs); err != nil {
		b.Fatal(err)
	}
	s, d := b.c.nfs(18, b.root)
	if b.want("FSSTAT", s, statusOK); d.postAttr() == nil || d.Uint64() != fs.Blocks*uint64(fs.Bsize) {
		b.Error("FSSTAT does not say how big the file system is")
	}
	s, d = b.c.nfs(19, b.root)
	b.want("FSINFO", s, statusOK)
	d.postAttr()
	if rtmax, wtmax := d.Uint32(), d.Take(8+4); rtmax != 1<<20 || !bytes.Equal(wtmax[8:], []byte{0, 0x10, 0, 0}) {
		b.Errorf("FSINFO: largest READ %d, then %x; want 1 MiB", rtmax, wtmax)
	}
	d.Take(3 * 4)
	if maxFile := d.Uint64(); maxFile < 1<<40 {
		b.Errorf("FSINFO: largest file %d", maxFile)
	}
	if d.Take(12); d.Bad || len(d.Buf) != 0 {
		b.Error("FSINFO result is malformed")
	}
	s, d = b.c.nfs(20, b.root)
	b.want("PATHCONF", s, statusOK)
	d.postAttr()
	if links, name := d.Uint32(), d.Uint32(); links < 1000 || name != 255 {
		b.Errorf("PATHCONF: %d links, names of %d; want many, 255", links, name)
	}
	s, d = b.c.nfs(4, b.root, 0x3f)
	if b.want("ACCESS", s, statusOK); d.postAttr() == nil || d.Uint32() != 0x1f {
		b.Error("ACCESS of the root by root is not 0x1f")
	}
}

// largestFile: FSINFO names the size that a file can have, and no byte more.
func largestFile(b *bench) {
	_, d := b.c.nfs(19, b.root)
	d.postAttr()
	d.Take(7 * 4)
	size := d.Uint64()
	f := b.c.create(b.root, "f", 0o644)
	b.want("the largest size", b.call(b.c, 2, f, sattr{size: ptr(size)}, false), statusOK)
	b.want("a byte more", b.call(b.c, 2, f, sattr{size: ptr(size + 1)}, false), statusFBig)
	b.want("WRITE of its last byte", b.call(b.c, 7, f, size-1, 1, unstable, "x"), statusOK)
	b.want("WRITE beyond", b.call(b.c, 7, f, size, 1, unstable, "x"), statusFBig)
	if _, data, eof := b.c.read(f, size-1, 10); string(data) != "x" || !eof {
		b.Errorf("READ of the last byte = %q, %v; want x, the end", data, eof)
	}
}

// TestLargestFileOfAnOverlay: an overlay has the limit of the file system that its files are on.
func TestLargestFileOfAnOverlay(t *testing.T) {
	disk := diskImage(t, "64M", "mkfs.ext4", "-q", "-F")
	largestFile(newBench(t, emptyDir(t, overlayIn(t, disk, ",index=on,nfs_export=on"))))
}

// weakCache: what a reply says of a directory before and after a change
// is what it was.
func weakCache(b *bench) {
	before := b.c.getattr(b.root)
	s, d := b.c.nfs(9, b.root, "d", sattr{})
	if b.want("MKDIR", s, statusOK); !d.Bool() {
		b.Fatal("MKDIR gave no handle")
	}
	d.handle()
	d.postAttr()
	if !d.Bool() {
		b.Fatal("MKDIR says nothing of the directory before")
	}
	size, mtime := d.Uint64(), [2]uint32{d.Uint32(), d.Uint32()}
	ctime := [2]uint32{d.Uint32(), d.Uint32()}
	if size != before.size || mtime != before.mtime || ctime != before.ctime {
		b.Errorf("before: %d %v %v; want %+v", size, mtime, ctime, before)
	}
	if after := d.postAttr(); after == nil || *after == before || *after != b.c.getattr(b.root) {
		b.Errorf("after: %+v; want what GETATTR says now", after)
	}
	s, d = b.c.nfs(9, b.root, "d", sattr{})
	b.want("MKDIR again", s, statusExist)
	if _, after := d.wcc(); after == nil || d.Bad || len(d.Buf) != 0 {
		b.Error("a refused MKDIR does not end with the directory's attributes")
	}
}

// commits: the write verifier is the same until the server starts again.
func commits(b *bench) {
	f := b.c.create(b.root, "f", 0o644)
	written := func(c *rawClient, how int) uint64 {
		s, d := c.nfs(7, f, uint64(0), 4, how, "data")
		b.want("WRITE", s, statusOK)
		d.wcc()
		d.Take(8)
		return d.Uint64()
	}
	committed := func(c *rawClient) uint64 {
		s, d := c.nfs(21, f, uint64(0), 0)
		b.want("COMMIT", s, statusOK)
		d.wcc()
		return d.Uint64()
	}
	open := func() int { return len(b.s.exports.byPath["/roots/1"].writers.order) }
	first := written(b.c, unstable)
	if n := open(); n != 1 {
		b.Errorf("%d files are open for COMMIT; want 1", n)
	}
	if v := committed(b.c); v != first {
		b.Errorf("COMMIT has verifier %x; want %x", v, first)
	}
	if n := open(); n != 0 {
		b.Errorf("after COMMIT %d files are open; want none", n)
	}
	for _, how := range []int{dataSync, fileSync} {
		if written(b.c, how); open() != 0 {
			b.Errorf("after a stable WRITE a file is open")
		}
	}
	committed(b.c) // of a file with nothing to commit
	b.s.stop()
	s2, c2, _ := serveDir(b.T, b.dir)
	defer s2.stop()
	if v := committed(c2); v == first {
		b.Error("the verifier is the same after a restart")
	}
}
