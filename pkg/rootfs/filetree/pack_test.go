package filetree

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/roottest"
)

func pack(t *testing.T, tree string, p *Packer) []byte {
	t.Helper()
	var out bytes.Buffer
	p.To = tar.NewWriter(&out)
	if err := errors.Join(p.Pack(t.Context(), tree), p.To.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What is packed and extracted again is the same tree.
func TestPack(t *testing.T) {
	tree := t.TempDir()
	roottest.Small().Make(t, tree)
	makeOdd(t, tree)
	var lost []string
	archive := pack(t, tree, &Packer{Lost: func(name, why string) { lost = append(lost, name+": "+why) }})
	into := t.TempDir()
	if err := extractTo(t, into, archive); err != nil {
		t.Fatal(err)
	}
	was, is := scan(t, tree), scan(t, into)
	delete(was, "socket")
	delete(was, "holes")
	if changes := Compare(was, is); len(changes) > 0 {
		t.Errorf("the tree came back changed: %v", changes)
	}
	if got := roottest.Snapshot(t, into); got["hard"].Nlink != 2 {
		t.Errorf("hard has %d names; want 2", got["hard"].Nlink)
	}
	if len(lost) != 1 || !strings.HasPrefix(lost[0], "holes: it has 1024 GB") {
		t.Errorf("lost: %q; want the file of holes alone", lost)
	}
}

// makeOdd adds to a tree what only some roots have.
func makeOdd(t *testing.T, tree string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(tree, name) }
	err := errors.Join(
		os.Link(at("etc/hostname"), at("hard")),
		os.WriteFile(at("set-id"), []byte("x"), 0o644),
		os.Chown(at("set-id"), 1000, 2000),
		os.Chmod(at("set-id"), 0o711|os.ModeSetuid),
		unix.Lsetxattr(at("set-id"), "user.pibootd", []byte("a\x00b"), 0),
		os.WriteFile(at("a name\nwith \xff bytes that are no text"), nil, 0o600),
		os.WriteFile(at(strings.Repeat("long", 60)), nil, 0o600),
		unix.Mkfifo(at("pipe"), 0o600),
		unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0),
		unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.WriteFile(at("holes"), nil, 0o600),
		os.Truncate(at("holes"), 1<<40),
	)
	if err != nil {
		t.Fatal(err)
	}
}

func scan(t *testing.T, tree string) Manifest {
	t.Helper()
	m, err := Scan(t.Context(), tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Only what is kept is packed, also below what is not.
func TestPackKeeps(t *testing.T) {
	tree := t.TempDir()
	roottest.Small().Make(t, tree)
	archive := tar.NewReader(bytes.NewReader(pack(t, tree, &Packer{
		Prefix: "roots/1/", Keep: func(name string) bool { return name == "etc/hostname" },
	})))
	header, err := archive.Next()
	if err != nil || header.Name != "roots/1/etc/hostname" {
		t.Fatalf("the first member is %v, %v; want roots/1/etc/hostname", header, err)
	}
	if header, err := archive.Next(); err == nil {
		t.Errorf("there is another member, %q", header.Name)
	}
}
