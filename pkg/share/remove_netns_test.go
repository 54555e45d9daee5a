//go:build netns

package share

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// command runs a program that must succeed.
func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// The error names what cannot be removed, and everything else is gone.
func TestRemoveTreeSaysWhatStays(t *testing.T) {
	dir := t.TempDir()
	tree, outside := filepath.Join(dir, "tree"), filepath.Join(dir, "outside")
	deepTree(t, tree, 10)
	deepTree(t, outside, 2)
	fixed, mounted := filepath.Join(tree, "d/d/fixed"), filepath.Join(tree, "mounted")
	err := errors.Join(os.WriteFile(fixed, nil, 0o600), os.Mkdir(mounted, 0o755), unix.Mount(outside, mounted, "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	command(t, "chattr", "+i", fixed)
	parent := open(t, dir)
	err = RemoveTree(parent, parent, "tree")
	for _, want := range []string{`"fixed": operation not permitted`, `"mounted": something is mounted there`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("RemoveTree = %v; want it to say %s", err, want)
		}
	}
	if left := names(t, outside) + names(t, filepath.Join(outside, "d")); left != "d filefile" {
		t.Errorf("of what was mounted there is left: %s", left)
	}
	// Once those can be removed, they are.
	moved, err := filepath.Glob(filepath.Join(dir, ".removed-*/fixed"))
	if err != nil || len(moved) != 1 {
		t.Fatalf("the fixed file is in %q, %v; want it in the trash", moved, err)
	}
	command(t, "chattr", "-i", moved[0])
	mounts, err := filepath.Glob(filepath.Join(dir, ".removed-*/mounted"))
	if err != nil || len(mounts) != 1 {
		t.Fatalf("the mount is at %q, %v; want it in the trash", mounts, err)
	}
	if err := unix.Unmount(mounts[0], 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(outside, filepath.Join(t.TempDir(), "outside")); err != nil {
		t.Fatal(err)
	}
	if err := EmptyTrash(parent); err != nil || names(t, dir) != "" {
		t.Errorf("EmptyTrash = %v, left is %s", err, names(t, dir))
	}
}

// On btrfs, subvolumes have their content removed in place.
func TestRemoveSubvolume(t *testing.T) {
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 200<<20), os.Mkdir(mount, 0o755)); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.btrfs", "-q", image)
	command(t, "mount", "-o", "loop", image, mount)
	t.Cleanup(func() { command(t, "umount", mount) })
	command(t, "btrfs", "subvolume", "create", filepath.Join(mount, "tree"))
	deepTree(t, filepath.Join(mount, "tree/deep"), 2000)
	command(t, "btrfs", "subvolume", "create", filepath.Join(mount, "tree/deep/d/inner"))
	deepTree(t, filepath.Join(mount, "tree/deep/d/inner/deep"), 2000)
	if err := os.Mkdir(filepath.Join(mount, "trash"), 0o700); err != nil {
		t.Fatal(err)
	}
	parent, err := os.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	trash, err := os.Open(filepath.Join(mount, "trash"))
	if err != nil {
		t.Fatal(err)
	}
	defer trash.Close()
	fewDescriptors(t, 16)
	if err := RemoveTree(trash, parent, "tree"); err != nil {
		t.Error(err)
	}
	if left := names(t, mount) + names(t, filepath.Join(mount, "trash")); left != "trash" {
		t.Errorf("there are %s", left)
	}
}

// The owner of a directory that is being removed has it open, and cannot keep it by
// creating files in it: here, while one file cannot be removed.
func TestRemoveTreeFromItsOwner(t *testing.T) {
	const owner = 1900000001
	dir := t.TempDir()
	top := filepath.Join(dir, "top")
	fixed := filepath.Join(top, "fixed")
	if err := errors.Join(os.Mkdir(top, 0o777), os.Chown(top, owner, owner), os.WriteFile(fixed, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	command(t, "chattr", "+i", fixed)
	held := open(t, top)
	makeOne := func(name string) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked, because the thread keeps its user
			err := unix.Setfsuid(owner)
			if err == nil {
				_, err = unix.Openat(int(held.Fd()), name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
			}
			done <- err
		}()
		return <-done
	}
	if err := makeOne("before"); err != nil {
		t.Fatal(err)
	}
	parent := open(t, dir)
	if err := RemoveTree(parent, parent, "top"); !errors.Is(err, unix.EPERM) {
		t.Errorf("RemoveTree = %v; want that the fixed file stays", err)
	}
	if err := makeOne("after"); !errors.Is(err, unix.EACCES) {
		t.Errorf("its owner makes a file in it: %v; want that it may not", err)
	}
	moved, err := filepath.Glob(filepath.Join(dir, ".removed-*/fixed"))
	if err != nil || len(moved) != 1 {
		t.Fatalf("the fixed file is in %q, %v; want it in the trash", moved, err)
	}
	command(t, "chattr", "-i", moved[0])
	if err := EmptyTrash(parent); err != nil || names(t, dir) != "" {
		t.Errorf("EmptyTrash = %v, left is %s", err, names(t, dir))
	}
}
