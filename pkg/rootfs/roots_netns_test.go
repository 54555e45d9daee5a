//go:build netns

package rootfs

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/roottest"
	"pibootd/pkg/rootfs/stage"
)

// fileCapability is cap_net_raw+ep as security.capability holds it.
const fileCapability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// rootlyTree is a small root with what only root can make.
func rootlyTree(t *testing.T, dir string) {
	t.Helper()
	roottest.Small().Make(t, dir)
	roottest.Spec{"usr/bin/ping": "ping", "usr/bin/sudo": "sudo", "home/pi/file": "pi's", "proc/": "dir", "big": strings.Repeat("x", 3<<20)}.Make(t, dir)
	roottest.Spec{"opt/a  b/ c ": "spaces", "opt/new\nline/\\": "newline", "opt/\xff\xfe": "no UTF-8", "opt/-rf": "dash", "opt/odd link": "-> \xff no\nsuch"}.Make(t, dir)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Lchown(at("home/pi/file"), 1000, 1001),
		os.Chown(at("home/pi"), 1000, 1000),
		os.Lchown(at("etc/os-release"), 7, 8),
		os.Chmod(at("usr/bin/sudo"), 0o755|os.ModeSetuid),
		os.Chmod(at("home/pi"), 0o700|os.ModeSticky),
		unix.Setxattr(at("usr/bin/ping"), "security.capability", []byte(fileCapability), 0),
		unix.Setxattr(at("home"), "user.note", []byte("note"), 0),
		unix.Mknod(at("console"), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 1))),
		unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))),
		os.Link(at("usr/bin/ping"), at("usr/bin/ping6")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func importSmall(t *testing.T, templates *Templates, source string) (Template, []filetree.Change) {
	t.Helper()
	made, changes, err := templates.Import(t.Context(), "small", source, ImportOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made, changes
}

func changed(changes []filetree.Change) map[string]bool {
	files := make(map[string]bool)
	for _, change := range changes {
		if !strings.Contains(change.What, "NFSv3") { // that one is kept
			files[change.File] = true
		}
	}
	return files
}

// without leaves out the named entries and every directory's time, which
// changes with what is in it.
func without(tree map[string]roottest.Entry, names map[string]bool) map[string]roottest.Entry {
	rest := make(map[string]roottest.Entry)
	for name, state := range tree {
		if names[name] {
			continue
		}
		if state.Mode&unix.S_IFMT == unix.S_IFDIR {
			state.Modified = unix.Timespec{}
		}
		rest[name] = state
	}
	return rest
}

func TestImport(t *testing.T) {
	source := t.TempDir()
	rootlyTree(t, source)
	archive := filepath.Join(t.TempDir(), "root.tar.zst")
	tarTree(t, archive, source)
	templates := &Templates{Dir: t.TempDir()}
	before := roottest.Snapshot(t, source)
	for i, from := range []string{source, archive} {
		made, changes := importSmall(t, templates, from)
		if made.Version != i+1 || made.Arch != pi.ARM64 || made.Files == 0 || made.SizeBytes < 3<<20 {
			t.Errorf("template = %+v; want version %d, arm64, over 3 MiB", made, i+1)
		}
		names := changed(changes)
		if len(names) != 8 {
			t.Errorf("import of %s changed %v; want 8 files", from, changes)
		}
		want, got := without(before, names), without(roottest.Snapshot(t, made.tree), names)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("import of %s (-source +template):\n%s", from, diff)
		}
	}
	if diff := cmp.Diff(before, roottest.Snapshot(t, source)); diff != "" {
		t.Errorf("import changed its source:\n%s", diff)
	}
}

// tarTree packs a tree with GNU tar, so that our reading meets its writing. The
// archive has everything below one directory.
func tarTree(t *testing.T, archive, dir string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", "-C", filepath.Dir(dir), "--zstd", "--xattrs", "--xattrs-include=*", "--format=pax", "-cf", archive, filepath.Base(dir)).CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
}

func TestImportRefuses(t *testing.T) {
	templates := &Templates{Dir: t.TempDir()}
	empty := t.TempDir()
	for source, want := range map[string]string{
		filepath.Join(empty, "none"): "no such file",
		empty:                        "not a root file system",
		"/dev/null":                  "want a directory, or a tar",
		writeTemp(t, []byte("text")): "unknown content",
		writeTemp(t, oneFileTar(t)):  "not a root file system",
	} {
		_, _, err := templates.Import(t.Context(), "bad", source, ImportOptions{}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Import(%s) = %v; want %q", source, err, want)
		}
	}
	if _, _, err := templates.Import(t.Context(), "../bad", empty, ImportOptions{}, nil); err == nil {
		t.Error("Import as ../bad = nil; want an error")
	}
	checkNothingLeft(t, templates)
}

// A directory that holds no root is refused before it is copied, and one that is
// too large before the disk is full.
func TestImportDirectoryWithCare(t *testing.T) {
	disk := mountDisk(t, "ext4")
	templates := &Templates{Dir: filepath.Join(disk, "templates")}
	source := t.TempDir()
	roottest.Spec{"documents/": "dir", "films/": "dir"}.Make(t, source)
	_, _, err := templates.Import(t.Context(), "bad", source, ImportOptions{}, func(step string, _, _ int64) {
		t.Errorf("progress says %q; want a directory that is no root left alone", step)
	})
	if !errors.Is(err, bootcheck.ErrNotRoot) {
		t.Errorf("Import of what is no root = %v", err)
	}
	rootlyTree(t, source)
	var stat unix.Statfs_t
	if err := unix.Statfs(disk, &stat); err != nil {
		t.Fatal(err)
	}
	roottest.Spec{"films/one": strings.Repeat("x", 3*stage.CheckEvery)}.Make(t, source)
	templates.MinFree = int64(stat.Bavail)*int64(stat.Bsize) - stage.CheckEvery/2
	_, _, err = templates.Import(t.Context(), "large", source, ImportOptions{}, nil)
	if err == nil || !strings.Contains(err.Error(), "MB left after it") {
		t.Errorf("Import of what would leave too little space = %v; want it refused", err)
	}
	checkNothingLeft(t, templates)
}

// What a killed import has left goes with the next one.
func TestImportSweeps(t *testing.T) {
	source := t.TempDir()
	rootlyTree(t, source)
	templates := &Templates{Dir: t.TempDir()}
	dead, err := stage.New(templates.Dir)
	if err != nil {
		t.Fatal(err)
	}
	roottest.Spec{"root/file": "half"}.Make(t, dead.Tree())
	if err := dead.Lock.Close(); err != nil { // as the kernel does for a killed process
		t.Fatal(err)
	}
	importSmall(t, templates, source)
	checkStaging(t, templates.Dir)
}

func checkNothingLeft(t *testing.T, templates *Templates) {
	t.Helper()
	if got := refs(t, templates); got != nil {
		t.Errorf("List = %v; want nothing", got)
	}
	checkStaging(t, templates.Dir)
}

func checkStaging(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(filepath.Join(dir, stage.StagingDir)); err != nil || len(left) != 0 {
		t.Errorf("staging directory has %v, %v; want nothing", left, err)
	}
}

// An import of the whole machine must not copy the templates into themselves,
// and takes /proc as an empty directory.
func TestImportAroundItself(t *testing.T) {
	source := t.TempDir()
	rootlyTree(t, source)
	if err := unix.Mount("proc", filepath.Join(source, "proc"), "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(filepath.Join(source, "proc"), 0); err != nil {
			t.Error(err)
		}
	})
	made, _ := importSmall(t, &Templates{Dir: filepath.Join(source, "var/lib/pibootd/templates")}, source)
	for _, dir := range []string{"proc", "var/lib/pibootd"} {
		if left, err := os.ReadDir(filepath.Join(made.tree, dir)); err != nil || len(left) != 0 {
			t.Errorf("%s of the template has %d entries, %v; want none", dir, len(left), err)
		}
	}
}

// laidFiles are what every clone of a systemd root gets, each the same.
func laidFiles(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{
		"etc/pibootd": true, "usr/lib/pibootd/pibootd-worker": true, images.VolatileInitFile: true,
		"etc/systemd/system/multi-user.target.wants/pibootd-worker.service": true,
	}
	err := fs.WalkDir(images.Overlay(), ".", func(name string, _ fs.DirEntry, err error) error {
		names[name] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, shared := range []string{".", "etc", "usr", "usr/lib", "etc/systemd", "etc/systemd/system"} {
		delete(names, shared) // directories that the template has
	}
	return names
}

// ownFiles are what a clone does not share with its template.
func ownFiles(t *testing.T) map[string]bool {
	t.Helper()
	names := laidFiles(t)
	for _, name := range []string{"etc/hostname", "etc/hosts", "etc/machine-id", "etc/pibootd/worker.json"} {
		names[name] = true
	}
	for _, kind := range []string{"ecdsa", "ed25519"} {
		names["etc/ssh/ssh_host_"+kind+"_key"] = true
		names["etc/ssh/ssh_host_"+kind+"_key.pub"] = true
	}
	return names
}

func TestClone(t *testing.T) {
	state, source := t.TempDir(), t.TempDir()
	rootlyTree(t, source)
	src, _ := importSmall(t, &Templates{Dir: filepath.Join(state, "templates")}, source)
	checkClones(t, testRoots(t, filepath.Join(state, "roots")), src, Copy)
}

// checkClones clones two boards from src and compares all three trees.
func checkClones(t *testing.T, roots *Roots, src Template, by CloneMethod) Report {
	t.Helper()
	template := roottest.Snapshot(t, src.tree)
	var report Report
	clones := make([]map[string]roottest.Entry, 2)
	for i, name := range []string{"pi-one", "pi-two"} {
		serial := pi.Serial(0x33333400 + i)
		var err error
		if report, err = roots.Clone(t.Context(), src, by, serial, identityOf(serial, name), nil); err != nil {
			t.Fatal(err)
		}
		clones[i] = roottest.Snapshot(t, roots.Path(serial))
		if diff := cmp.Diff(without(template, ownFiles(t)), without(clones[i], ownFiles(t))); diff != "" {
			t.Errorf("clone differs from its template (-template +clone):\n%s", diff)
		}
		if got := clones[i]["etc/hostname"].Content; got != name+"\n" {
			t.Errorf("etc/hostname = %q; want %s", got, name)
		}
		if got := clones[i]["etc/machine-id"].Content; got != report.MachineID+"\n" || len(report.MachineID) != 32 {
			t.Errorf("etc/machine-id = %q; want the report's %q", got, report.MachineID)
		}
	}
	shared := laidFiles(t)
	for name := range ownFiles(t) {
		one, two := clones[0][name], clones[1][name]
		if one.Mode == 0 || !shared[name] && one.Content == two.Content {
			t.Errorf("%s: clones have %q and %q; want both, and different", name, one.Content, two.Content)
		}
		if one.UID != 0 || one.GID != 0 {
			t.Errorf("%s belongs to %d:%d; want root", name, one.UID, one.GID)
		}
	}
	return report
}

func TestCloneRefuses(t *testing.T) {
	state, source := t.TempDir(), t.TempDir()
	roottest.Small().Make(t, source)
	src, _ := importSmall(t, &Templates{Dir: filepath.Join(state, "templates")}, source)
	roots := testRoots(t, filepath.Join(state, "roots"))
	const serial = pi.Serial(0x3333347a)
	if _, err := roots.Clone(t.Context(), src, Copy, serial, identityOf(serial, "a b"), nil); err == nil {
		t.Error("Clone with a bad host name = nil; want an error")
	}
	if _, err := roots.Clone(t.Context(), Template{Name: "x", Version: 1}, Copy, serial, identityOf(serial, "pi"), nil); err == nil {
		t.Error("Clone of a template from nowhere = nil; want an error")
	}
	if _, err := roots.Clone(t.Context(), src, Copy, serial, identityOf(serial, "pi"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := roots.Clone(t.Context(), src, Copy, serial, identityOf(serial, "pi"), nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Clone = %v; want ErrExist", err)
	}
}

func TestRootsLife(t *testing.T) {
	state, source := t.TempDir(), t.TempDir()
	roottest.Small().Make(t, source)
	src, _ := importSmall(t, &Templates{Dir: filepath.Join(state, "templates")}, source)
	roots := testRoots(t, filepath.Join(state, "roots"))
	for _, serial := range []pi.Serial{1, 2, 3, 4} {
		if _, err := roots.Clone(t.Context(), src, Copy, serial, identityOf(serial, "pi"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(roots.Remove(1), roots.Remove(1)); err != nil {
		t.Errorf("Remove = %v; want nil, also for what is gone", err)
	}
	kept, err := roots.Archive(2, Origin{Template: "small", Version: 1, Why: "test"})
	if err != nil || roottest.ReadFile(t, roots.ArchivedPath(kept), "etc/hostname") != "pi\n" {
		t.Errorf("Keep = %+v, %v; want the root there", kept, err)
	}
	roottest.Spec{"lost+found/": "dir"}.Make(t, roots.Dir)
	if err := roots.Sweep(func(serial pi.Serial) bool { return serial == 3 }); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(roots.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if diff := cmp.Diff([]string{archiveDir, stage.StagingDir, "00000003", "lost+found"}, names); diff != "" {
		t.Errorf("roots after Sweep (-want +got):\n%s", diff)
	}
	for serial, want := range map[pi.Serial]Origin{2: {Template: "small", Version: 1, Why: "test"}, 4: {Why: "its board was not registered"}} {
		if put, err := roots.Archived(serial); err != nil || len(put) != 1 || put[0].Origin != want {
			t.Errorf("kept roots of %s = %+v, %v; want one, %+v", serial, put, err, want)
		}
	}
	if mode := dirMode(t, roots.Dir); mode != 0o700 {
		t.Errorf("roots directory has mode %o; want 700", mode)
	}
}

// Wherever an operation is interrupted, there is all of its result or nothing.
func TestInterrupted(t *testing.T) {
	state, source := t.TempDir(), t.TempDir()
	rootlyTree(t, source)
	src, _ := importSmall(t, &Templates{Dir: filepath.Join(state, "whole")}, source)
	for range 20 {
		steps := rand.IntN(src.Files + 4)
		ctx, cancel := context.WithCancel(t.Context())
		stop := func(string, int64, int64) {
			if steps--; steps < 0 {
				cancel()
			}
		}
		templates := &Templates{Dir: filepath.Join(t.TempDir(), "templates")}
		if _, _, err := templates.Import(ctx, "small", source, ImportOptions{}, stop); err != nil {
			checkNothingLeft(t, templates)
		} else if got := refs(t, templates); len(got) != 1 {
			t.Errorf("List after a finished import = %v; want one", got)
		}
		roots := testRoots(t, t.TempDir())
		steps = rand.IntN(src.Files + 4)
		_, err := roots.Clone(ctx, src, Copy, 1, identityOf(1, "pi"), stop)
		if _, lost := os.Stat(roots.Path(1)); (err == nil) != (lost == nil) {
			t.Errorf("Clone = %v, and its root: %v", err, lost)
		}
		checkStaging(t, roots.Dir)
		cancel()
	}
}

// What an import made is verified, and compared with what another one made.
func TestVerifyAndDiff(t *testing.T) {
	source := t.TempDir()
	rootlyTree(t, source)
	templates := &Templates{Dir: t.TempDir()}
	one, _ := importSmall(t, templates, source)
	roottest.Spec{"etc/new": "x", "etc/spaced name\n": "y"}.Make(t, source)
	two, _ := importSmall(t, templates, source)
	if found, err := templates.Verify(t.Context(), one, nil); err != nil || len(found) != 0 {
		t.Errorf("Verify = %v, %v; want nothing", found, err)
	}
	found, err := templates.Diff(one, two)
	if diff := cmp.Diff([]filetree.Change{{File: "etc/new", What: "added"}, {File: "etc/spaced name\n", What: "added"}}, found); err != nil || diff != "" {
		t.Errorf("Diff (-want +got), %v:\n%s", err, diff)
	}
	if err := unix.Removexattr(filepath.Join(templates.Root(one), "usr/bin/ping"), "security.capability"); err != nil {
		t.Fatal(err)
	}
	found, err = templates.Verify(t.Context(), one, nil)
	want := []filetree.Change{{File: "usr/bin/ping", What: "changed: extended attributes"}, {File: "usr/bin/ping6", What: "changed: extended attributes"}}
	if diff := cmp.Diff(want, found); err != nil || diff != "" {
		t.Errorf("Verify of a damaged template (-want +got), %v:\n%s", err, diff)
	}
}
