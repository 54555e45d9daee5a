//go:build netns

package nfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestPowerCut: what was answered is there after a power cut. The export is on
// a disk image; after each reply the image is copied as it is, without what
// the kernel still has in memory, and the copy is mounted.
func TestPowerCut(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	run(t, "mkfs.ext4", "-q", "-F", "-J", "size=4", image, "12M")
	b := &bench{T: t, dir: loopMount(t, image, patient)}
	b.s, b.c, b.root = serveDir(t, b.dir)
	var f []byte
	exists := func(name string) func(string) error {
		return func(dir string) error { _, err := os.Lstat(filepath.Join(dir, name)); return err }
	}
	gone := func(name string) func(string) error {
		return func(dir string) error {
			if err := exists(name)(dir); !errors.Is(err, os.ErrNotExist) {
				return errors.New(name + " is still there")
			}
			return nil
		}
	}
	check := func(what string, s status, then ...func(dir string) error) {
		t.Helper()
		b.want(what, s, statusOK)
		dir := afterPowerCut(t, image)
		for _, f := range then {
			if err := f(dir); err != nil {
				t.Errorf("%s is lost by a power cut: %v", what, err)
			}
		}
	}
	check("CREATE", b.call(b.c, 8, b.root, "f", guarded, sattr{mode: ptr(uint32(0o640))}), exists("f"))
	f, _ = b.c.lookup(b.root, "f")
	f = bytes.Clone(f)
	check("WRITE", b.c.write(f, 0, fileSync, []byte("kept")), holds("f", "kept"))
	check("data-stable WRITE", b.c.write(f, 4, dataSync, []byte("!")), holds("f", "kept!"))
	b.want("UNSTABLE WRITE", b.c.write(f, 5, unstable, []byte("!")), statusOK)
	check("COMMIT", b.call(b.c, 21, f, uint64(0), 0), holds("f", "kept!!"))
	check("SETATTR", b.call(b.c, 2, f, sattr{mode: ptr(uint32(0o600))}, false), func(dir string) error {
		if m := onDisk(t, filepath.Join(dir, "f")).Mode & 0o777; m != 0o600 {
			return errors.New("the mode is the old one")
		}
		return nil
	})
	check("MKDIR", b.call(b.c, 9, b.root, "d", sattr{}), exists("d"))
	check("SYMLINK", b.call(b.c, 10, b.root, "l", sattr{}, "target"), exists("l"))
	l, _ := b.c.lookup(b.root, "l")
	check("SETATTR of a link", b.call(b.c, 2, l, sattr{uid: ptr(uint32(7))}, false), func(dir string) error {
		if uid := onDisk(t, filepath.Join(dir, "l")).Uid; uid != 7 {
			return errors.New("the owner is the old one")
		}
		return nil
	})
	check("MKNOD", b.call(b.c, 11, b.root, "p", typeFIFO, sattr{}), exists("p"))
	check("LINK", b.call(b.c, 15, f, b.root, "g"), exists("g"))
	check("RENAME", b.call(b.c, 14, b.root, "g", b.root, "h"), exists("h"), gone("g"))
	check("REMOVE", b.call(b.c, 12, b.root, "h"), gone("h"), exists("f"))
	check("RMDIR", b.call(b.c, 13, b.root, "d"), gone("d"))
}

// patient makes it long until ext4 brings anything to the disk by itself.
const patient = "commit=900"

func holds(name, content string) func(string) error {
	return func(dir string) error {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && string(got) != content {
			err = errors.New("it holds " + string(got))
		}
		return err
	}
}

// afterPowerCut mounts a copy of image and returns where.
func afterPowerCut(t *testing.T, image string) string {
	t.Helper()
	now, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(cut, now, 0o600); err != nil {
		t.Fatal(err)
	}
	return loopMount(t, cut)
}
