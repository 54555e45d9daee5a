package share

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRenameNew(t *testing.T) {
	for name, rename := range map[string]func(*os.Root, string, string) error{"kernel": RenameNew, "looking": renameLooking} {
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		err = errors.Join(root.Mkdir("d", 0o755), root.WriteFile("a", []byte("a"), 0o644), root.WriteFile("b", []byte("b"), 0o644), root.Symlink("nowhere", "d/link"))
		if err != nil {
			t.Fatal(err)
		}
		for _, taken := range []string{"b", "d/link"} {
			if err := rename(root, "a", taken); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: to %s: %v; want %v", name, taken, err, fs.ErrExist)
			}
		}
		if err := rename(root, "a", "d/a"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if text, err := root.ReadFile("d/a"); string(text) != "a" {
			t.Errorf("%s: d/a is %q, %v", name, text, err)
		}
		if err := rename(root, "none", "c"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: what is not there: %v; want %v", name, err, fs.ErrNotExist)
		}
		if err := rename(root, "b", "../b"); err == nil {
			t.Errorf("%s: out of the share: renamed", name)
		}
	}
}

func TestOpenRegular(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = errors.Join(root.Mkdir("d", 0o755), root.WriteFile("d/a", []byte("a file"), 0o644), root.Symlink("d/a", "inside"),
		root.Symlink("../../etc/hostname", "outside"), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644), root.Symlink("fifo", "to-fifo"),
		root.Symlink("/etc/hostname", "absolute"), root.Symlink("loop", "loop"), root.Symlink("../inside", "d/chain"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d/a", "inside", "d/chain"} {
		file, info, err := OpenRegular(root, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, err := io.ReadAll(file)
		if string(text) != "a file" || info.Size() != int64(len(text)) || errors.Join(err, file.Close()) != nil {
			t.Errorf("%s: %q of %d bytes, %v; want %q", name, text, info.Size(), err, "a file")
		}
	}
	for _, name := range []string{"d", "fifo", "to-fifo", "none", "outside", "absolute", "loop"} {
		if _, _, err := OpenRegular(root, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; want %v", name, err, fs.ErrNotExist)
		}
	}
}

func TestFreeBytes(t *testing.T) {
	if n, err := FreeBytes(t.TempDir()); err != nil || n <= 0 {
		t.Errorf("FreeBytes = %d, %v", n, err)
	}
	if _, err := FreeBytes("/nowhere"); err == nil {
		t.Error("FreeBytes of nowhere: no error")
	}
}

// OpenDir opens a directory at its own path, and never through a link.
func TestOpenDir(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = errors.Join(root.MkdirAll("a/b", 0o755), root.WriteFile("a/file", nil, 0o644), root.Symlink("a", "link"), root.Symlink("b", "a/link"),
		root.Symlink("/", "out"), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		".": nil, "a": nil, "a/b": nil, "none": fs.ErrNotExist, "a/file": unix.ENOTDIR, "fifo": unix.ENOTDIR,
		"link": unix.ELOOP, "link/b": unix.ELOOP, "a/link": unix.ELOOP, "out": unix.ELOOP, "..": unix.EXDEV, "/": unix.EXDEV,
	} {
		file, err := OpenDir(root, name)
		if !errors.Is(err, want) {
			t.Errorf("OpenDir(%q) = %v; want %v", name, err, want)
		}
		file.Close()
	}
}
