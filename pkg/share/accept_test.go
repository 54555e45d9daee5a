package share

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A taking is a directory that somebody else writes, and one that is ours.
type taking struct {
	dir  string
	from *os.File
	into *os.Root
}

func newTaking(t *testing.T) *taking {
	t.Helper()
	dir := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "scratch/a"), 0o755), os.Mkdir(filepath.Join(dir, "own"), 0o755),
		os.WriteFile(filepath.Join(dir, "secret"), []byte("a secret"), 0o600),
		os.WriteFile(filepath.Join(dir, "scratch/a/1.ts"), []byte("a segment"), 0o666))
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(filepath.Join(dir, "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close() })
	into, err := os.OpenRoot(filepath.Join(dir, "own"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { into.Close() })
	return &taking{dir, from, into}
}

func TestAccept(t *testing.T) {
	nothing := func(*os.File) error { return nil }
	for name, taker := range map[string]Acceptor{"linked": {Revoke: nothing}, "copied": {}} {
		t.Run(name, func(t *testing.T) {
			k := newTaking(t)
			for range 2 { // the second time the file is accepted already
				file, err := taker.Accept(k.from, "a/1.ts", k.into, "1.ts", 100)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(file)
				if string(text) != "a segment" || errors.Join(err, file.Close()) != nil {
					t.Errorf("taken: %q, %v", text, err)
				}
			}
			// A write to the scratch no longer affects the accepted file.
			if err := os.WriteFile(filepath.Join(k.dir, "scratch/a/1.ts"), []byte("other"), 0o666); err != nil {
				t.Fatal(err)
			}
			text, err := k.into.ReadFile("1.ts")
			info, statErr := k.into.Stat("1.ts")
			if string(text) != "a segment" || errors.Join(err, statErr) != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("in its place: %q, %v, %v", text, info, errors.Join(err, statErr))
			}
		})
	}
}

// A process was killed between linking a file and sealing it: the next one finishes
// that.
func TestAcceptResumes(t *testing.T) {
	k := newTaking(t)
	if err := os.Link(filepath.Join(k.dir, "scratch/a/1.ts"), filepath.Join(k.dir, "own/1.ts")); err != nil {
		t.Fatal(err)
	}
	revoked := 0
	taker := Acceptor{Revoke: func(f *os.File) error {
		info, err := f.Stat()
		if err == nil && info.Mode().Perm() != 0o644 {
			t.Errorf("mode is %v when others' hold on it is revoked; want -rw-r--r--", info.Mode())
		}
		revoked++
		return err
	}}
	file, err := taker.Accept(k.from, "a/1.ts", k.into, "1.ts", 100)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	if _, err := os.Lstat(filepath.Join(k.dir, "scratch/a/1.ts")); !errors.Is(err, fs.ErrNotExist) || revoked != 1 {
		t.Errorf("in the scratch: %v, revoked %d times; want nothing, once", err, revoked)
	}
}

// A file that cannot be made ours alone is not accepted.
func TestAcceptNotRevoked(t *testing.T) {
	k := newTaking(t)
	taker := Acceptor{Revoke: func(*os.File) error { return errors.New("calls still run") }}
	if _, err := taker.Accept(k.from, "a/1.ts", k.into, "1.ts", 100); err == nil || !strings.Contains(err.Error(), "calls still run") {
		t.Errorf("taken: %v; want an error", err)
	}
	if _, err := k.into.Lstat("1.ts"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in its place: %v; want nothing", err)
	}
}

func TestAcceptRefuses(t *testing.T) {
	at := func(k *taking, name string) string { return filepath.Join(k.dir, "scratch", name) }
	gone := func(k *taking) error { return os.Remove(at(k, "a/1.ts")) }
	for name, c := range map[string]struct {
		make func(*taking) error
		want string
	}{
		"link to a file":     {func(k *taking) error { return errors.Join(gone(k), os.Symlink("../../secret", at(k, "a/1.ts"))) }, "symbolic link"},
		"link in the way":    {func(k *taking) error { return errors.Join(os.RemoveAll(at(k, "a")), os.Symlink("..", at(k, "a"))) }, "symbolic link"},
		"absolute link":      {func(k *taking) error { return errors.Join(gone(k), os.Symlink(k.dir+"/secret", at(k, "a/1.ts"))) }, "symbolic link"},
		"two names":          {func(k *taking) error { return os.Link(at(k, "a/1.ts"), at(k, "a/2.ts")) }, "more than one name"},
		"name of a stranger": {func(k *taking) error { return errors.Join(gone(k), os.Link(k.dir+"/secret", at(k, "a/1.ts"))) }, "more than one name"},
		"FIFO":               {func(k *taking) error { return errors.Join(gone(k), unix.Mkfifo(at(k, "a/1.ts"), 0o666)) }, "want a regular file"},
		"directory":          {func(k *taking) error { return errors.Join(gone(k), os.Mkdir(at(k, "a/1.ts"), 0o777)) }, "want a regular file"},
		"socket": {func(k *taking) error {
			return errors.Join(gone(k), unix.Mknod(at(k, "a/1.ts"), unix.S_IFSOCK|0o666, 0))
		}, "want a regular file"},
		"nothing": {gone, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			for mode, taker := range map[string]Acceptor{"linked": {Revoke: func(*os.File) error { return nil }}, "copied": {}} {
				k := newTaking(t)
				if err := c.make(k); err != nil {
					t.Fatal(err)
				}
				file, err := taker.Accept(k.from, "a/1.ts", k.into, "1.ts", 100)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, %v; want an error with %q", mode, file, err, c.want)
				}
				if _, err := k.into.Lstat("1.ts"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: in its place: %v; want nothing", mode, err)
				}
				if text, err := os.ReadFile(k.dir + "/secret"); string(text) != "a secret" || err != nil {
					t.Errorf("%s: the secret is %q, %v", mode, text, err)
				}
			}
		})
	}
}

func TestOpenDirAt(t *testing.T) {
	k := newTaking(t)
	if err := errors.Join(os.Symlink("..", k.dir+"/scratch/up"), os.Symlink("a", k.dir+"/scratch/b")); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"a": true, "up": false, "b": false, "..": false, "a/1.ts": false, "none": false, "up/own": false} {
		dir, err := OpenDirAt(k.from, name)
		if (err == nil) != ok {
			t.Errorf("%s: %v; want it opened: %v", name, err, ok)
		}
		if err == nil {
			dir.Close()
		}
	}
}
