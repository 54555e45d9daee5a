//go:build netns

package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/rootfs/roottest"
	"pibootd/pkg/rootfs/stage"
)

// mountXFS mounts a new XFS, which can share blocks between files, and returns
// a directory on it.
func mountXFS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	roottest.Spec{"mount/": "dir", "image": ""}.Make(t, dir)
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
	report := checkClones(t, testRoots(t, filepath.Join(state, "roots")), src, Auto)
	if report.How != Reflink {
		t.Errorf("clone by %q on XFS; want %q", report.How, Reflink)
	}
	// Writing to a clone must not change the template.
	before := roottest.ReadFile(t, src.tree, "usr/bin/sudo")
	clone := filepath.Join(state, "roots", "33333400", "usr/bin/sudo")
	if err := os.WriteFile(clone, []byte("changed"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := roottest.ReadFile(t, src.tree, "usr/bin/sudo"); got != before {
		t.Errorf("template's file = %q after a write to the clone; want %q", got, before)
	}
}

// A clone from another file system falls back to copying.
func TestCloneAcrossFileSystems(t *testing.T) {
	state, source := mountXFS(t), t.TempDir()
	rootlyTree(t, source)
	src, _ := importSmall(t, &Templates{Dir: filepath.Join(state, "templates")}, source)
	if report := checkClones(t, testRoots(t, t.TempDir()), src, Copy); report.How != Copy {
		t.Errorf("clone by %q between file systems; want %q", report.How, Copy)
	}
}

// A clone that does not fit is refused before it begins, one that fills the disk
// all the same fails, and neither leaves anything.
func TestCloneOnAFullDisk(t *testing.T) {
	state, source := mountXFS(t), t.TempDir()
	roottest.Small().Make(t, source)
	roottest.Spec{"big": strings.Repeat("x", 100<<20)}.Make(t, source)
	src, _ := importSmall(t, &Templates{Dir: filepath.Join(t.TempDir(), "templates")}, source)
	fill := filepath.Join(state, "fill")
	roots := testRoots(t, filepath.Join(state, "roots"))
	for want, prepare := range map[string]func(*Template){
		"MB free; want": func(*Template) { roots.MinFree = 250 << 20 },
		"no space left on": func(src *Template) { // something else writes there meanwhile
			command(t, "fallocate", "-l", "210M", fill)
			roots.MinFree, src.SizeBytes = 1, 1
		},
	} {
		src := src
		prepare(&src)
		_, err := roots.Clone(t.Context(), src, Copy, 1, identityOf(1, "pi"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Clone = %v; want %q in it", err, want)
		}
		if err := os.RemoveAll(fill); err != nil {
			t.Fatal(err)
		}
		left, err := filepath.Glob(filepath.Join(roots.Dir, "[0-9]*"))
		staged, stageErr := filepath.Glob(filepath.Join(roots.Dir, stage.StagingDir, "*"))
		if err != nil || stageErr != nil || len(left)+len(staged) > 0 {
			t.Errorf("the clone left %q and %q", left, staged)
		}
	}
}
