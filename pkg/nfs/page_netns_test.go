//go:build netns

package nfs

import (
	"bytes"
	"os"
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

// rest waits until a directory is at rest, and lists it, so that there is a
// page of it.
func (b *bench) rest(name string, dir []byte) {
	b.Helper()
	o := &object{}
	for deadline := time.Now().Add(time.Minute); ; {
		if err := unix.Statx(unix.AT_FDCWD, b.path(name), 0, unix.STATX_BASIC_STATS, &o.attr); err != nil {
			b.Fatal(err)
		}
		if o.quiescent() {
			b.list(b.c, dir)
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s does not come to rest", name)
		}
		<-time.After(quietTime / 10)
	}
}

// wantListed compares what a listing says of a name with what LOOKUP says.
func (b *bench) wantListed(what string, dir []byte, name string) {
	b.Helper()
	got := b.list(b.c, dir)[name]
	handle, attr := b.c.lookup(dir, name)
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

// TestListingOfQuiescentDirectory: what is kept of a directory is never wrong, whoever
// changes it.
func TestListingOfQuiescentDirectory(t *testing.T) {
	fileSystems(t, func(b *bench) {
		b.want("MKDIR", b.call(b.c, 9, b.root, "d", sattr{mode: ptr(uint32(0o754))}), statusOK)
		dir, _ := b.c.lookup(b.root, "d")
		dir = bytes.Clone(dir)
		for _, name := range []string{"a", "b", "c"} {
			b.c.create(dir, name, 0o644)
		}
		b.rest("d", dir)
		a, _ := b.c.lookup(dir, "a")
		b.want("SETATTR", b.call(b.c, 2, a, sattr{mode: ptr(uint32(0o600))}, false), statusOK)
		b.wantListed("chmod by a client", dir, "a")
		b.list(b.c, dir)
		b.want("WRITE", b.c.write(a, 0, unstable, []byte("longer")), statusOK)
		b.wantListed("writing by a client", dir, "a")
		if got := b.list(b.c.user(1001, 1001), dir)["a"]; got.attr != nil || got.handle != nil {
			b.Error("who may not search the directory sees more than names")
		}

		b.list(b.c, dir)
		b.locally(os.Rename(b.path("d/c"), b.path("d/a")))
		b.locally(os.Remove(b.path("d/b")))
		b.locally(os.WriteFile(b.path("d/b"), nil, 0o644)) // most likely of the same inode number
		for _, name := range []string{"a", "b"} {
			b.wantListed("just changed at this machine", dir, name)
		}
		b.rest("d", dir)
		for _, name := range []string{"a", "b"} {
			b.wantListed("changed at this machine, at rest again", dir, name)
		}

		b.locally(os.Truncate(b.path("d/b"), 4711))
		for deadline := time.Now().Add(time.Minute); b.list(b.c, dir)["b"].attr.size != 4711; {
			if time.Now().After(deadline) {
				b.Fatal("a change made at this machine does not show")
			}
			<-time.After(pageTime / 10)
		}
	})
}

// TestListingIsRepeated: a directory at rest is listed from memory.
func TestListingIsRepeated(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	b.c.create(b.root, "f", 0o644)
	b.rest(".", b.root)
	first := b.s.Server.pages.young[pageKey{string(b.root), 0}]
	if first == nil {
		t.Fatal("no page is kept of a directory at rest")
	}
	b.want("SETATTR", b.call(b.c, 2, b.root, sattr{}, false), statusOK) // the attributes are not good any more
	b.list(b.c, b.root)
	second := b.s.Server.pages.young[pageKey{string(b.root), 0}]
	if second == first || !bytes.Equal(second.entries[0].wire, first.entries[0].wire) {
		t.Error("the page was not filled again from what it knows")
	}
}

// TestPagesAreBounded: the pages that are kept do not grow without end.
func TestPagesAreBounded(t *testing.T) {
	var c pageCache
	for i := range uint64(100) {
		p := &page{out: make([]byte, maxPages/16)}
		c.keepLocked(pageKey{"d", i}, p)
		if c.young[pageKey{"d", i}] != p {
			t.Fatal("what was kept last is not there")
		}
		if n := len(c.young) + len(c.old); n > 16 {
			t.Fatalf("%d pages are kept; want 16 at most", n)
		}
	}
}
