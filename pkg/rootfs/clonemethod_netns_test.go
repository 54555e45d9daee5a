//go:build netns

package rootfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/roottest"
)

// mountDisk mounts a new file system of a kind and returns a directory on it.
func mountDisk(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	roottest.Spec{"mount/": "dir", "image": ""}.Make(t, dir)
	const size = 320 << 20 // mkfs.xfs takes no less than 300 MB
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs."+kind, "-q", image)
	command(t, "mount", "-o", "loop", image, mount) // and umount frees the loop device
	t.Cleanup(func() { command(t, "umount", mount) })
	return mount
}

// installation is a state directory on a file system of its own.
type installation struct {
	templates *Templates
	roots     *Roots
	src       Template
}

func install(t *testing.T, state string) installation {
	t.Helper()
	source := t.TempDir()
	rootlyTree(t, source)
	i := installation{templates: &Templates{Dir: filepath.Join(state, "templates")}}
	i.roots = testRoots(t, filepath.Join(state, "roots"))
	i.roots.Templates = i.templates
	i.src, _ = importSmall(t, i.templates, source)
	t.Cleanup(func() { i.restartMachine(t) })
	return i
}

// restartMachine takes away what does not survive one: mounts.
func (i installation) restartMachine(t *testing.T) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(i.roots.Dir, "[0-9a-f]*"))
	for _, dir := range dirs {
		err = errors.Join(err, unmount(dir))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// On every file system the best way is found, and every way that it can do gives
// the same root.
func TestCloneMethods(t *testing.T) {
	for kind, can := range map[string][]CloneMethod{
		"ext4":  {Overlay, Copy},
		"xfs":   {Reflink, Overlay, Copy},
		"btrfs": {Snapshot, Reflink, Copy},
	} {
		t.Run(kind, func(t *testing.T) {
			i := install(t, mountDisk(t, kind))
			shared := map[string]CloneMethod{"ext4": Overlay, "xfs": Overlay, "btrfs": Snapshot}[kind]
			for _, by := range append([]CloneMethod{Auto, Shared}, can...) {
				want := by
				switch by {
				case Auto:
					want = can[0]
				case Shared:
					want = shared
				}
				if report := checkClones(t, i.roots, i.src, by); report.How != want {
					t.Errorf("clone by %s on %s was made by %s; want %s", by, kind, report.How, want)
				}
				i.remove(t)
			}
			for _, by := range Auto.candidates() {
				if slices.Contains(can, by) {
					continue
				}
				_, err := i.roots.Clone(t.Context(), i.src, by, 1, identityOf(1, "pi"), nil)
				if !errors.Is(err, filetree.ErrUnsupported) || !strings.Contains(err.Error(), "auto") {
					t.Errorf("clone by %s on %s = %v; want it refused, and auto named", by, kind, err)
				}
			}
			checkStaging(t, i.roots.Dir)
		})
	}
}

// A clone that a full disk ends leaves nothing, whichever way it was made, and is
// made once there is room.
func TestFullDiskWithEveryMethod(t *testing.T) {
	for kind, can := range map[string][]CloneMethod{
		"ext4":  {Overlay, Copy},
		"xfs":   {Reflink, Overlay, Copy},
		"btrfs": {Snapshot, Reflink, Copy},
	} {
		t.Run(kind, func(t *testing.T) {
			disk := mountDisk(t, kind)
			i := install(t, disk)
			i.roots.MinFree = 1
			i.roots.worker = func(pi.Arch) ([]byte, error) { return make([]byte, 32<<20), nil } // more than is kept for root
			i.src.SizeBytes = 1                                                                 // or a copy would not begin
			for _, by := range can {
				leaveFree(t, disk, 2<<20)
				_, err := i.roots.Clone(t.Context(), i.src, by, 1, identityOf(1, "pi"), nil)
				if !errors.Is(err, unix.ENOSPC) {
					t.Errorf("clone by %s on a full disk = %v; want that no space is left", by, err)
				}
				checkStaging(t, i.roots.Dir)
				if left, err := filepath.Glob(filepath.Join(i.roots.Dir, "[0-9]*")); err != nil || len(left) > 0 {
					t.Errorf("clone by %s on a full disk left %q, %v", by, left, err)
				}
				command(t, "rm", filepath.Join(disk, "fill"))
				command(t, "sync", "-f", disk) // before that, btrfs takes nothing back
				if _, err := i.roots.Clone(t.Context(), i.src, by, 1, identityOf(1, "pi"), nil); err != nil {
					t.Errorf("clone by %s with room again = %v", by, err)
				}
				if err := i.roots.Remove(1); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// remove deletes the roots that checkClones made.
func (i installation) remove(t *testing.T) {
	t.Helper()
	if err := errors.Join(i.roots.Remove(0x33333400), i.roots.Remove(0x33333401)); err != nil {
		t.Fatal(err)
	}
}

// A template that is no subvolume, as an older pibootd made them, cannot be
// snapshotted, and says so.
func TestSnapshotOfADirectory(t *testing.T) {
	i := install(t, mountDisk(t, "btrfs"))
	plain := i.src.tree + "-plain"
	if err := errors.Join(os.Rename(i.src.tree, plain), os.Mkdir(i.src.tree, 0o755), copyInto(t, plain, i.src.tree)); err != nil {
		t.Fatal(err)
	}
	_, err := i.roots.Clone(t.Context(), i.src, Snapshot, 1, identityOf(1, "pi"), nil)
	if !errors.Is(err, filetree.ErrUnsupported) || !strings.Contains(err.Error(), "import it again") {
		t.Errorf("snapshot of a directory = %v; want it refused, with what to do", err)
	}
	_, err = i.roots.Clone(t.Context(), i.src, Shared, 1, identityOf(1, "pi"), nil)
	if !errors.Is(err, filetree.ErrUnsupported) || !strings.Contains(err.Error(), "import it again") || !strings.Contains(err.Error(), "without --shared") {
		t.Errorf("shared root of a directory on btrfs = %v; want it refused rather than copied, with why and what to do", err)
	}
	checkStaging(t, i.roots.Dir)
	if report := checkClones(t, i.roots, i.src, Auto); report.How != Reflink {
		t.Errorf("clone of it by auto was made by %s; want reflink", report.How)
	}
}

func copyInto(t *testing.T, from, to string) error {
	return (&filetree.Copier{}).Copy(t.Context(), from, to)
}

// An overlay root is back after a restart of the machine, as it was left; it can
// be archived and restored; what its board does to it does not reach the
// template or another board.
func TestOverlayLives(t *testing.T) {
	i := install(t, t.TempDir())
	checkClones(t, i.roots, i.src, Overlay)
	const one, two = 0x33333400, 0x33333401
	before := roottest.Snapshot(t, i.src.tree)
	path := func(name string) string { return filepath.Join(i.roots.Path(one), name) }
	if err := errors.Join(
		os.WriteFile(path("usr/bin/sudo"), []byte("changed"), 0o755),
		os.Remove(path("etc/os-release")),
		os.Rename(path("home/pi"), path("home/peter")), // a directory of the template
		unix.Mknod(path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
	); err != nil {
		t.Fatal(err)
	}
	left := roottest.Snapshot(t, i.roots.Path(one))
	handles := map[string]unix.FileHandle{}
	for _, name := range []string{"usr/bin/sudo", "usr/bin/ping", "home/peter/file", "etc/hostname"} {
		handles[name] = handleOf(t, path(name))
	}
	i.restartMachine(t)
	if got := roottest.Snapshot(t, i.roots.Path(one)); got["usr"].Mode != 0 {
		t.Error("the root is there without its mount; want this test to see what a restart does")
	}
	for range 2 { // the second finds it mounted
		if err := errors.Join(i.roots.Mount(one), i.roots.Mount(two), i.roots.Mount(0x44)); err != nil {
			t.Fatal(err)
		}
	}
	if got := roottest.Snapshot(t, i.roots.Path(one)); got["usr/bin/sudo"].Content != "changed" || len(got) != len(left) || got["etc/os-release"].Mode != 0 || got["home/peter/file"].Content != "pi's" {
		t.Errorf("after a restart: %+v", got)
	}
	for name, handle := range handles {
		if got, want := readHandle(t, i.roots.Path(one), handle), roottest.ReadFile(t, i.roots.Path(one), name); got != want {
			t.Errorf("the handle of %s opens %q after a restart; want %q", name, got, want)
		}
	}
	if got := roottest.ReadFile(t, i.roots.Path(two), "usr/bin/sudo"); got != "sudo" {
		t.Errorf("the other board's sudo is %q; want it untouched", got)
	}
	next, _, err := i.roots.Prepare(t.Context(), i.src, Overlay, one, identityOf(one, "pi-again"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if token := i.roots.tokenOf(i.roots.ArchivedPath(next)); token != "token of pi-again" {
		t.Errorf("token of the prepared root = %q; want the new one", token)
	}
	old, err := i.roots.Swap(next, Origin{Template: "small", Version: 1, Clone: string(Overlay), Why: "test"})
	if err != nil || roottest.ReadFile(t, i.roots.Path(one), "etc/hostname") != "pi-again\n" {
		t.Fatalf("Swap = %v; want the new root in place", err)
	}
	if err := i.roots.Restore(old, identityOf(one, "pi-old")); err != nil {
		t.Fatal(err)
	}
	if _, err := i.roots.Swap(old, Origin{Template: "small", Version: 1, Why: "test"}); err != nil {
		t.Fatal(err)
	}
	if name, sudo := roottest.ReadFile(t, i.roots.Path(one), "etc/hostname"), roottest.ReadFile(t, i.roots.Path(one), "usr/bin/sudo"); name != "pi-old\n" || sudo != "changed" {
		t.Errorf("put back: host name %q, sudo %q; want the new name and the old root", name, sudo)
	}
	if diff := cmp.Diff(before, roottest.Snapshot(t, i.src.tree)); diff != "" {
		t.Errorf("the template changed under an overlay (-before +after):\n%s", diff)
	}
}

// handleOf returns the kernel's handle of a file, which NFS clients hold.
func handleOf(t *testing.T, path string) unix.FileHandle {
	t.Helper()
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		t.Fatalf("handle of %s: %v", path, err)
	}
	return handle
}

// readHandle reads the file of a handle below the root that it was made in.
func readHandle(t *testing.T, root string, handle unix.FileHandle) string {
	t.Helper()
	mount, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer mount.Close()
	fd, err := unix.OpenByHandleAt(int(mount.Fd()), handle, unix.O_RDONLY)
	if err != nil {
		t.Fatalf("opening by handle: %v", err)
	}
	file := os.NewFile(uintptr(fd), "handle")
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A board cannot make its own root look like an overlay, nor can a template.
func TestOverlayMarkIsOurs(t *testing.T) {
	i := install(t, t.TempDir())
	if err := unix.Setxattr(i.src.tree, filetree.OverlayXattr, []byte("small@1"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := i.roots.Clone(t.Context(), i.src, Copy, 1, identityOf(1, "pi"), nil); err != nil {
		t.Fatal(err)
	}
	if ref, err := overlayTemplate(i.roots.Path(1)); ref != "" || err != nil {
		t.Errorf("a copy says that it lies over %q, %v; want nothing", ref, err)
	}
}
