//go:build netns

package nfs

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

// entries lists a directory from a cookie on, by calls of at most count bytes,
// and runs between after each.
func (b *bench) entries(proc uint32, dir []byte, count int, between func(round int)) map[string]int {
	b.Helper()
	seen := map[string]int{}
	cookie, eof := uint64(0), false
	for round := 0; !eof; round++ {
		all := []any{dir, cookie, uint64(0), count}
		if proc == 17 {
			all = []any{dir, cookie, uint64(0), count / 4, count}
		}
		s, d := b.c.nfs(proc, all...)
		if s != statusOK {
			b.Fatalf("READDIR = %v; want OK", s)
		}
		if 4+len(d.Buf) > count {
			b.Errorf("a result has %d bytes; want at most %d", 4+len(d.Buf), count)
		}
		d.postAttr()
		d.Uint64()
		for d.Bool() {
			id, name := d.Uint64(), string(d.Opaque(maxName))
			cookie = d.Uint64()
			seen[name]++
			if proc == 17 {
				b.entryPlus(d, id, name)
			}
		}
		if eof = d.Bool(); d.Bad || len(d.Buf) != 0 {
			b.Fatal("READDIR result is malformed")
		}
		if round > 10000 {
			b.Fatal("READDIR does not end")
		}
		between(round)
	}
	return seen
}

func (b *bench) entryPlus(d *decoder, id uint64, name string) {
	b.Helper()
	a := d.postAttr()
	if a == nil || !d.Bool() || a.fileID != id {
		b.Fatalf("entry %q has no attributes, no handle or another file id", name)
	}
	if wire := d.handle(); len(wire) == 0 {
		b.Errorf("entry %q has an empty handle", name)
	}
}

func TestReaddir(t *testing.T) {
	const files = 700
	fileSystems(t, func(b *bench) {
		for i := range files {
			if err := os.WriteFile(b.path(fmt.Sprintf("file%04d", i)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
		for _, proc := range []uint32{16, 17} {
			for _, count := range []int{600, 4096, 32768, 1 << 20} {
				seen := b.entries(proc, b.root, count, func(int) {})
				if len(seen) != files+2 {
					b.Errorf("procedure %d by %d bytes: %d entries; want %d", proc, count, len(seen), files+2)
				}
				for name, n := range seen {
					if n != 1 {
						b.Errorf("procedure %d by %d bytes: %q comes %d times", proc, count, name, n)
					}
				}
			}
			s, _ := b.c.nfs(proc, b.root, uint64(0), uint64(0), 100, 100)
			b.want("READDIR into 100 bytes", s, statusTooSmall)
		}
	})
}

// TestReaddirWhileItChanges: what is there from beginning to end comes once.
func TestReaddirWhileItChanges(t *testing.T) {
	fileSystems(t, func(b *bench) {
		for i := range 300 {
			for _, kind := range []string{"stay", "go"} {
				if err := os.WriteFile(b.path(fmt.Sprintf("%s%04d", kind, i)), nil, 0o644); err != nil {
					b.Fatal(err)
				}
			}
		}
		seen := b.entries(16, b.root, 1000, func(round int) {
			_ = os.Remove(b.path(fmt.Sprintf("go%04d", round)))
			if round < 300 {
				b.c.create(b.root, fmt.Sprintf("new%04d", round), 0o644)
			}
		})
		for i := range 300 {
			if n := seen[fmt.Sprintf("stay%04d", i)]; n != 1 {
				b.Errorf("stay%04d comes %d times; want once", i, n)
			}
		}
	})
}

// TestReaddirResumes: a cookie is good after a restart.
func TestReaddirResumes(t *testing.T) {
	fileSystems(t, func(b *bench) {
		for i := range 100 {
			if err := os.WriteFile(b.path(fmt.Sprintf("f%d", i)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
		restarted := false
		seen := b.entries(16, b.root, 1500, func(int) {
			if restarted {
				return
			}
			restarted = true
			b.s.stop()
			var root []byte
			if b.s, b.c, root = serveDir(b.T, b.dir); !bytes.Equal(root, b.root) {
				b.Error("the root has another handle")
			}
		})
		if len(seen) != 102 {
			b.Errorf("%d entries; want 102", len(seen))
		}
	})
}

// TestReaddirHidesTheParent: ".." of the root is the root.
func TestReaddirHidesTheParent(t *testing.T) {
	b := &bench{T: t, dir: t.TempDir()}
	b.s, b.c, b.root = serveDir(t, b.dir)
	_, d := b.c.nfs(16, b.root, uint64(0), uint64(0), 4096)
	d.postAttr()
	d.Uint64()
	for d.Bool() {
		if id, name := d.Uint64(), string(d.Opaque(maxName)); id != b.c.getattr(b.root).fileID {
			t.Errorf("entry %q has file id %d; want the root's", name, id)
		}
		d.Uint64()
	}
}
