package filetree

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/roottest"
)

// gnu makes a member that may have any bytes in its name.
func gnu(kind byte, name, target, content string) (tar.Header, string) {
	header, content := roottest.Member(kind, name, target, content)
	header.Format = tar.FormatGNU
	return header, content
}

// Archives that are odd but not wrong: want has what is at some names, a
// symbolic link's target or a file's content; "" for what is not there.
func TestExtractOdd(t *testing.T) {
	longest := strings.Repeat("n", unix.NAME_MAX)
	deep := strings.Repeat("directory/", 60) + "file"
	for name, test := range map[string]struct {
		build func(roottest.Tar)
		want  map[string]string
	}{
		"newline":      {func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, "a\nb", "", "x")) }, map[string]string{"a\nb": "x"}},
		"no UTF-8":     {func(b roottest.Tar) { b.Add(gnu(tar.TypeReg, "\xff\xfe", "", "x")) }, map[string]string{"\xff\xfe": "x"}},
		"255 bytes":    {func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, longest, "", "x")) }, map[string]string{longest: "x"}},
		"a long way":   {func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, deep, "", "x")) }, map[string]string{deep: "x"}},
		"two slashes":  {func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, "a//b", "", "x")) }, map[string]string{"a/b": "x"}},
		"an old file":  {func(b roottest.Tar) { b.Add(gnu(0, "a", "", "x")) }, map[string]string{"a": "x"}},
		"absolute":     {func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, "//etc/a", "", "x")) }, map[string]string{"etc/a": "x"}},
		"link to self": {func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeSymlink, "a", "a", "")) }, map[string]string{"a": "a"}},
		"hard link to a symbolic one": {func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeSymlink, "a", "/etc/shadow", ""))
			b.Add(roottest.Member(tar.TypeLink, "b", "a", ""))
		}, map[string]string{"b": "/etc/shadow"}},
		"file again as a link": {func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeReg, "a", "", "x"))
			b.Add(roottest.Member(tar.TypeSymlink, "a", "../secret", ""))
		}, map[string]string{"a": "../secret"}},
		"link again as a directory": {func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeReg, "real/a", "", "x"))
			b.Add(roottest.Member(tar.TypeSymlink, "dir", "real", ""))
			b.Add(roottest.Member(tar.TypeReg, "dir/b", "", "y"))
		}, map[string]string{"real/a": "x", "real/b": "y"}},
		"a file's second name again": {func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeReg, "a", "", "first"))
			b.Add(roottest.Member(tar.TypeLink, "b", "a", ""))
			b.Add(roottest.Member(tar.TypeReg, "b", "", "second"))
		}, map[string]string{"a": "first", "b": "second"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := extractTo(t, dir, roottest.MakeTar(t, test.build)); err != nil {
				t.Fatal(err)
			}
			got := roottest.Snapshot(t, dir)
			for name, want := range test.want {
				if got[name].Content != want {
					t.Errorf("%q = %q; want %q", name, got[name].Content, want)
				}
			}
		})
	}
}

// Archives that would reach outside by what came before in them: refused or
// not, nothing beside the tree may change.
func TestExtractStaysInside(t *testing.T) {
	for name, build := range map[string]func(roottest.Tar){
		"hard link, absolute": func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeLink, "in", "/etc/passwd", "")) },
		"hard link to a link, then written": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeSymlink, "a", "../secret", ""))
			b.Add(roottest.Member(tar.TypeLink, "b", "a", ""))
			b.Add(roottest.Member(tar.TypeReg, "b", "", "overwritten"))
		},
		"directory again as a link": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeDir, "dir", "", ""))
			b.Add(roottest.Member(tar.TypeSymlink, "dir", "..", ""))
			b.Add(roottest.Member(tar.TypeReg, "dir/secret", "", "overwritten"))
		},
		"directory that is a link": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeSymlink, "dir", "..", ""))
			b.Add(roottest.Member(tar.TypeDir, "dir", "", ""))
		},
		"links upon links": func(b roottest.Tar) {
			b.Add(roottest.Member(tar.TypeSymlink, "a", ".", ""))
			b.Add(roottest.Member(tar.TypeSymlink, "a/b", "..", ""))
			b.Add(roottest.Member(tar.TypeReg, "a/b/secret", "", "overwritten"))
		},
		"a name of 256 bytes": func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeReg, strings.Repeat("n", 256), "", "x")) },
		"the top as a link":   func(b roottest.Tar) { b.Add(roottest.Member(tar.TypeSymlink, ".", "..", "")) },
		"the top's parent":    func(b roottest.Tar) { b.Add(gnu(tar.TypeReg, "..", "", "x")) },
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			roottest.Spec{"secret": "s", "tree/": "dir"}.Make(t, outside)
			if err := os.Chmod(outside, 0o711); err != nil {
				t.Fatal(err)
			}
			before := roottest.Snapshot(t, outside)
			if err := extractTo(t, filepath.Join(outside, "tree"), roottest.MakeTar(t, build)); err != nil {
				t.Log(err)
			}
			after := roottest.Snapshot(t, outside)
			for _, name := range []string{".", "secret"} {
				one, other := before[name], after[name]
				if one.Mode != other.Mode || one.Content != other.Content || one.Nlink != other.Nlink || one.Modified != other.Modified {
					t.Errorf("%s = %+v; want it as it was, %+v", name, other, one)
				}
			}
		})
	}
}
