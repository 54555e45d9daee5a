//go:build netns

package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/roottest"
)

// A root that is made again out of its template and what was packed of it is the
// root that it was, whatever the board has done in it and by whichever method it is made.
func TestRebuild(t *testing.T) {
	for kind, methods := range map[string][]CloneMethod{"ext4": {Copy, Overlay}, "xfs": {Reflink}, "btrfs": {Snapshot}} {
		t.Run(kind, func(t *testing.T) {
			i := install(t, mountDisk(t, kind))
			for n, method := range methods {
				i.rebuilds(t, method, n == 0)
			}
		})
	}
}

// rebuilds clones, changes, packs, removes and makes a root again.
func (i installation) rebuilds(t *testing.T, method CloneMethod, mounted bool) {
	t.Helper()
	const serial = 7
	if _, err := i.roots.Clone(t.Context(), i.src, method, serial, identityOf(serial, "pi"), nil); err != nil {
		t.Fatal(err)
	}
	changeRoot(t, i.roots.Path(serial))
	before, err := filetree.Scan(t.Context(), i.roots.Path(serial), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !mounted {
		i.restartMachine(t)
	}
	d, packed := i.pack(t, serial)
	if len(packed) > 1<<20 {
		t.Errorf("%s: %d bytes were packed; want what differs from the template alone", method, len(packed))
	}
	if err := i.roots.Remove(serial); err != nil {
		t.Fatal(err)
	}
	made, err := i.roots.Rebuild(t.Context(), i.src, method, serial, d, bytes.NewReader(packed), nil)
	if err != nil || made != method {
		t.Fatalf("made again by %q, %v; want %q", made, err, method)
	}
	after, err := filetree.Scan(t.Context(), i.roots.Path(serial), nil)
	if err != nil {
		t.Fatal(err)
	}
	if changes := filetree.Compare(before, after); len(changes) > 0 {
		t.Errorf("%s: the root is another one: %v", method, changes)
	}
	_, err = i.roots.Rebuild(t.Context(), i.src, method, serial, d, bytes.NewReader(packed), nil)
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("%s: made again over a root: %v; want that it exists", method, err)
	}
	if err := i.roots.Remove(serial); err != nil {
		t.Fatal(err)
	}
}

func (i installation) pack(t *testing.T, serial pi.Serial) (Difference, []byte) {
	t.Helper()
	d, keep, err := i.roots.Difference(t.Context(), serial, i.src, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	to := &filetree.Packer{To: tar.NewWriter(&out), Keep: keep}
	if err := errors.Join(i.roots.Pack(t.Context(), serial, to), to.To.Close()); err != nil {
		t.Fatal(err)
	}
	return d, out.Bytes()
}

// changeRoot does in a root what boards do.
func changeRoot(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	err := errors.Join(
		os.Remove(at("usr/bin/sh")),
		os.RemoveAll(at("home/pi")), // a directory becomes a link
		os.Symlink("/srv/pi", at("home/pi")),
		os.RemoveAll(at("opt")), // and a file
		os.WriteFile(at("opt"), []byte("no directory"), 0o600),
		os.Remove(at("etc/os-release")), // a link becomes a directory
		os.MkdirAll(at("etc/os-release/below"), 0o750),
		os.Chmod(at("usr/bin/dash"), 0o700),
		os.Chown(at("usr/bin/dash"), 5, 6),
		os.WriteFile(at("etc/hosts"), []byte("changed"), 0o644),
		unix.Setxattr(at("etc/hosts"), "user.note", []byte("note"), 0),
		unix.Mkfifo(at("var/pipe"), 0o622),
	)
	if err != nil {
		t.Fatal(err)
	}
	roottest.Spec{"var/lib/new/file": strings.Repeat("new", 1000), "var/empty/": "dir"}.Make(t, root)
	if err := os.Link(at("var/lib/new/file"), at("var/lib/new/second")); err != nil {
		t.Fatal(err)
	}
}
