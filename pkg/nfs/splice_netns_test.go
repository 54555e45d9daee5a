//go:build netns

package nfs

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestReadSpliced reads through pipes what was written, of any size and from
// any offset, with calls before and after on the same connection.
func TestReadSpliced(t *testing.T) {
	dir := t.TempDir()
	want := make([]byte, 2*maxIO+minSplice+3)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(want)
	if err := os.WriteFile(filepath.Join(dir, "f"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	s, c, root := serveDir(t, dir)
	f, _ := c.lookup(root, "f")
	f = bytes.Clone(f)
	for _, offset := range []int{0, 1, pageSize - 1, minSplice, maxIO - 7, 2 * maxIO, len(want) - minSplice, len(want) - 5, len(want)} {
		for _, count := range []int{minSplice - 1, minSplice, minSplice + 1, 128<<10 + 2, maxIO - pageSize, maxIO} {
			end := min(offset+count, len(want))
			st, got, eof := c.read(f, uint64(offset), count)
			if st != statusOK || !bytes.Equal(got, want[offset:end]) || eof != (end == len(want)) {
				t.Errorf("READ of %d at %d = %v, %d bytes, eof %v; want bytes %d to %d", count, offset, st, len(got), eof, offset, end)
			}
			if a := c.getattr(f); a.size != uint64(len(want)) {
				t.Errorf("size %d after READ of %d at %d", a.size, count, offset)
			}
		}
	}
	if s.memory.Pipes() == 0 {
		t.Error("no pipe was used")
	}
}

// TestReadSplicedInABatch: a large reply stays whole among small ones, in
// whichever order they come.
func TestReadSplicedInABatch(t *testing.T) {
	dir := t.TempDir()
	want := bytes.Repeat([]byte("abcdefg"), 20000)
	if err := os.WriteFile(filepath.Join(dir, "f"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	_, c, root := serveDir(t, dir)
	f, _ := c.lookup(root, "f")
	f = bytes.Clone(f)
	var batch []byte
	reads := map[uint32]bool{} // by xid: a READ, or a GETATTR
	call := func(proc uint32, args []byte) {
		c.xid++
		reads[c.xid] = proc == 6
		batch = append(batch, c.message(100003, 3, proc, args)...)
	}
	for range 20 {
		call(1, args(f))
		call(6, args(f, uint64(7), 70000))
	}
	if _, err := c.conn.Write(batch); err != nil {
		t.Fatal(err)
	}
	for len(reads) > 0 {
		xid, d := c.reply()
		read, asked := reads[xid]
		if !asked {
			t.Fatalf("a reply to xid %d, which was not asked or is answered already", xid)
		}
		delete(reads, xid)
		d.Take(5 * 4)
		if !read {
			if s, a := status(d.Uint32()), d.fattr(); s != statusOK || a.size != uint64(len(want)) || d.Bad {
				t.Fatalf("GETATTR = %v, size %d", s, a.size)
			}
		} else if s, a := status(d.Uint32()), d.postAttr(); s != statusOK || a == nil || d.Uint32() != 70000 || d.Bool() || !bytes.Equal(d.Opaque(maxIO), want[7:70007]) {
			t.Fatalf("READ = %v, or other bytes than were written", s)
		}
	}
}
