//go:build netns

package nfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limited exports dir with limits, as /scratch/1.
func limited(t *testing.T, s *testServer, e Export) *bench {
	t.Helper()
	mustExport(t, s.Server, e)
	b := &bench{T: t, dir: e.Dir, s: s, c: dial(t, s.addr)}
	b.root = bytes.Clone(b.c.mustMount(e.Path))
	return b
}

// patient is call for a client that asks again after JUKEBOX.
func (b *bench) patient(proc uint32, all ...any) (got status) {
	b.Helper()
	waitUntil(b.T, "a call is not put off", func() bool {
		got = b.call(b.c, proc, all...)
		return got != statusJukebox
	})
	return got
}

// fill writes to new files until that is refused, and returns why and how much
// went into them.
func (b *bench) fill(prefix string, piece int) (why status, written int64) {
	b.Helper()
	for i := 0; ; i++ {
		s, d := b.c.nfs(8, b.root, fmt.Sprint(prefix, i), guarded, sattr{mode: ptr(uint32(0o644))})
		if s != statusOK {
			return s, written
		}
		d.Bool()
		wire := bytes.Clone(d.handle())
		for n := range 4 {
			if s := b.patient(7, wire, uint64(n*piece), piece, n%3, bytes.Repeat([]byte{1}, piece)); s != statusOK {
				return s, written
			}
			written += int64(piece)
		}
	}
}

// below is what lies below a directory, as du sees it.
func below(t *testing.T, dir string) (bytes, names int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			st := onDisk(t, path)
			used := st.Blocks * 512
			if st.Mode&unix.S_IFMT == unix.S_IFREG { // xfs puts some by to write on
				used = min(used, (st.Size+pageSize-1)&^(pageSize-1))
			}
			bytes += used
			names++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes, names - 1
}

// TestMaxBytes: a board fills what it may have and no more, whatever it
// writes, removes, and writes again; others do not notice.
func TestMaxBytes(t *testing.T) {
	const most = 4 << 20
	for _, fs := range allFileSystems() {
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			mnt := fs.mount(t)
			s := serve(t, &Server{Key: testKey()})
			clients := []netip.Addr{loopback}
			b := limited(t, s, Export{ID: 1, Path: "/scratch/1", Dir: emptyDir(t, mnt), Clients: clients, MaxBytes: most})
			other := limited(t, s, Export{ID: 2, Path: "/scratch/2", Dir: emptyDir(t, mnt), Clients: clients, MaxBytes: most})
			why, written := b.fill("f", 60<<10)
			b.want("the last call", why, statusDQuot)
			_, small := b.fill("s", pageSize)
			written += small
			if onDisk, _ := below(t, b.dir); onDisk > most || written < most*3/4 {
				t.Errorf("%d bytes were written and take %d; want the limit of %d used, and kept", written, onDisk, most)
			}
			for what, got := range map[string]status{
				"CREATE": b.call(b.c, 8, b.root, "x", guarded, sattr{}), "MKDIR": b.call(b.c, 9, b.root, "x", sattr{}),
				"SYMLINK": b.call(b.c, 10, b.root, "x", sattr{}, "y"), "MKNOD": b.call(b.c, 11, b.root, "x", typeFIFO, sattr{}),
			} {
				b.want(what+" at the limit", got, statusDQuot)
			}
			first, _ := b.c.lookup(b.root, "f0")
			first = bytes.Clone(first)
			b.want("LINK at the limit", b.call(b.c, 15, first, b.root, "x"), statusDQuot)
			b.want("SETATTR that grows", b.call(b.c, 2, first, sattr{size: ptr(uint64(1 << 20))}, false), statusDQuot)
			b.want("WRITE over what is there", b.call(b.c, 7, first, uint64(0), 4, fileSync, "over"), statusOK)
			b.want("SETATTR of mode", b.call(b.c, 2, first, sattr{mode: ptr(uint32(0o600))}, false), statusOK)
			b.want("RENAME", b.call(b.c, 14, b.root, "f0", b.root, "g"), statusOK)
			other.want("another board's WRITE", other.c.write(other.c.create(other.root, "f", 0o644), 0, fileSync, make([]byte, 1<<20)), statusOK)
			b.want("SETATTR that shrinks", b.call(b.c, 2, first, sattr{size: ptr(uint64(0))}, false), statusOK)
			b.want("REMOVE", b.call(b.c, 12, b.root, "g"), statusOK)
			b.want("CREATE after REMOVE", b.patient(8, b.root, "again", guarded, sattr{}), statusOK)
			again, _ := b.c.lookup(b.root, "again")
			b.want("WRITE after REMOVE", b.patient(7, bytes.Clone(again), uint64(0), 4, fileSync, "more"), statusOK)
			if onDisk, _ := below(t, b.dir); onDisk > most {
				t.Errorf("%d bytes on disk; want at most %d", onDisk, most)
			}
		})
	}
}

// TestMaxBytesOfHoles: what is not there of a file is not counted.
func TestMaxBytesOfHoles(t *testing.T) {
	const most = 1 << 20
	fileSystemsWith(t, Export{MaxBytes: most}, func(b *bench) {
		f := b.c.create(b.root, "f", 0o644)
		b.want("SETATTR of size", b.call(b.c, 2, f, sattr{size: ptr(uint64(1 << 36))}, false), statusOK)
		for i := range 20 {
			b.want("WRITE behind a hole", b.patient(7, f, uint64(i)<<30+5, 4, fileSync, "data"), statusOK)
		}
		b.want("CREATE with a size", b.patient(8, b.root, "g", guarded, sattr{size: ptr(uint64(1 << 36))}), statusOK)
		got := statusOK
		for i := 20; got == statusOK && i < 5000; i++ {
			got = b.patient(7, f, uint64(i)<<26+5, 4, unstable, "data")
		}
		b.want("WRITE into many holes", got, statusDQuot)
		if onDisk, _ := below(b.T, b.dir); onDisk > most*5/4 { // with the blocks that say where the others are
			b.Errorf("%d bytes on disk; want about %d at most", onDisk, most)
		}
	})
}

// fileSystemsWith is fileSystems with limits.
func fileSystemsWith(t *testing.T, e Export, f func(*bench)) {
	t.Helper()
	for _, fs := range allFileSystems() {
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			e := e
			e.ID, e.Path, e.Dir, e.Clients = 1, "/scratch/1", emptyDir(t, fs.mount(t)), []netip.Addr{loopback}
			f(limited(t, serve(t, &Server{Key: testKey()}), e))
		})
	}
}

// TestMaxNames: names of all kinds count, wherever they are.
func TestMaxNames(t *testing.T) {
	const most = 40
	fileSystemsWith(t, Export{MaxNames: most}, func(b *bench) {
		dir := b.root
		var deepest []byte
		for i := 0; i < most; i++ {
			name := strings.Repeat("n", 200) + fmt.Sprint(i)
			var s status
			var d *decoder
			switch i % 4 {
			case 0:
				s, d = b.c.nfs(9, dir, name, sattr{mode: ptr(uint32(0o755))})
				d.Bool()
				deepest = dir
				dir = bytes.Clone(d.handle())
			case 1:
				s, _ = b.c.nfs(8, dir, name, guarded, sattr{})
			case 2:
				s, _ = b.c.nfs(10, dir, name, sattr{}, "/")
			case 3:
				s, _ = b.c.nfs(11, dir, name, typeFIFO, sattr{})
			}
			b.want("name "+fmt.Sprint(i), s, statusOK)
		}
		if _, names := below(b.T, b.dir); names != most {
			b.Fatalf("%d names; want %d", names, most)
		}
		b.want("CREATE", b.patient(8, b.root, "x", guarded, sattr{}), statusDQuot)
		b.want("MKDIR", b.patient(9, dir, "x", sattr{}), statusDQuot)
		b.want("SYMLINK", b.patient(10, deepest, "x", sattr{}, "y"), statusDQuot)
		b.want("MKNOD", b.patient(11, b.root, "x", typeFIFO, sattr{}), statusDQuot)
		file, _ := b.c.lookup(dir, strings.Repeat("n", 200)+"37")
		file = bytes.Clone(file)
		b.want("LINK", b.patient(15, file, b.root, "x"), statusDQuot)
		b.want("WRITE", b.patient(7, file, uint64(0), 4, fileSync, "data"), statusOK)
		b.want("RENAME", b.patient(14, dir, strings.Repeat("n", 200)+"37", b.root, "moved"), statusOK)
		b.want("RENAME over another", b.patient(14, b.root, "moved", dir, strings.Repeat("n", 200)+"39"), statusOK)
		b.want("CREATE in its place", b.patient(8, b.root, "x", guarded, sattr{}), statusOK)
		b.want("CREATE", b.patient(8, b.root, "y", guarded, sattr{}), statusDQuot)
	})
}

// makeDeep makes files in dir, and in it directories to that depth, the last with a link to a large
// file elsewhere.
func makeDeep(t *testing.T, dir string, depth, files int) {
	t.Helper()
	at := dir
	for range 20 { // what no path reaches in one piece
		deep := at + strings.Repeat("/d", depth/20)
		if err := os.MkdirAll(deep, 0o755); err != nil {
			t.Fatal(err)
		}
		at = deep
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	err := errors.Join(os.WriteFile(filepath.Join(outside, "big"), make([]byte, 1<<20), 0o644), os.Symlink(outside, filepath.Join(at, "link")))
	if err != nil {
		t.Fatal(err)
	}
}

// TestQuotaAfterARestart: what lies there already counts, however deep, and no
// more once it is removed at this machine.
func TestQuotaAfterARestart(t *testing.T) {
	dir := t.TempDir()
	const most, depth = 3000, 1000
	makeDeep(t, dir, depth, most-depth-1)
	var told atomic.Int32
	s := serve(t, &Server{Key: testKey(), OnLimit: func(e LimitEvent) {
		n := told.Add(1)
		const want = "MB and 3000 names; 16 MB and 3000 names are allowed"
		if n == 1 && (e.Export != "/scratch/1" || !strings.Contains(e.Reason, want)) {
			t.Errorf("LimitEvent = %+v; want of /scratch/1 %q", e, want)
		}
	}})
	e := Export{ID: 1, Path: "/scratch/1", Dir: dir, Clients: []netip.Addr{loopback}, MaxNames: most, MaxBytes: 16 << 20}
	b := limited(t, s, e)
	for range 3 {
		b.want("CREATE", b.patient(8, b.root, "x", guarded, sattr{}), statusDQuot)
	}
	if n := told.Load(); n != 1 {
		t.Errorf("OnLimit was called %d times; want once a minute", n)
	}
	if err := os.Remove(filepath.Join(dir, "f0")); err != nil {
		t.Fatal(err)
	}
	b.want("CREATE, of which nobody told", b.patient(8, b.root, "x", guarded, sattr{}), statusDQuot)
	s.Recount("/nothing")
	s.Recount("/scratch/1")
	b.want("CREATE after Recount", b.patient(8, b.root, "x", guarded, sattr{}), statusOK)
	b.want("CREATE", b.patient(8, b.root, "y", guarded, sattr{}), statusDQuot)
	e.MaxNames++
	mustExport(t, s.Server, e)
	b.want("CREATE with another limit", b.patient(8, b.root, "y", guarded, sattr{}), statusOK)
	b.want("CREATE", b.patient(8, b.root, "z", guarded, sattr{}), statusDQuot)
	e.Clients = append(e.Clients, stranger)
	mustExport(t, s.Server, e)
	b.want("CREATE with the same limit", b.call(b.c, 8, b.root, "z", guarded, sattr{}), statusDQuot) // known without a walk
}

// TestWalksAreRare: a board at its limit that asks again and again, or removes
// and writes all day, does not have it walked all day.
func TestWalksAreRare(t *testing.T) {
	b := limited(t, serve(t, &Server{Key: testKey()}),
		Export{ID: 1, Path: "/scratch/1", Dir: t.TempDir(), Clients: []netip.Addr{loopback}, MaxNames: 10})
	q := b.s.exports.at("/scratch/1").quota
	walked := func() time.Time {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.at
	}
	for i := range 10 {
		b.want("CREATE", b.patient(8, b.root, fmt.Sprint(i), guarded, sattr{}), statusOK)
	}
	before := walked()
	for range 100 {
		b.want("CREATE", b.call(b.c, 8, b.root, "x", guarded, sattr{}), statusDQuot)
	}
	if walked() != before {
		t.Error("it was walked though nothing was removed")
	}
	q.mu.Lock()
	q.next = time.Now().Add(time.Hour) // as after a walk of three minutes
	q.mu.Unlock()
	b.want("REMOVE", b.call(b.c, 12, b.root, "0"), statusOK)
	b.want("CREATE so soon", b.call(b.c, 8, b.root, "x", guarded, sattr{}), statusJukebox)
	if walked() != before {
		t.Error("it was walked too soon")
	}
}

// TestRenameDuringAWalk: nothing moves from where a walk has yet to come to
// where it has been.
func TestRenameDuringAWalk(t *testing.T) {
	b := limited(t, serve(t, &Server{Key: testKey()}),
		Export{ID: 1, Path: "/scratch/1", Dir: t.TempDir(), Clients: []netip.Addr{loopback}, MaxNames: 10})
	b.want("CREATE", b.patient(8, b.root, "f", guarded, sattr{}), statusOK)
	q := b.s.exports.at("/scratch/1").quota
	waitUntil(t, "no walk runs", q.renames.TryLock)
	b.want("RENAME", b.call(b.c, 14, b.root, "f", b.root, "g"), statusJukebox)
	q.renames.Unlock()
	b.want("RENAME", b.call(b.c, 14, b.root, "f", b.root, "g"), statusOK)
}

// TestMinFree: boards that fill their roots leave the floor free, so that
// others, such as a database, continue. What is there can be changed and removed.
func TestMinFree(t *testing.T) {
	const floor = 16 << 20
	for _, fs := range allFileSystems() {
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			mount := fs.mount
			if fs.name == "xfs" { // a large one that is nearly full puts by no more for what is being written
				mount = func(t *testing.T) string {
					return loopMount(t, newImage(t, "320M", "mkfs.xfs", "-q"), "allocsize=64k")
				}
			}
			mnt := mount(t)
			s := serve(t, &Server{Key: testKey()})
			clients := []netip.Addr{loopback}
			one := limited(t, s, Export{ID: 1, Path: "/roots/1", Dir: emptyDir(t, mnt), Clients: clients, MinFree: floor})
			two := limited(t, s, Export{ID: 2, Path: "/roots/2", Dir: emptyDir(t, mnt), Clients: clients, MinFree: floor})
			two.c.create(two.root, "its", 0o644)
			why, _ := one.fill("f", maxIO)
			one.want("the last call", why, statusNoSpc)
			two.want("another board's MKDIR", two.call(two.c, 9, two.root, "dir", sattr{}), statusOK)
			two.want("another board's WRITE", two.c.write(two.c.create(two.root, "log", 0o644), 0, fileSync, make([]byte, maxIO)), statusOK)
			one.want("its own", one.call(one.c, 8, one.root, "more", guarded, sattr{}), statusNoSpc)
			why, _ = two.fill("g", maxIO)
			two.want("another board's last call", why, statusNoSpc)
			writeDurable(t, filepath.Join(mnt, "database"), floor/2)
			_, d := one.c.nfs(18, one.root)
			d.postAttr()
			if _, free, avail := d.Uint64(), d.Uint64(), d.Uint64(); free > floor || avail > floor {
				t.Errorf("FSSTAT tells of %d bytes free, %d available; want less", free, avail)
			}
			two.want("another board's RENAME", two.call(two.c, 14, two.root, "its", two.root, "own"), statusOK)
			f, _ := one.c.lookup(one.root, "f0")
			one.want("SETATTR", one.call(one.c, 2, bytes.Clone(f), sattr{size: ptr(uint64(0))}, false), statusOK)
			one.want("REMOVE", one.call(one.c, 12, one.root, "f1"), statusOK)
		})
	}
}

// writeDurable writes a file at this machine.
func writeDurable(t *testing.T, path string, size int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, size)); err != nil {
		t.Errorf("writing %d bytes at this machine: %v", size, err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("syncing them: %v", err)
	}
}

// TestFreeInodes: nor are a file system's last inodes for boards.
func TestFreeInodes(t *testing.T) {
	mnt := diskImage(t, "64M", "mkfs.ext4", "-q", "-F", "-N", "1000")
	b := limited(t, serve(t, &Server{Key: testKey()}),
		Export{ID: 1, Path: "/roots/1", Dir: emptyDir(t, mnt), Clients: []netip.Addr{loopback}, MinFree: 1})
	got := statusOK
	for i := 0; got == statusOK && i < 2000; i++ {
		got = b.call(b.c, 8, b.root, fmt.Sprint(i), guarded, sattr{})
	}
	b.want("CREATE", got, statusNoSpc)
	var st unix.Statfs_t
	if err := unix.Statfs(mnt, &st); err != nil {
		t.Fatal(err)
	}
	if st.Ffree < st.Files/freeInodes || st.Ffree > st.Files/10 {
		t.Errorf("%d inodes of %d are free; want a few hundredths", st.Ffree, st.Files)
	}
}

// TestMinFreeOfAnOverlay: the copy that an overlay makes of a file counts too.
func TestMinFreeOfAnOverlay(t *testing.T) {
	base := tmpfs(t)
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := os.WriteFile(filepath.Join(base, "lower", name), make([]byte, 8<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(base, "merged")
	data := fmt.Sprintf("lowerdir=%s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work,index=on,nfs_export=on,metacopy=off", base)
	if err := unix.Mount("overlay", merged, "overlay", 0, data); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, merged)
	// 32 of 64 MB are free, and 24 of them are kept: none fits after the first.
	b := limited(t, serve(t, &Server{Key: testKey()}),
		Export{ID: 1, Path: "/roots/1", Dir: merged, Clients: []netip.Addr{loopback}, MinFree: 23 << 20})
	handle := func(name string) []byte {
		wire, _ := b.c.lookup(b.root, name)
		return bytes.Clone(wire)
	}
	b.want("WRITE to the first", b.c.write(handle("a"), 0, fileSync, []byte("x")), statusOK)
	b.want("WRITE", b.c.write(handle("b"), 0, fileSync, []byte("x")), statusNoSpc)
	b.want("SETATTR", b.call(b.c, 2, handle("b"), sattr{mode: ptr(uint32(0o600))}, false), statusNoSpc)
	b.want("RENAME", b.call(b.c, 14, b.root, "c", b.root, "e"), statusNoSpc)
	b.want("LINK", b.call(b.c, 15, handle("d"), b.root, "f"), statusNoSpc)
	b.want("REMOVE", b.call(b.c, 12, b.root, "b"), statusOK)
}

// TestFSStatTellsLimits: df on a board shows what it may have.
func TestFSStatTellsLimits(t *testing.T) {
	const most, names, used = 8 << 20, 100, 1 << 20
	fileSystemsWith(t, Export{MaxBytes: most, MaxNames: names}, func(b *bench) {
		f := b.c.create(b.root, "f", 0o644)
		b.want("WRITE", b.c.write(f, 0, fileSync, make([]byte, used)), statusOK)
		s, d := b.c.nfs(18, b.root)
		b.want("FSSTAT", s, statusOK)
		d.postAttr()
		total, free, avail, files, filesFree := d.Uint64(), d.Uint64(), d.Uint64(), d.Uint64(), d.Uint64()
		if total != most || free > most-used || free < most-used-(64<<10) || avail != free || files != names || filesFree != names-1 {
			b.Errorf("FSSTAT = %d, %d, %d bytes, %d, %d files; want %d, about %d twice, %d, %d",
				total, free, avail, files, filesFree, most, most-used, names, names-1)
		}
	})
}
