package share

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// open opens a directory until the test ends.
func open(t *testing.T, dir string) *os.File {
	t.Helper()
	file, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// deepTree makes this many nested directories, with a file in the outer ones.
func deepTree(t *testing.T, dir string, levels int) {
	t.Helper()
	at, err := unix.Open(filepath.Dir(dir), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	name := filepath.Base(dir)
	for made := 0; made < levels && err == nil; made++ {
		var next int
		if err = unix.Mkdirat(at, name, 0o755); err == nil {
			next, err = unix.Openat(at, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
		if err == nil && made < 100 {
			err = unix.Mknodat(next, "file", unix.S_IFREG|0o644, 0)
		}
		err = errors.Join(err, unix.Close(at))
		at, name = next, "d"
	}
	if err = errors.Join(err, unix.Close(at)); err != nil {
		t.Fatal(err)
	}
}

// fewDescriptors lets this process open only this many more files until the test
// ends.
func fewDescriptors(t *testing.T, more uint64) {
	t.Helper()
	used, err := os.ReadDir("/proc/self/fd")
	var was unix.Rlimit
	if err = errors.Join(err, unix.Getrlimit(unix.RLIMIT_NOFILE, &was)); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = uint64(len(used)) + more
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
}

// names returns the names in a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return strings.Join(all, " ")
}

// A tree of any depth is removed with few open files, and nothing else is removed.
func TestRemoveTree(t *testing.T) {
	dir := t.TempDir()
	trash := filepath.Join(dir, "trash")
	outside := filepath.Join(dir, "outside")
	tree := filepath.Join(dir, "tree")
	err := errors.Join(os.Mkdir(trash, 0o700), os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "kept"), []byte("kept"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	deepTree(t, tree, 20_000)
	err = errors.Join(
		os.Symlink("../outside", filepath.Join(tree, "link")), os.Symlink(outside, filepath.Join(tree, "absolute")),
		os.Link(filepath.Join(outside, "kept"), filepath.Join(tree, "hard")), os.Mkdir(filepath.Join(tree, "locked"), 0),
		unix.Mkfifo(filepath.Join(tree, "fifo"), 0o600), os.Mkdir(filepath.Join(tree, strings.Repeat("\xff", 255)), 0o700),
		unix.Mknod(filepath.Join(tree, "socket"), unix.S_IFSOCK|0o600, 0))
	for i := range 5000 { // more than one read returns
		err = errors.Join(err, os.WriteFile(filepath.Join(tree, fmt.Sprintf("d/wide%d", i)), nil, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	parent, bin := open(t, dir), open(t, trash)
	fewDescriptors(t, 8)
	if err := RemoveTree(bin, parent, "tree"); err != nil {
		t.Fatal(err)
	}
	if left := names(t, dir) + " " + names(t, trash) + names(t, outside); left != "outside trash kept" {
		t.Errorf("there are %s; want the tree gone and no more", left)
	}
	if text, err := os.ReadFile(filepath.Join(outside, "kept")); string(text) != "kept" {
		t.Errorf("outside/kept is %q, %v", text, err)
	}
}

// The trash can be the tree's own parent. Entries that are not directories are
// removed too, and so is what was left in the trash.
func TestRemoveTreeInItsParent(t *testing.T) {
	dir := t.TempDir()
	deepTree(t, filepath.Join(dir, "tree"), 30)
	deepTree(t, filepath.Join(dir, ".removed-by-somebody-killed-3"), 30)
	err := errors.Join(os.WriteFile(filepath.Join(dir, "other"), nil, 0o600), os.Symlink("other", filepath.Join(dir, "link")))
	if err != nil {
		t.Fatal(err)
	}
	parent := open(t, dir)
	for _, name := range []string{"tree", "link", "none"} {
		if err := RemoveTree(parent, parent, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := names(t, dir); left != ".removed-by-somebody-killed-3 other" {
		t.Errorf("there are %s", left)
	}
	for _, name := range []string{"", "../x", "a/b", ".", ".."} {
		if err := RemoveTree(parent, parent, name); err == nil {
			t.Errorf("RemoveTree(%q) = nil; want an error", name)
		}
	}
	if err := EmptyTrash(parent); err != nil {
		t.Error(err)
	}
	if left := names(t, dir); left != "" {
		t.Errorf("after EmptyTrash there are %s", left)
	}
}

// While a tree is removed, somebody exchanges its directories for links to another
// tree, and that tree stays.
func TestRemoveTreeThatIsExchanged(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	deepTree(t, outside, 3)
	if err := os.Mkdir(filepath.Join(dir, "trash"), 0o700); err != nil {
		t.Fatal(err)
	}
	parent, trash := open(t, dir), open(t, filepath.Join(dir, "trash"))
	for round := range 5 {
		tree := filepath.Join(dir, "tree")
		if err := os.Mkdir(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			deepTree(t, filepath.Join(tree, fmt.Sprintf("d%d", i)), 3)
			if err := os.Symlink("../outside", filepath.Join(tree, fmt.Sprintf("l%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		in := open(t, tree)
		done := make(chan struct{})
		var exchanging sync.WaitGroup
		exchanging.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
					at := int(in.Fd())
					unix.Renameat2(at, fmt.Sprintf("d%d", i%50), at, fmt.Sprintf("l%d", i%50), unix.RENAME_EXCHANGE) // the file may be gone
				}
			}
		})
		err := RemoveTree(trash, parent, "tree")
		close(done)
		exchanging.Wait()
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if left := names(t, dir) + " " + names(t, outside) + " " + names(t, filepath.Join(outside, "d/d")); left != "outside trash d file file" {
			t.Fatalf("round %d: there are %s", round, left)
		}
	}
}
