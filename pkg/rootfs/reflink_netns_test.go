//go:build netns

package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mountXFS mounts a new XFS, which can share blocks between files, and returns
// a directory on it.
func mountXFS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	treeSpec{"mount/": "dir", "image": ""}.make(t, dir)
	const size = 320 << 20 // mkfs.xfs takes no less than 300 MB
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.xfs", "-q", "-m", "reflink=1", image)
	command(t, "mount", "-o", "loop", image, mount) // and umount frees the loop device
	t.Cleanup(func() { command(t, "umount", mount) })
	return mount
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func TestCloneByReflink(t *testing.T) {
	state, source := mountXFS(t), t.TempDir()
	rootlyTree(t, source)
	src, _ := importSmall(t, &Templates{Dir: filepath.Join(state, "templates")}, source)
	report := checkClones(t, testRoots(t, filepath.Join(state, "roots")), src)
	if report.How != HowReflink {
		t.Errorf("clone by %q on XFS; want %q", report.How, HowReflink)
	}
	// Writing to a clone must not change the template.
	before := readFile(t, src.tree, "usr/bin/sudo")
	clone := filepath.Join(state, "roots", "33333400", "usr/bin/sudo")
	if err := os.WriteFile(clone, []byte("changed"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, src.tree, "usr/bin/sudo"); got != before {
		t.Errorf("template's file = %q after a write to the clone; want %q", got, before)
	}
}

// A clone from another file system falls back to copying.
func TestCloneAcrossFileSystems(t *testing.T) {
	state, source := mountXFS(t), t.TempDir()
	rootlyTree(t, source)
	src, _ := importSmall(t, &Templates{Dir: filepath.Join(state, "templates")}, source)
	if report := checkClones(t, testRoots(t, t.TempDir()), src); report.How != HowCopy {
		t.Errorf("clone by %q between file systems; want %q", report.How, HowCopy)
	}
}
