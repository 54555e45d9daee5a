//go:build netns

package nfs

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const muxerUID = 1899999999

// muxerBench exports a directory of videos, which everybody on this machine may
// change, to a muxer.
func muxerBench(t *testing.T, dir string) *bench {
	t.Helper()
	err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "videos/more"), 0o755), os.Mkdir(filepath.Join(dir, "videos/dir"), 0o777),
		os.WriteFile(filepath.Join(dir, "videos/film.mp4"), []byte("original"), 0o666),
		os.WriteFile(filepath.Join(dir, "videos/more/film.mkv"), []byte("original"), 0o644),
		os.Mkdir(filepath.Join(dir, "videos/old.mp4.hls"), 0o777),
		os.WriteFile(filepath.Join(dir, "videos/old.mp4.hls/master.m3u8"), []byte("original"), 0o666),
		os.WriteFile(filepath.Join(dir, "videos/old.mp4"), []byte("original"), 0o666),
		os.Symlink("film.mp4", filepath.Join(dir, "videos/link.mp4")),
		os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, "videos"), 0o777),
	)
	for _, name := range []string{"film.mp4", "dir", "old.mp4.hls", "old.mp4.hls/master.m3u8"} { // whatever the umask is
		err = errors.Join(err, os.Chmod(filepath.Join(dir, "videos", name), 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, dir: dir, s: serve(t, &Server{Key: testKey()})}
	mustExport(t, b.s.Server, Export{
		ID: 1, Path: "/muxer", Dir: dir, Only: "videos", Clients: []netip.Addr{loopback},
		Squash: AllSquash, AnonUID: muxerUID, AnonGID: muxerUID, StreamDirs: true,
	})
	b.c = dial(t, b.s.addr)
	top := bytes.Clone(b.c.mustMount("/muxer"))
	videos, _ := b.c.lookup(top, "videos")
	b.root = bytes.Clone(videos)
	return b
}

// made is a call that makes something, and its handle.
func (b *bench) made(proc uint32, all ...any) []byte {
	b.Helper()
	s, d := b.c.nfs(proc, all...)
	if s != statusOK || !d.Bool() {
		b.Fatalf("procedure %d = %v; want OK and a handle", proc, s)
	}
	return bytes.Clone(d.handle())
}

// treeOf is all that is below a directory, for what must not change.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		st := onDisk(t, path)
		fmt.Fprintf(&all, "%s %v %d:%d %d %v %v\n", path, info.Mode(), st.Uid, st.Gid, st.Nlink, st.Mtim, st.Ctim)
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			fmt.Fprintf(&all, "%q %v\n", content, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestStreamDirs: a muxer makes the stream of a source beside it, works in it
// as it likes, and removes it.
func TestStreamDirs(t *testing.T) {
	for _, fs := range allFileSystems() {
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			b := muxerBench(t, emptyDir(t, fs.mount(t)))
			for name, in := range map[string]string{"film.mp4": "videos", "film.mkv": "videos/more"} {
				parent := b.root
				if in == "videos/more" {
					wire, _ := b.c.lookup(b.root, "more")
					parent = bytes.Clone(wire)
				}
				stream := b.made(9, parent, name+".hls", sattr{mode: ptr(uint32(0o755))})
				path := filepath.Join(b.dir, in, name+".hls")
				if st := onDisk(t, path); st.Uid != muxerUID || st.Gid != muxerUID || st.Mode != unix.S_IFDIR|0o755 {
					t.Errorf("the stream's directory has owner %d:%d, mode %o; want the muxer's, 755", st.Uid, st.Gid, st.Mode)
				}
				b.want("MKDIR again", b.call(b.c, 9, parent, name+".hls", sattr{}), statusExist)
				sub := b.made(9, stream, "720p", sattr{mode: ptr(uint32(0o700))})
				f := b.c.create(sub, "segment.tmp", 0o600)
				b.want("WRITE", b.c.write(f, 0, unstable, []byte("segment")), statusOK)
				b.want("COMMIT", b.call(b.c, 21, f, uint64(0), 0), statusOK)
				b.want("SETATTR of mode", b.call(b.c, 2, f, sattr{mode: ptr(uint32(0o644))}, false), statusOK)
				b.want("SETATTR of size", b.call(b.c, 2, f, sattr{size: ptr(uint64(3))}, false), statusOK)
				b.want("RENAME", b.call(b.c, 14, sub, "segment.tmp", stream, "segment.ts"), statusOK)
				if got, err := os.ReadFile(path + "/segment.ts"); err != nil || string(got) != "seg" {
					t.Errorf("the segment has %q, %v; want seg", got, err)
				}
				b.want("RMDIR of what is not empty", b.call(b.c, 13, parent, name+".hls"), statusNotEmpty)
				b.want("REMOVE", b.call(b.c, 12, stream, "segment.ts"), statusOK)
				b.want("RMDIR below", b.call(b.c, 13, stream, "720p"), statusOK)
				b.want("RMDIR", b.call(b.c, 13, parent, name+".hls"), statusOK)
				gone(t, path)
			}
			if got, _ := b.c.lookup(b.root, "film.mp4"); got == nil {
				t.Error("the original cannot be seen")
			}
		})
	}
}

// TestStreamDirsKeepOriginals: whatever else a muxer tries, also where modes
// would allow it, nothing that it has not made changes.
func TestStreamDirsKeepOriginals(t *testing.T) {
	for _, fs := range allFileSystems() {
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			m := newMuxerTree(muxerBench(t, emptyDir(t, fs.mount(t))))
			before := treeOf(t, m.dir)
			for what, got := range m.outside() {
				if got != statusAcces {
					t.Errorf("%s = %v; want %v", what, got, statusAcces)
				}
			}
			for what, got := range m.inside() {
				m.want(what, got, statusPerm)
			}
			if after := treeOf(t, m.dir); after != before {
				t.Errorf("what there was\n%s\nis now\n%s", before, after)
			}
			for what, wire := range map[string][]byte{"an original": m.film, "another's stream": m.old} {
				_, d := m.c.nfs(4, wire, accessModify|accessExtend|accessDelete|accessRead)
				if d.postAttr(); d.Uint32() != accessRead {
					t.Errorf("ACCESS to %s grants more than reading", what)
				}
			}
			if s, data, _ := m.c.read(m.film, 0, 100); s != statusOK || string(data) != "original" {
				t.Errorf("READ of an original = %v, %q", s, data)
			}
		})
	}
}

// A muxerTree has the handles of what a muxer finds, and of a stream with a file that it has made.
type muxerTree struct {
	*bench
	film, free, old, master []byte
	own, mine               []byte
}

func newMuxerTree(b *bench) *muxerTree {
	m := &muxerTree{bench: b}
	m.own = b.made(9, b.root, "film.mp4.hls", sattr{mode: ptr(uint32(0o777))})
	m.mine = b.c.create(m.own, "mine", 0o666)
	find := func(dir []byte, name string) []byte {
		wire, _ := b.c.lookup(dir, name)
		return bytes.Clone(wire)
	}
	m.film, m.free, m.old = find(b.root, "film.mp4"), find(b.root, "dir"), find(b.root, "old.mp4.hls")
	m.master = find(m.old, "master.m3u8")
	return m
}

// outside tries to change what is not the muxer's.
func (m *muxerTree) outside() map[string]status {
	b, mode := m.bench, sattr{mode: ptr(uint32(0o777))}
	return map[string]status{
		"WRITE to an original":            b.call(b.c, 7, m.film, uint64(0), 1, fileSync, "x"),
		"WRITE to another's stream":       b.call(b.c, 7, m.master, uint64(0), 1, fileSync, "x"),
		"SETATTR of an original":          b.call(b.c, 2, m.film, mode, false),
		"SETATTR of its size":             b.call(b.c, 2, m.film, sattr{size: ptr(uint64(0))}, false),
		"SETATTR of a directory":          b.call(b.c, 2, b.root, mode, false),
		"CREATE of another":               b.call(b.c, 8, b.root, "new", guarded, mode),
		"CREATE of a stream":              b.call(b.c, 8, b.root, "old.mp4.hls", guarded, mode),
		"CREATE over an original":         b.call(b.c, 8, b.root, "film.mp4", unchecked, sattr{size: ptr(uint64(0))}),
		"CREATE in a free directory":      b.call(b.c, 8, m.free, "new", guarded, mode),
		"CREATE in another's stream":      b.call(b.c, 8, m.old, "new", guarded, mode),
		"MKDIR of another name":           b.call(b.c, 9, b.root, "new", mode),
		"MKDIR without a source":          b.call(b.c, 9, b.root, "none.mp4.hls", mode),
		"MKDIR of no name":                b.call(b.c, 9, b.root, ".hls", mode),
		"MKDIR beside nothing":            b.call(b.c, 9, b.root, "..hls", mode),
		"MKDIR of a directory's":          b.call(b.c, 9, b.root, "more.hls", mode),
		"MKDIR of a link's":               b.call(b.c, 9, b.root, "link.mp4.hls", mode),
		"MKDIR in another's stream":       b.call(b.c, 9, m.old, "new", mode),
		"MKDIR of another's segment's":    b.call(b.c, 9, m.old, "master.m3u8.hls", mode),
		"REMOVE of an original":           b.call(b.c, 12, b.root, "film.mp4"),
		"REMOVE of another's segment":     b.call(b.c, 12, m.old, "master.m3u8"),
		"RMDIR of a directory":            b.call(b.c, 13, b.root, "dir"),
		"RMDIR of another's stream":       b.call(b.c, 13, b.root, "old.mp4.hls"),
		"RENAME of an original":           b.call(b.c, 14, b.root, "film.mp4", m.own, "film.mp4"),
		"RENAME over an original":         b.call(b.c, 14, m.own, "mine", b.root, "film.mp4"),
		"RENAME out of the stream":        b.call(b.c, 14, m.own, "mine", m.free, "mine"),
		"RENAME of the stream":            b.call(b.c, 14, b.root, "film.mp4.hls", b.root, "old.mkv.hls"),
		"RENAME into another's stream":    b.call(b.c, 14, m.own, "mine", m.old, "mine"),
		"RENAME within another directory": b.call(b.c, 14, b.root, "film.mp4", b.root, "gone.mp4"),
		"LINK out of the stream":          b.call(b.c, 15, m.mine, m.free, "mine"),
		"LINK to an original":             b.call(b.c, 15, m.film, m.own, "film.mp4"),
	}
}

// inside tries to make, in the muxer's own stream, what may lead out of it or belong to others.
func (m *muxerTree) inside() map[string]status {
	b := m.bench
	return map[string]status{
		"SYMLINK":               b.call(b.c, 10, m.own, "link", sattr{}, "../film.mp4"),
		"MKNOD":                 b.call(b.c, 11, m.own, "fifo", typeFIFO, sattr{}),
		"LINK to its own":       b.call(b.c, 15, m.mine, m.own, "again"),
		"giving a file away":    b.call(b.c, 2, m.mine, sattr{uid: ptr(uint32(0))}, false),
		"giving a stream away":  b.call(b.c, 2, m.own, sattr{uid: ptr(uint32(1000))}, false),
		"giving it to a group":  b.call(b.c, 2, m.own, sattr{gid: ptr(uint32(0))}, false),
		"making a device of it": b.call(b.c, 11, m.own, "disk", typeBlk, sattr{}, 8, 0),
	}
}

// TestStreamDirsOfOthers: what somebody of this machine put into a muxer's
// stream is not the muxer's to change, nor a stream that was taken from it.
func TestStreamDirsOfOthers(t *testing.T) {
	b := muxerBench(t, t.TempDir())
	own := b.made(9, b.root, "film.mp4.hls", sattr{mode: ptr(uint32(0o777))})
	mine := b.c.create(own, "mine", 0o666)
	theirs := b.path("videos/film.mp4.hls/theirs")
	err := errors.Join(os.WriteFile(theirs, []byte("theirs"), 0o666), os.Chmod(theirs, 0o666))
	if err != nil {
		t.Fatal(err)
	}
	wire, _ := b.c.lookup(own, "theirs")
	wire = bytes.Clone(wire)
	b.want("WRITE", b.call(b.c, 7, wire, uint64(0), 1, fileSync, "x"), statusAcces)
	b.want("CREATE over it", b.call(b.c, 8, own, "theirs", unchecked, sattr{size: ptr(uint64(0))}), statusAcces)
	if got, err := os.ReadFile(theirs); err != nil || string(got) != "theirs" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if err := os.Chown(b.path("videos/film.mp4.hls"), 0, 0); err != nil {
		t.Fatal(err)
	}
	b.want("CREATE in what was taken", b.call(b.c, 8, own, "new", guarded, sattr{}), statusAcces)
	b.want("REMOVE in what was taken", b.call(b.c, 12, own, "mine"), statusAcces)
	b.want("RMDIR of what was taken", b.call(b.c, 13, b.root, "film.mp4.hls"), statusAcces)
	b.want("WRITE to its file", b.c.write(mine, 0, fileSync, []byte("x")), statusOK) // until that is taken too
}

func TestStreamDirsNeedAUser(t *testing.T) {
	for _, e := range []Export{
		{Squash: NoSquash, AnonUID: muxerUID}, {Squash: RootSquash, AnonUID: muxerUID}, {Squash: AllSquash}, {Squash: AllSquash, AnonUID: nobody},
	} {
		e.ID, e.Path, e.Dir, e.StreamDirs = 1, "/muxer", t.TempDir(), true
		err := (&Server{Key: testKey()}).Export(e)
		if err == nil || !strings.Contains(err.Error(), "want AllSquash, and a user that owns nothing else") {
			t.Errorf("Export with squash %d and user %d = %v", e.Squash, e.AnonUID, err)
		}
	}
}

// TestLinksToOthersFiles: in a scratch, too, a board links to its own files
// alone, whatever fs.protected_hardlinks says.
func TestLinksToOthersFiles(t *testing.T) {
	b := scratch(t, t.TempDir())
	wire := b.written("f", "proved")
	f := b.taken("f")
	if err := f.Chmod(0o666); err != nil {
		t.Fatal(err)
	}
	b.want("LINK to what was taken", b.call(b.c, 15, wire, b.root, "again"), statusPerm)
	own := b.c.create(b.root, "own", 0o600)
	b.want("LINK to its own", b.call(b.c, 15, own, b.root, "again"), statusOK)
}
