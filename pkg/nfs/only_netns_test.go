//go:build netns

package nfs

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"
)

// TestOnly: of an export that shows one entry a client sees no other, whatever
// it asks, and cannot change the directory that it is in.
func TestOnly(t *testing.T) {
	fileSystems(t, func(b *bench) {
		err := errors.Join(os.MkdirAll(b.path("videos/more"), 0o777), os.Mkdir(b.path(".work"), 0o777), os.WriteFile(b.path("secret"), []byte("x"), 0o666),
			os.WriteFile(b.path("videos/secret"), []byte("x"), 0o644), os.Chmod(b.dir, 0o777))
		if err != nil {
			b.Fatal(err)
		}
		all := b.root
		mustExport(b.T, b.s.Server, Export{ID: 2, Path: "/muxer", Dir: b.dir, Only: "videos", Clients: []netip.Addr{loopback}})
		b.root = bytes.Clone(b.c.mustMount("/muxer"))
		secret, _ := b.c.lookup(all, "secret")
		secret = bytes.Clone(secret)
		videos, _ := b.c.lookup(b.root, "videos")
		videos = bytes.Clone(videos)
		up, _ := b.c.lookup(videos, "..")
		if !bytes.Equal(up, b.root) {
			b.Error(".. of the one entry is not the root")
		}
		for _, proc := range []uint32{16, 17} {
			if seen := b.entries(proc, b.root, 4096, func(int) {}); len(seen) != 3 || seen["videos"] != 1 || seen["."] != 1 || seen[".."] != 1 {
				b.Errorf("procedure %d lists %v; want videos alone", proc, seen)
			}
			if seen := b.entries(proc, videos, 4096, func(int) {}); len(seen) != 4 {
				b.Errorf("procedure %d lists %v in videos; want what is there", proc, seen)
			}
		}
		for what, got := range map[string]status{
			"LOOKUP of another":     b.call(b.c, 3, b.root, "secret"),
			"LOOKUP of a directory": b.call(b.c, 3, b.root, ".work"),
			"LOOKUP of nothing":     b.call(b.c, 3, b.root, "none"),
			"LOOKUP from the entry": b.call(b.c, 3, up, ".work"),
		} {
			b.want(what, got, statusNoEnt)
		}
		for what, got := range changesBeside(b, videos, up) {
			b.want(what, got, statusROFS)
		}
		b.want("LINK, of the other export's", b.call(b.c, 15, secret, videos, "x"), statusXDev)
		b.want("CREATE in the one entry", b.call(b.c, 8, videos, "new", guarded, sattr{}), statusOK)
		for _, name := range []string{"secret", ".work", "videos/secret", "videos/new"} {
			if _, err := os.Lstat(b.path(name)); err != nil {
				b.Error(err)
			}
		}
	})
}

// changesBeside tries to change the directory that has the one entry, and what is beside that.
func changesBeside(b *bench, videos, up []byte) map[string]status {
	mode := sattr{mode: ptr(uint32(0o777))}
	return map[string]status{
		"CREATE":               b.call(b.c, 8, b.root, "secret", unchecked, mode),
		"CREATE of the one":    b.call(b.c, 8, b.root, "videos", unchecked, mode),
		"MKDIR":                b.call(b.c, 9, b.root, "secret.hls", mode),
		"SYMLINK":              b.call(b.c, 10, b.root, "x", sattr{}, "secret"),
		"MKNOD":                b.call(b.c, 11, b.root, "x", typeFIFO, sattr{}),
		"REMOVE":               b.call(b.c, 12, b.root, "secret"),
		"RMDIR":                b.call(b.c, 13, b.root, ".work"),
		"RENAME of another":    b.call(b.c, 14, b.root, "secret", videos, "x"),
		"RENAME onto another":  b.call(b.c, 14, videos, "secret", b.root, "secret"),
		"RENAME of the one":    b.call(b.c, 14, b.root, "videos", videos, "x"),
		"LINK":                 b.call(b.c, 15, videos, b.root, "x"),
		"SETATTR":              b.call(b.c, 2, b.root, mode, false),
		"REMOVE, by the entry": b.call(b.c, 12, up, "secret"),
	}
}
