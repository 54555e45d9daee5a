//go:build netns

package nfs

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A hostileTree has a file of each kind, as a bench for hostile calls.
type hostileTree struct {
	*bench
	file, dir, link, chr, fifo, deleted, foreign, forged []byte
}

func newHostileTree(b *bench) *hostileTree {
	h := &hostileTree{bench: b}
	h.file = b.c.create(b.root, "file", 0o644)
	b.want("WRITE", b.c.write(h.file, 0, unstable, []byte("content")), statusOK)
	b.want("MKDIR", b.call(b.c, 9, b.root, "dir", sattr{mode: ptr(uint32(0o755))}), statusOK)
	b.want("SYMLINK", b.call(b.c, 10, b.root, "link", sattr{}, "/etc"), statusOK)
	b.want("MKNOD", b.call(b.c, 11, b.root, "chr", typeChr, sattr{}, 1, 5), statusOK) // /dev/zero
	b.want("MKNOD", b.call(b.c, 11, b.root, "fifo", typeFIFO, sattr{}), statusOK)
	for name, at := range map[string]*[]byte{"dir": &h.dir, "link": &h.link, "chr": &h.chr, "fifo": &h.fifo} {
		wire, _ := b.c.lookup(b.root, name)
		*at = bytes.Clone(wire)
	}
	h.deleted = b.c.create(b.root, "deleted", 0o644)
	b.want("REMOVE", b.call(b.c, 12, b.root, "deleted"), statusOK)
	mustExport(b.T, b.s.Server, Export{ID: 9, Path: "/foreign", Dir: b.TempDir(), Clients: []netip.Addr{stranger}})
	h.foreign = bytes.Clone(dialFrom(b.T, stranger, b.s.addr).mustMount("/foreign"))
	h.forged = bytes.Clone(b.root)
	h.forged[len(h.forged)-1] ^= 1
	return h
}

// TestHostileCalls: calls that no honest client makes, and what each gets.
func TestHostileCalls(t *testing.T) {
	h := newHostileTree(newBench(t, tmpfs(t)))
	long, far := strings.Repeat("n", maxName+1), uint64(math.MaxUint64)
	mode := func(m uint32) sattr { return sattr{mode: &m} }
	for _, tt := range []struct {
		name string
		proc uint32
		args []any
		want status
	}{
		{"SETATTR, size of a device", 2, []any{h.chr, sattr{size: ptr(uint64(0))}, false}, statusInval},
		{"SETATTR, size of a FIFO", 2, []any{h.fifo, sattr{size: ptr(uint64(0))}, false}, statusInval},
		{"SETATTR, size beyond all", 2, []any{h.file, sattr{size: &far}, false}, statusFBig},
		{"SETATTR, mode with a file type", 2, []any{h.file, mode(unix.S_IFDIR | 0o644), false}, statusOK},
		{"SETATTR, no user", 2, []any{h.file, sattr{uid: ptr(invalidID), gid: ptr(invalidID)}, false}, statusOK},
		{"LOOKUP, path", 3, []any{h.root, "dir/../file"}, statusInval},
		{"LOOKUP, absolute", 3, []any{h.root, "/etc/passwd"}, statusInval},
		{"LOOKUP, NUL", 3, []any{h.root, "file\x00"}, statusInval},
		{"LOOKUP, .. of the root is the root", 3, []any{h.root, ".."}, statusOK},
		{"LOOKUP through a link", 3, []any{h.link, "passwd"}, statusNotDir},
		{"LOOKUP through a device", 3, []any{h.chr, "x"}, statusNotDir},
		{"LOOKUP, long", 3, []any{h.root, long}, statusNameTooLong},
		{"ACCESS, all bits", 4, []any{h.file, int(-1 & math.MaxUint32)}, statusOK},
		{"READLINK of a device", 5, []any{h.chr}, statusInval},
		{"READ of /dev/zero", 6, []any{h.chr, uint64(0), 4096}, statusInval},
		{"READ of a FIFO", 6, []any{h.fifo, uint64(0), 4096}, statusInval},
		{"READ of a link", 6, []any{h.link, uint64(0), 4096}, statusInval},
		{"READ, four gigabytes", 6, []any{h.file, uint64(0), math.MaxUint32}, statusOK},
		{"READ, at the end of all", 6, []any{h.file, far, math.MaxUint32}, statusOK},
		{"WRITE to /dev/zero", 7, []any{h.chr, uint64(0), 1, fileSync, "x"}, statusInval},
		{"WRITE to a directory", 7, []any{h.dir, uint64(0), 1, fileSync, "x"}, statusIsDir},
		{"WRITE, at the end of all", 7, []any{h.file, far, 1, fileSync, "x"}, statusFBig},
		{"CREATE in a link", 8, []any{h.link, "x", guarded, sattr{}}, statusNotDir},
		{"CREATE over a device", 8, []any{h.root, "chr", unchecked, sattr{size: ptr(uint64(0))}}, statusExist},
		{"CREATE over a link", 8, []any{h.root, "link", unchecked, sattr{size: ptr(uint64(0))}}, statusExist},
		{"CREATE, size beyond all", 8, []any{h.root, "big", guarded, sattr{size: &far}}, statusFBig},
		{"MKDIR, long", 9, []any{h.root, long, sattr{}}, statusNameTooLong},
		{"MKDIR in a file", 9, []any{h.file, "x", sattr{}}, statusNotDir},
		{"SYMLINK, target with a NUL", 10, []any{h.root, "nul", sattr{}, "a\x00b"}, statusInval},
		{"SYMLINK, target of 4096 bytes", 10, []any{h.root, "long", sattr{}, strings.Repeat("x", maxString)}, statusNameTooLong},
		{"MKNOD of a directory", 11, []any{h.root, "d", typeDir, sattr{}}, statusBadType},
		{"MKNOD of kind 99", 11, []any{h.root, "d", 99}, statusBadType},
		{"REMOVE, ..", 12, []any{h.dir, ".."}, statusIsDir},
		{"REMOVE, path", 12, []any{h.dir, "../file"}, statusInval},
		{"RMDIR, ..", 13, []any{h.dir, ".."}, statusExist},
		{"RENAME over the parent", 14, []any{h.root, "file", h.dir, ".."}, statusInval},
		{"RENAME into itself", 14, []any{h.root, "dir", h.dir, "x"}, statusInval},
		{"RENAME into another's export", 14, []any{h.root, "file", h.foreign, "x"}, statusAcces},
		{"LINK into another's export", 15, []any{h.file, h.foreign, "x"}, statusAcces},
		{"LINK of a directory", 15, []any{h.dir, h.root, "x"}, statusPerm},
		{"READDIR of a device", 16, []any{h.chr, uint64(0), uint64(0), 4096}, statusNotDir},
		{"READDIR into nothing", 16, []any{h.root, uint64(0), uint64(0), 0}, statusTooSmall},
		{"READDIR, negative cookie", 16, []any{h.root, far, uint64(0), 4096}, statusBadCookie},
		{"READDIRPLUS, negative cookie", 17, []any{h.root, far, uint64(0), 4096, 4096}, statusBadCookie},
		{"READDIR, stale verifier", 16, []any{h.root, uint64(1), uint64(7), 4096}, statusBadCookie},
		{"READDIRPLUS, stale verifier", 17, []any{h.root, uint64(1), uint64(7), 4096, 4096}, statusBadCookie},
		{"READDIR from the start, stale verifier", 16, []any{h.root, uint64(0), uint64(7), 4096}, statusOK},
		{"READDIRPLUS into nothing", 17, []any{h.root, uint64(0), uint64(0), 0, 0}, statusTooSmall},
		{"COMMIT of a directory", 21, []any{h.dir, uint64(0), 0}, statusInval},
		{"COMMIT beyond all", 21, []any{h.file, far, math.MaxUint32}, statusOK},
	} {
		h.want(tt.name, h.call(h.c, tt.proc, tt.args...), tt.want)
	}
	h.badHandles()
	if st := onDisk(t, h.path("file")); st.Mode != unix.S_IFREG|0o644 || st.Uid != 0 || st.Size != 7 {
		t.Errorf("the file is %+v; want it as it was", st)
	}
	entries, err := os.ReadDir(h.dirPath())
	if err != nil || len(entries) != 5 {
		t.Errorf("the export has %v, %v; want the five files that were made", entries, err)
	}
}

func (h *hostileTree) dirPath() string { return h.bench.dir }

// badHandles: every procedure looks at every handle that it gets.
func (h *hostileTree) badHandles() {
	for _, bad := range []struct {
		name string
		wire []byte
		want status
	}{
		{"empty", nil, statusBadHandle},
		{"of 64 bytes", bytes.Repeat([]byte{1}, maxHandle), statusBadHandle},
		{"forged", h.forged, statusBadHandle},
		{"cut", h.root[:len(h.root)-1], statusBadHandle},
		{"of another's export", h.foreign, statusAcces},
		{"of a deleted file", h.deleted, statusStale},
	} {
		for proc, rest := range map[uint32][]any{
			1: {}, 2: {sattr{}, false}, 3: {"x"}, 4: {63}, 5: {}, 6: {uint64(0), 1}, 7: {uint64(0), 1, fileSync, "x"},
			8: {"x", guarded, sattr{}}, 9: {"x", sattr{}}, 10: {"x", sattr{}, "y"}, 11: {"x", typeFIFO, sattr{}},
			12: {"x"}, 13: {"x"}, 14: {"x", h.root, "y"}, 15: {h.root, "y"}, 16: {uint64(0), uint64(0), 4096},
			17: {uint64(0), uint64(0), 4096, 4096}, 18: {}, 19: {}, 20: {}, 21: {uint64(0), 0},
		} {
			h.want(fmt.Sprintf("procedure %d, handle %s", proc, bad.name), h.call(h.c, proc, append([]any{bad.wire}, rest...)...), bad.want)
		}
		h.want("RENAME to a handle "+bad.name, h.call(h.c, 14, h.root, "file", bad.wire, "y"), bad.want)
		h.want("LINK to a handle "+bad.name, h.call(h.c, 15, h.file, bad.wire, "y"), bad.want)
	}
}
