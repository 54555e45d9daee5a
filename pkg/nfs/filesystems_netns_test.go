//go:build netns

package nfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A fileSystem is one of those that exports may be on.
type fileSystem struct {
	name  string
	mount func(t *testing.T) string // mounts a new one and returns where
}

func allFileSystems() []fileSystem {
	return []fileSystem{
		{"ext4", func(t *testing.T) string { return diskImage(t, "64M", "mkfs.ext4", "-q", "-F") }},
		{"ext4-nodev-nosuid-noexec", func(t *testing.T) string { // as is recommended for roots: clients do not notice
			return loopMount(t, newImage(t, "64M", "mkfs.ext4", "-q", "-F"), "nodev,nosuid,noexec")
		}},
		{"xfs", func(t *testing.T) string { return diskImage(t, "320M", "mkfs.xfs", "-q") }},
		{"btrfs", func(t *testing.T) string { return diskImage(t, "160M", "mkfs.btrfs", "-q") }},
		{"tmpfs", func(t *testing.T) string { return tmpfs(t) }},
		{"overlay", func(t *testing.T) string { return overlay(t, ",index=on,nfs_export=on") }},
	}
}

// fileSystems runs f on a new export on each file system.
func fileSystems(t *testing.T, f func(b *bench)) {
	t.Helper()
	for _, fs := range allFileSystems() {
		t.Run(fs.name, func(t *testing.T) {
			t.Parallel()
			f(newBench(t, emptyDir(t, fs.mount(t))))
		})
	}
}

// emptyDir makes a directory in one that may have files already.
func emptyDir(t *testing.T, in string) string {
	t.Helper()
	dir, err := os.MkdirTemp(in, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// diskImage makes a file system by mkfs and mounts it.
func diskImage(t *testing.T, size string, mkfs ...string) string {
	t.Helper()
	return loopMount(t, newImage(t, size, mkfs...), "")
}

// newImage makes a file system in a sparse file by mkfs.
func newImage(t *testing.T, size string, mkfs ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	run(t, "truncate", "-s", size, image)
	run(t, mkfs[0], append(mkfs[1:], image)...)
	return image
}

// loopMount mounts a disk image.
func loopMount(t *testing.T, image, options string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "mount", "-o", strings.TrimSuffix("loop,"+options, ","), image, dir)
	unmountAfter(t, dir)
	return dir
}

func unmountAfter(t testing.TB, dir string) {
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
}

// tmpfs returns a new directory with a tmpfs on it.
func tmpfs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	mountTmpfs(t, dir)
	return dir
}

func mountTmpfs(t testing.TB, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, dir)
}

// overlay mounts an overlay, on a tmpfs of its own, and returns where. It
// inherits a file f whose content is "lower".
func overlay(t *testing.T, options string) string {
	t.Helper()
	return overlayIn(t, tmpfs(t), options)
}

// overlayIn is overlay with its layers in base.
func overlayIn(t *testing.T, base, options string) string {
	t.Helper()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "lower/f"), []byte("lower"), 0o644); err != nil {
		t.Fatal(err)
	}
	merged := filepath.Join(base, "merged")
	data := fmt.Sprintf("lowerdir=%s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work%s", base, options)
	if err := unix.Mount("overlay", merged, "overlay", 0, data); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, merged)
	return merged
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
