//go:build netns

package nfs

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scratchUID owns what the boards of these tests make.
const scratchUID = 1900000007

// scratch exports dir as a board's scratch.
func scratch(t *testing.T, dir string) *bench {
	t.Helper()
	if err := os.Chown(dir, scratchUID, scratchUID); err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, dir: dir, s: serve(t, &Server{Key: testKey()})}
	mustExport(t, b.s.Server, scratchOf(dir))
	b.c = dial(t, b.s.addr)
	b.root = bytes.Clone(b.c.mustMount("/scratch/1"))
	return b
}

func scratchOf(dir string) Export {
	return Export{
		ID: 1, Path: "/scratch/1", Dir: dir, Clients: []netip.Addr{loopback},
		Squash: AllSquash, AnonUID: scratchUID, AnonGID: scratchUID,
	}
}

// written makes a file of the board's that is kept open for its COMMIT.
func (b *bench) written(name, content string) []byte {
	b.Helper()
	wire := b.c.create(b.root, name, 0o644)
	b.want("WRITE", b.c.write(wire, 0, unstable, []byte(content)), statusOK)
	return wire
}

// taken takes a file out of the board's reach, except for what Revoke does.
func (b *bench) taken(name string) *os.File {
	b.Helper()
	f, err := os.Open(b.path(name))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if err := f.Chown(0, 0); err != nil {
		b.Fatal(err)
	}
	if err := f.Chmod(0o644); err != nil {
		b.Fatal(err)
	}
	return f
}

// A snapshot is what a client could change of a file.
type snapshot struct {
	content          string
	mode, uid, gid   uint32
	links            uint64
	modified, change unix.Timespec
}

func snapshotOf(t *testing.T, f *os.File) snapshot {
	t.Helper()
	var st unix.Stat_t
	content, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err != nil {
		t.Fatal(err)
	}
	return snapshot{string(content), st.Mode, st.Uid, st.Gid, uint64(st.Nlink), st.Mtim, st.Ctim}
}

// openForWriting counts the descriptors of this process, and so of the server,
// by which f can be written.
func openForWriting(t *testing.T, f *os.File) int {
	t.Helper()
	want, err := inodeOf(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range all {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_PATH != 0 || flags&unix.O_ACCMODE == unix.O_RDONLY {
			continue
		}
		if got, err := inodeOf(fd); err == nil && got == want {
			n++
		}
	}
	return n
}

// waitUntil waits for what is bound to come.
func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for late := time.After(time.Minute); !done(); {
		select {
		case <-late:
			t.Fatalf("waiting until %s took a minute", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestRevoke: by a handle from before, a file can be read and nothing else.
func TestRevoke(t *testing.T) {
	for _, fs := range allFileSystems() {
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			b := scratch(t, emptyDir(t, fs.mount(t)))
			wire := b.written("f", "proved")
			f := b.taken("f")
			if n := openForWriting(t, f); n == 0 {
				t.Fatal("the server keeps nothing open: this test shows nothing")
			}
			if err := b.s.Revoke(f); err != nil {
				t.Fatal(err)
			}
			if n := openForWriting(t, f); n != 0 {
				t.Errorf("the server has the file open for writing %d times; want 0", n)
			}
			before := snapshotOf(t, f)
			for what, got := range map[string]status{
				"WRITE":           b.c.write(wire, 0, unstable, []byte("forged")),
				"WRITE to disk":   b.c.write(wire, 0, fileSync, []byte("forged")),
				"SETATTR of size": b.call(b.c, 2, wire, sattr{size: ptr(uint64(0))}, false),
				"CREATE over it":  b.call(b.c, 8, b.root, "f", unchecked, sattr{size: ptr(uint64(0))}),
			} {
				b.want(what, got, statusAcces)
			}
			for what, s := range map[string]sattr{
				"mode": {mode: ptr(uint32(0o666))}, "owner": {uid: ptr(uint32(scratchUID))},
				"group": {gid: ptr(uint32(scratchUID))}, "time": {mtime: &unix.Timespec{Sec: 1}},
			} {
				b.want("SETATTR of "+what, b.call(b.c, 2, wire, s, false), statusPerm)
			}
			b.want("COMMIT", b.call(b.c, 21, wire, uint64(0), 0), statusOK)
			if after := snapshotOf(t, f); after != before {
				t.Errorf("the file is now %+v; want it as it was, %+v", after, before)
			}
			if st, data, _ := b.c.read(wire, 0, 100); st != statusOK || string(data) != "proved" {
				t.Errorf("READ = %v, %q; want OK, proved", st, data)
			}
			if n := openForWriting(t, f); n != 0 {
				t.Errorf("the server has the file open for writing %d times again; want 0", n)
			}
		})
	}
}

// TestRevokeWaits: a call that was permitted when the file was still the
// board's ends before Revoke does. Each is held where it has been permitted and
// has changed nothing yet.
func TestRevokeWaits(t *testing.T) {
	for name, in := range map[string]struct {
		proc uint32
		args []any
	}{
		"WRITE to memory": {7, []any{uint64(0), 6, unstable, "forged"}},
		"WRITE to disk":   {7, []any{uint64(0), 6, fileSync, "forged"}},
		"SETATTR of size": {2, []any{sattr{size: ptr(uint64(1))}, false}},
		"SETATTR of mode": {2, []any{sattr{mode: ptr(uint32(0o666))}, false}},
	} {
		t.Run(name, func(t *testing.T) {
			b := scratch(t, t.TempDir())
			wire := b.written("f", "proved")
			tr := b.s.exports.byPath["/scratch/1"]
			release := holdCalls(t, tr, b.path("f"))
			c := dial(t, b.s.addr)
			replied := make(chan struct{})
			go func() {
				defer close(replied)
				c.rpc(100003, 3, in.proc, args(append([]any{wire}, in.args...)...))
			}()
			waitUntil(t, "the call is held", func() bool { return tr.changing.running() == 1 })
			checkWaits(t, b, tr, b.taken("f"), release, replied)
		})
	}
}

// TestRevokeWaitsForRetired: also while the export in which the call runs has
// another in its place.
func TestRevokeWaitsForRetired(t *testing.T) {
	b := scratch(t, t.TempDir())
	wire := b.written("f", "proved")
	tr := b.s.exports.byPath["/scratch/1"]
	release := holdCalls(t, tr, b.path("f"))
	c := dial(t, b.s.addr)
	replied := make(chan struct{})
	go func() {
		defer close(replied)
		c.rpc(100003, 3, 7, args(wire, uint64(0), 6, unstable, "forged"))
	}()
	waitUntil(t, "the call is held", func() bool { return tr.changing.running() == 1 })
	exported := make(chan error, 1)
	go func() {
		e := scratchOf(b.dir)
		e.ReadOnly = true
		exported <- b.s.Export(e)
	}()
	waitUntil(t, "the export is another", func() bool {
		all := b.s.Exports()
		return len(all) == 1 && all[0].ReadOnly
	})
	checkWaits(t, b, tr, b.taken("f"), release, replied)
	if err := <-exported; err != nil {
		t.Error(err)
	}
}

// holdCalls keeps calls of tr from changing the file, or from syncing it, until
// release is called.
func holdCalls(t *testing.T, tr *tree, path string) (release func()) {
	t.Helper()
	o := &object{}
	o.attr.Ino = onDisk(t, path).Ino
	return tr.lock(o)
}

// checkWaits revokes f while a call is held.
func checkWaits(t *testing.T, b *bench, tr *tree, f *os.File, release func(), replied chan struct{}) {
	t.Helper()
	revoked := make(chan snapshot, 1)
	go func() {
		if err := b.s.Revoke(f); err != nil {
			t.Error(err)
		}
		revoked <- snapshotOf(t, f)
	}()
	waitUntil(t, "Revoke waits", func() bool { return len(revoked) == 1 || tr.changing.running() == 0 })
	if len(revoked) != 0 {
		t.Error("Revoke returns while a call that it permitted may change the file")
	}
	release()
	<-replied
	before := <-revoked
	if after := snapshotOf(t, f); after != before {
		t.Errorf("after Revoke a call made the file %+v; it was %+v", after, before)
	}
	if n := openForWriting(t, f); n != 0 {
		t.Errorf("the server has the file open for writing %d times; want 0", n)
	}
}

// running is how many calls have entered and not left since the last Revoke.
func (s *turnstile) running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return 0
	}
	return s.now.calls
}
