package filetree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/roottest"
)

func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	roottest.Spec{
		"a/file": strings.Repeat("data", 1000), "a/empty": "", "a/link": "-> file", "out": "-> /etc/passwd",
		"dangling": "-> nowhere", "with\nnewline \xff": "x", "a/b/c/d/e": "deep", "ro/file": "x",
	}.Make(t, from)
	sparse := makeSparse(t, filepath.Join(from, "sparse"))
	for _, err := range []error{
		os.Link(filepath.Join(from, "a/file"), filepath.Join(from, "a/b/hard")),
		os.Chmod(filepath.Join(from, "a/empty"), 0o4755|os.ModeSetuid),
		os.Chmod(filepath.Join(from, "ro"), 0o555),
		os.Chtimes(filepath.Join(from, "a/b"), time.Unix(1, 5), time.Unix(1, 5)),
		unix.Mkfifo(filepath.Join(from, "pipe"), 0o640),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ticks := 0
	c := &Copier{Tick: func() { ticks++ }}
	if err := c.Copy(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(roottest.Snapshot(t, from), roottest.Snapshot(t, to)); diff != "" {
		t.Errorf("copy differs (-source +copy):\n%s", diff)
	}
	if ticks != c.Files || c.Files != len(roottest.Snapshot(t, from))-1 {
		t.Errorf("copied %d entries and said so %d times; want %d", c.Files, ticks, len(roottest.Snapshot(t, from))-1)
	}
	var stat unix.Stat_t
	if err := unix.Lstat(filepath.Join(to, "sparse"), &stat); err != nil || stat.Blocks*512 >= sparse {
		t.Errorf("copy of a file with holes takes %d bytes, %v; want less than %d", stat.Blocks*512, err, sparse)
	}
}

// makeSparse makes a file with data between two holes and returns its size.
func makeSparse(t *testing.T, path string) int64 {
	t.Helper()
	const size, at = 8 << 20, 4 << 20
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte("data"), at)
	if err := errors.Join(err, file.Truncate(size), file.Close()); err != nil {
		t.Fatal(err)
	}
	return size
}

func TestCopyTreeSkips(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	roottest.Spec{"keep/file": "x", "state/templates/1/file": "x"}.Make(t, from)
	var own unix.Stat_t
	if err := unix.Stat(filepath.Join(from, "state"), &own); err != nil {
		t.Fatal(err)
	}
	c := &Copier{Skip: func(stat *unix.Stat_t) bool { return stat.Ino == own.Ino }}
	if err := c.Copy(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, "state")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("skipped directory: %v; want it left out", err)
	}
}

func TestCopyTreeStops(t *testing.T) {
	from := t.TempDir()
	roottest.Small().Make(t, from)
	ctx, cancel := context.WithCancel(t.Context())
	c := &Copier{Tick: cancel}
	if err := c.Copy(ctx, from, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("copy = %v; want canceled", err)
	}
}

func TestCopyTreeReportsWorkerErrors(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	roottest.Spec{"file": "x"}.Make(t, from)
	// An entry that is there already cannot be made again.
	roottest.Spec{"file": "y"}.Make(t, to)
	if err := new(Copier).Copy(t.Context(), from, to); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), `"file"`) {
		t.Errorf("copy = %v; want an error naming \"file\" that exists", err)
	}
}

// A tree that no board works with is refused before it takes all descriptors.
func TestCopyTreeIsNotEndlesslyDeep(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := roottest.DeepDir(filepath.Join(from, "deep"), 3000); err != nil {
		t.Fatal(err)
	}
	err := (&Copier{}).Copy(t.Context(), from, to)
	if err == nil || !strings.Contains(err.Error(), "it is below 256 other directories") || len(err.Error()) > 2000 {
		t.Errorf("copy = %v; want it refused in few words", err)
	}
}
