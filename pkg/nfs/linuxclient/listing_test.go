//go:build e2e || soak

package linuxclient

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// An entry is what a tree has under one name.
type entry struct {
	Name     string
	Mode     uint32
	UID, GID uint32
	Links    uint64
	Device   uint64
	Size     int64  // of what is no directory
	Content  string // the target of a link, the hash of a file, or notRead
	Modified int64
}

// notRead stands for the hash of a file that is empty or larger than is wanted.
const notRead = ""

// list writes the entries of a tree to w, in their order, one JSON value each.
// Of files of more than maxRead bytes it leaves out the content.
func list(root string, maxRead int64, w io.Writer) error {
	out := json.NewEncoder(w)
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		e, err := describe(root, path, maxRead)
		if err != nil {
			return err
		}
		if e.Name == "proc" || e.Name == "mnt" { // other file systems while the guest looks
			return fs.SkipDir
		}
		return out.Encode(e)
	})
}

func describe(root, path string, maxRead int64) (entry, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return entry{}, fmt.Errorf("stat of %s: %w", path, err)
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return entry{}, err
	}
	e := entry{
		Name: name, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint64(st.Nlink), Device: uint64(st.Rdev),
		Size: st.Size, Modified: st.Mtim.Nano(),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Size = 0
	case unix.S_IFLNK:
		e.Content, err = os.Readlink(path)
	case unix.S_IFREG:
		e.Content = notRead
		if e.Size > 0 && e.Size <= maxRead { // not thousands of empty files: to open them takes the guest long
			e.Content, err = hash(path)
		}
	}
	return e, err
}

func hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

// ownContent names the files that hold times or inode numbers, so that no two
// trees have the same in them.
func ownContent(name string) bool {
	switch name {
	case "srv/clone/.git/index", "var/cache/ldconfig/aux-cache", "var/log/dpkg.log", "var/log/alternatives.log":
		return true
	}
	return false
}

// alike makes e and other equal in what may differ: the content that is its
// tree's own, and times after began, when the work began on either.
func alike(e, other entry, began int64) entry {
	if e.Modified > began && other.Modified > began {
		e.Modified = other.Modified
	}
	if ownContent(e.Name) {
		e.Content, e.Size = other.Content, other.Size
	}
	return e
}

// maxDifferences is how many are listed.
const maxDifferences = 40

// sameTrees checks that the export's tree is what the local one is, and that
// the guest saw it as it is.
func sameTrees(t *testing.T, local, export, seen string, began int64) {
	t.Helper()
	want, got := entries(t, local), entries(t, export)
	if len(want) < 1000 {
		t.Errorf("the work left %d files; want a Debian root", len(want))
	}
	compare(t, "on the export", got, want, func(e, w entry) entry { return alike(e, w, began) })
	compare(t, "seen by the client", readEntries(t, seen), got, func(e, w entry) entry {
		if e.Size > theLength().maxRead && e.Content == notRead {
			e.Content = w.Content
		}
		return e
	})
}

func compare(t *testing.T, where string, got, want map[string]entry, adapt func(e, w entry) entry) {
	t.Helper()
	differences := 0
	differ := func(format string, args ...any) {
		if differences++; differences <= maxDifferences {
			t.Errorf(format, args...)
		}
	}
	for name, w := range want {
		g, ok := got[name]
		if !ok {
			differ("%s: not %s", name, where)
		} else if g = adapt(g, w); g != w {
			differ("%s %s: %+v; want %+v", name, where, g, w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			differ("%s: %s only", name, where)
		}
	}
	if differences > maxDifferences {
		t.Errorf("%d differences in all", differences)
	}
}

func entries(t *testing.T, root string) map[string]entry {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := list(root, math.MaxInt64, f); err != nil {
		t.Fatal(err)
	}
	return readEntries(t, file)
}

func readEntries(t *testing.T, file string) map[string]entry {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]entry{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[e.Name] = e
	}
	return all
}
