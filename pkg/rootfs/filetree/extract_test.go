package filetree

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/rootfs/roottest"
)

func extractTo(t *testing.T, dir string, archive []byte) error {
	t.Helper()
	x := &Extractor{Root: roottest.OpenRoot(t, dir)}
	return x.Extract(t.Context(), bytes.NewReader(archive))
}

func TestExtract(t *testing.T) {
	archive := roottest.MakeTar(t, func(b roottest.Tar) {
		b.Add(roottest.Member(tar.TypeDir, "./", "", ""))
		b.Add(roottest.Member(tar.TypeDir, "./usr/bin/", "", ""))
		b.Add(roottest.Member(tar.TypeSymlink, "./bin", "usr/bin", ""))
		b.Add(roottest.Member(tar.TypeReg, "./bin/sh", "", "through a link inside"))
		b.Add(roottest.Member(tar.TypeReg, "/absolute", "", "made relative"))
		b.Add(roottest.Member(tar.TypeLink, "./hard", "/absolute", ""))
		b.Add(roottest.Member(tar.TypeSymlink, "etc/passwd", "/etc/passwd", ""))
		b.Add(roottest.Member(tar.TypeReg, "twice", "", "first"))
		b.Add(roottest.Member(tar.TypeReg, "twice", "", "second"))
		b.Add(roottest.Member(tar.TypeFifo, "pipe", "", ""))
		header, content := roottest.Member(tar.TypeReg, "setuid", "", "x")
		header.Mode, header.PAXRecords = 0o4711, map[string]string{paxXattr + "user.pibootd": "value"}
		b.Add(header, content)
	})
	dir := t.TempDir()
	if err := extractTo(t, dir, archive); err != nil {
		t.Fatal(err)
	}
	got := roottest.Snapshot(t, dir)
	for name, want := range map[string]string{
		"usr/bin/sh": "through a link inside", "absolute": "made relative", "hard": "made relative",
		"etc/passwd": "/etc/passwd", "twice": "second", "bin": "usr/bin",
	} {
		if got[name].Content != want {
			t.Errorf("%s = %q; want %q", name, got[name].Content, want)
		}
	}
	if got["hard"].Nlink != 2 {
		t.Errorf("hard has %d names; want 2", got["hard"].Nlink)
	}
	if mode := got["setuid"].Mode & 0o7777; mode != 0o4711 {
		t.Errorf("setuid has mode %o; want 4711", mode)
	}
	if got["setuid"].Xattrs["user.pibootd"] != "value" {
		t.Errorf("setuid has attributes %v; want user.pibootd", got["setuid"].Xattrs)
	}
	for _, name := range []string{"usr/bin", "twice", "bin"} {
		if got[name].Modified.Sec != 1700000000 {
			t.Errorf("%s has time %d; want the archive's", name, got[name].Modified.Sec)
		}
	}
}

func TestExtractRefuses(t *testing.T) {
	for name, build := range map[string]func(roottest.Tar){
		"climbing name":      func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, "../out", "", "x")) },
		"climbing inside":    func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, "a/../../out", "", "x")) },
		"climbing hard link": func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeLink, "in", "../out", "")) },
		"hard link to nothing": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeLink, "in", "missing", ""))
		},
		"through an absolute link": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeSymlink, "etc", filepath.Dir(os.TempDir()), ""))
			b.Add(roottest.Member(tar.TypeReg, "etc/out", "", "x"))
		},
		"through a climbing link": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeSymlink, "up", "..", ""))
			b.Add(roottest.Member(tar.TypeReg, "up/out", "", "x"))
		},
		"hard link through a link": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeSymlink, "up", "..", ""))
			b.Add(roottest.Member(tar.TypeLink, "in", "up/secret", ""))
		},
		"directory through a link": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeSymlink, "up", "..", ""))
			b.Add(roottest.Member(tar.TypeDir, "up/out", "", ""))
		},
		"file as the top": func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, "./.", "", "x")) },
		"unknown type":    func(b roottest.Tar) { b.Add(roottest.Member('Z', "odd", "", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			roottest.Spec{"secret": "s", "tree/": "dir"}.Make(t, outside)
			before := roottest.Snapshot(t, outside)
			if err := extractTo(t, filepath.Join(outside, "tree"), roottest.MakeTar(t, build)); err == nil {
				t.Error("extract = nil; want an error")
			}
			for name, state := range roottest.Snapshot(t, outside) {
				if _, ok := before[name]; !ok && !strings.HasPrefix(name, "tree/") {
					t.Errorf("made %s outside of the tree: %+v", name, state)
				}
			}
		})
	}
}

// A link that the archive replaces must not be written through.
func TestExtractReplacesLinks(t *testing.T) {
	outside := t.TempDir()
	roottest.Spec{"victim": "safe", "tree/": "dir"}.Make(t, outside)
	archive := roottest.MakeTar(t, func(b roottest.Tar) {
		b.Add(roottest.Member(tar.TypeSymlink, "file", "../victim", ""))
		b.Add(roottest.Member(tar.TypeReg, "file", "", "overwritten"))
	})
	if err := extractTo(t, filepath.Join(outside, "tree"), archive); err != nil {
		t.Fatal(err)
	}
	if got := roottest.ReadFile(t, outside, "victim"); got != "safe" {
		t.Errorf("file outside = %q; want safe", got)
	}
}

func FuzzExtract(f *testing.F) {
	t := &testing.T{}
	f.Add(roottest.MakeTar(t, func(b roottest.Tar) {
		b.Add(roottest.Member(tar.TypeDir, "dir/", "", ""))
		b.Add(roottest.Member(tar.TypeSymlink, "dir/up", "../..", ""))
		b.Add(roottest.Member(tar.TypeReg, "dir/up/file", "", "x"))
		b.Add(roottest.Member(tar.TypeLink, "hard", "dir", ""))
	}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		outside := t.TempDir()
		if err := os.Mkdir(filepath.Join(outside, "tree"), 0o755); err != nil {
			t.Fatal(err)
		}
		x := &Extractor{Root: roottest.OpenRoot(t, filepath.Join(outside, "tree"))}
		if err := x.Extract(t.Context(), bytes.NewReader(archive)); err != nil {
			t.Log(err) // any error is fine, leaving the tree is not
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Errorf("beside the tree: %v, %v; want nothing", entries, err)
		}
	})
}
