//go:build netns

package nfs

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A listedEntry is what READDIRPLUS says of a name.
type listedEntry struct {
	attr   *fattr
	handle []byte
}

// list lists a directory that fits into one result.
func (b *bench) list(c *rawClient, dir []byte) map[string]listedEntry {
	b.Helper()
	s, d := c.nfs(17, dir, uint64(0), uint64(0), 8192, 32768)
	if s != statusOK {
		b.Fatalf("READDIRPLUS = %v; want OK", s)
	}
	d.postAttr()
	d.Uint64()
	all := map[string]listedEntry{}
	for d.Bool() {
		d.Uint64()
		name := string(d.Opaque(maxName))
		d.Uint64()
		l := listedEntry{attr: d.postAttr()}
		if d.Bool() {
			l.handle = bytes.Clone(d.handle())
		}
		all[name] = l
	}
	if !d.Bool() || d.Bad {
		b.Fatal("the result is malformed or not the whole directory")
	}
	return all
}

// wantListed compares what a listing says of a name with what LOOKUP says.
func (b *bench) wantListed(what string, dir []byte, name string) {
	b.Helper()
	got := b.list(b.c, dir)[name]
	handle, attr := b.c.lookup(dir, name)
	if got.attr != nil {
		got.attr.used = attr.used // changes when the file system finds a place for what was written
	}
	if !bytes.Equal(got.handle, handle) {
		b.Errorf("%s: the listing has another handle of %s than LOOKUP", what, name)
	}
	if got.attr == nil || *got.attr != attr {
		b.Errorf("%s: the listing says %+v of %s; LOOKUP %+v", what, got.attr, name, attr)
	}
}

func (b *bench) locally(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// makeListed makes a directory d with the files a, b and c, and lists it.
func (b *bench) makeListed() (dir []byte) {
	b.Helper()
	b.want("MKDIR", b.call(b.c, 9, b.root, "d", sattr{mode: ptr(uint32(0o754))}), statusOK)
	wire, _ := b.c.lookup(b.root, "d")
	dir = bytes.Clone(wire)
	for _, name := range []string{"a", "b", "c"} {
		b.c.create(dir, name, 0o644)
	}
	b.list(b.c, dir)
	return dir
}

// TestListingShowsChanges: a listing has every change that was made before it, whoever made it.
func TestListingShowsChanges(t *testing.T) {
	fileSystems(t, func(b *bench) {
		dir := b.makeListed()
		a, _ := b.c.lookup(dir, "a")
		a = bytes.Clone(a)
		check := func(what string) {
			b.Helper()
			names, err := os.ReadDir(b.path("d"))
			if n := len(b.list(b.c, dir)); err != nil || n != len(names)+2 {
				b.Errorf("%s: the listing has %d entries; want %d, . and ..", what, n, len(names))
			}
			for _, e := range names {
				b.wantListed(what, dir, e.Name())
			}
			b.list(b.c, dir) // the next change is one of what the cache has
		}
		client := func(what string, s status) { b.Helper(); b.want(what, s, statusOK); check(what + " by a client") }
		client("SETATTR", b.call(b.c, 2, a, sattr{mode: ptr(uint32(0o600))}, false))
		client("UNSTABLE WRITE", b.c.write(a, 0, unstable, []byte("longer")))
		client("FILE_SYNC WRITE", b.c.write(a, 6, fileSync, []byte("still")))
		client("LINK", b.call(b.c, 15, a, b.root, "link"))
		client("REMOVE of a link", b.call(b.c, 12, b.root, "link"))
		b.want("RENAME", b.call(b.c, 14, dir, "c", dir, "b"), statusOK)
		b.c.create(dir, "c", 0o644)
		check("RENAME and CREATE by a client")

		here := func(what string, err error) { b.Helper(); b.locally(err); check(what + " at this machine") }
		here("chmod", os.Chmod(b.path("d/a"), 0o640))
		here("chown", os.Chown(b.path("d/a"), 7, 7))
		here("writing", os.WriteFile(b.path("d/a"), []byte("content"), 0o644))
		here("truncating", os.Truncate(b.path("d/b"), 4711))
		here("times", os.Chtimes(b.path("d/b"), time.Unix(1, 0), time.Unix(2, 0)))
		here("linking", os.Link(b.path("d/a"), b.path("link")))
		here("writing by another name", os.WriteFile(b.path("link"), []byte("other content"), 0o644))
		here("removing another name", os.Remove(b.path("link")))
		b.locally(os.Rename(b.path("d/c"), b.path("d/a")))
		here("renaming and making anew", os.WriteFile(b.path("d/c"), nil, 0o600))
		b.locally(os.Remove(b.path("d/b")))
		here("replacing", os.WriteFile(b.path("d/b"), nil, 0o644)) // most likely of the same inode number
		here("removing", os.Remove(b.path("d/c")))
		here("making a directory", os.Mkdir(b.path("d/c"), 0o700))
		here("making a directory in it", os.Mkdir(b.path("d/c/e"), 0o700))
		entries, _ := b.c.lookup(dir, "c")
		b.list(b.c, bytes.Clone(entries)) // which may change its time of access
		check("listing by a client")
		data, _ := b.c.lookup(dir, "b")
		b.locally(os.WriteFile(b.path("d/b"), []byte("unread"), 0o644))
		b.list(b.c, dir)
		b.c.read(bytes.Clone(data), 0, 10) // likewise
		check("READ by a client")
		b.locally(os.Truncate(b.path("d/a"), 100))
		here("mapping", writeMapped(b.path("d/a"), 100, func() { b.list(b.c, dir) }))
		if got := b.list(b.c.user(1001, 1001), dir)["a"]; got.attr != nil || got.handle != nil {
			b.Error("who may not search the directory sees more than names")
		}
	})
}

// writeMapped writes the last byte of a file through a memory mapping, once the file is open and
// before has run.
func writeMapped(name string, size int, before func()) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	before()
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	m[size-1] = 'x'
	return unix.Munmap(m)
}

// pageOf returns what the cache has of dir from its beginning.
func (b *bench) pageOf(dir []byte) *page {
	b.Helper()
	_, fh, err := openHandle(b.s.handles, dir)
	if err != nil {
		b.Fatal(err)
	}
	c := &b.s.attrs
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pages[string(appendHandleKey(nil, fh.Type(), fh.Bytes()))][pageKey{b.s.exports.at("/roots/1"), 0}]
}

// TestListingIsRepeated: the cache is used, and a changed file costs only itself.
func TestListingIsRepeated(t *testing.T) {
	for _, fs := range allFileSystems() {
		if fs.name == "overlay" {
			continue // for a second, and not by every kernel
		}
		t.Run(fs.name, func(t *testing.T) {
			b := newBench(t, emptyDir(t, fs.mount(t)))
			dir := b.makeListed()
			b.list(b.c, dir) // the first may have changed the directory's time of access
			first := b.pageOf(dir)
			if first == nil {
				t.Fatal("the cache has nothing of a directory that was listed")
			}
			if b.list(b.c, dir); b.pageOf(dir) != first {
				t.Error("the directory was listed anew though nothing has changed")
			}
			b.locally(os.Chmod(b.path("d/a"), 0o640))
			b.list(b.c, dir)
			for i, e := range b.pageOf(dir).entries {
				if same := e.file == first.entries[i].file; e.file != nil && same == (string(e.name) == "a") {
					t.Errorf("after a change of a, %s is the same as before: %v", e.name, same)
				}
			}
			b.locally(os.WriteFile(b.path("d/new"), nil, 0o600))
			if b.list(b.c, dir)["new"].attr == nil {
				t.Error("the listing lacks a file that was just made at this machine")
			}
		})
	}
}

// TestListingAfterManyChanges: more changes than the kernel remembers are not missed.
func TestListingAfterManyChanges(t *testing.T) {
	b := newBench(t, tmpfs(t))
	dir := b.makeListed()
	const queue = 16384 // of a fanotify group
	for i := range queue + 1 {
		b.locally(os.WriteFile(b.path(strconv.Itoa(i)), nil, 0o600))
	}
	b.locally(os.Chmod(b.path("d/a"), 0o600))
	b.wantListed("after many changes", dir, "a")
}

// TestListingIsNeverOlder: with several clients that write and list at the same time, no listing
// has a size that is older than the last WRITE that was answered before.
func TestListingIsNeverOlder(t *testing.T) {
	b := newBench(t, t.TempDir())
	dir := b.makeListed()
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		wire, _ := b.c.lookup(dir, name)
		wire = bytes.Clone(wire)
		c, other := dial(t, b.s.addr), dial(t, b.s.addr)
		all.Go(func() {
			for size := range uint64(200) {
				c.write(wire, size, unstable, []byte{'x'})
				if got := b.list(other, dir)[name].attr; got == nil || got.size != size+1 {
					t.Errorf("the listing says %+v of %s; want size %d", got, name, size+1)
				}
			}
		})
	}
	all.Wait()
}

// TestListingEndsWithItsExport: what was listed in an export is not shown in its successor.
func TestListingEndsWithItsExport(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.makeListed()
	old := b.s.exports.at("/roots/1")
	b.locally(b.s.Export(old.export))
	c := &b.s.attrs
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.files) > 0 || len(c.pages) > 0 || len(c.watched) > 0 {
		t.Errorf("the cache has %d files and %d pages of an export that has ended", len(c.files), len(c.pages))
	}
}

// TestCacheIsBounded: the cache does not grow without end.
func TestCacheIsBounded(t *testing.T) {
	var c attrCache
	c.open = true
	c.emptyLocked()
	dir := &object{tree: &tree{}, fh: unix.NewFileHandle(1, []byte{1})}
	for i := range uint64(2 * maxCached / 100) {
		c.keep(dir, i, &page{entries: make([]entry, 50)}, c.clock)
		file := &cachedFile{key: fileKey{dir.tree, i}, handle: strconv.FormatUint(i, 10)}
		c.enter([]*cachedFile{file}, c.clock)
		if c.files[file.key] != file && len(c.files) > 0 {
			t.Fatal("what was listed last is not there")
		}
		if n := len(c.files) + c.names; n > maxCached {
			t.Fatalf("%d files and names are cached; want %d at most", n, maxCached)
		}
	}
}
