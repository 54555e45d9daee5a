//go:build soak

package linuxclient

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/posix"
)

var (
	posixOnly = flag.String("posix.mounts", ".", "the mounts that TestPOSIX tries: a regular expression")
	posixSize = flag.String("posix.size", "", "the size of the cases on all of them: short or whole")
)

// A posixMount is an export on which the guest runs the cases.
type posixMount struct {
	name     string
	disk     string // the kind of its file system
	clone    string // how its tree is made out of another: see cloneTree
	size     string // of the cases
	options  string // of the mount
	readOnly bool
}

// posixMounts are the file systems, the ways of cloning a root, and the options of a mount.
func posixMounts() []posixMount {
	const usual = "rsize=131072,wsize=131072"
	var mounts []posixMount
	for _, on := range [][2]string{
		{"ext4", "copy"}, {"ext4", "overlay"}, {"xfs", "copy"}, {"xfs", "reflink"}, {"xfs", "overlay"},
		{"btrfs", "copy"}, {"btrfs", "reflink"}, {"btrfs", "snapshot"},
	} {
		size := "whole"
		if on[1] == "reflink" { // to programs, another copy
			size = "short"
		}
		mounts = append(mounts, posixMount{name: on[0] + "-" + on[1], disk: on[0], clone: on[1], size: size, options: usual})
	}
	for _, options := range []string{
		"nconnect=16", "rsize=1024,wsize=1024", "rsize=1048576,wsize=1048576", "hard,intr", "soft,timeo=600", "noac", "lookupcache=none", "actimeo=0", "mountproto=udp", "ro",
	} {
		name := strings.NewReplacer("=", "-", ",", "-").Replace(options)
		mounts = append(mounts, posixMount{name: name, disk: "ext4", clone: "copy", size: "short", options: options, readOnly: options == "ro"})
	}
	return mounts
}

// boards is how many boards work at the same time.
const boards = 3

// TestPOSIX: what programs see of an export is what they see of the file system below it, on
// every file system, for roots cloned in every way, and with the options of a mount that change
// what the client does.
func TestPOSIX(t *testing.T) {
	network, machine := newNetwork(t), makeMachine(t)
	dir := fastDisk(t)
	lab := newPosixLab(t, dir)
	only := regexp.MustCompile(*posixOnly)
	for _, m := range posixMounts() {
		if only.MatchString(m.name) {
			m.size = cmp.Or(*posixSize, m.size)
			lab.add(t, m)
		}
	}
	lab.write(t)
	began := time.Now()
	kills := workOverNFS(t, network, machine, dir)
	times, _ := os.ReadFile(filepath.Join(dir, "report", "times"))
	t.Logf("the guest took %v, with %d kills of the server; seconds of the guest's:\n%s", time.Since(began).Round(time.Second), kills, times)
	if kills == 0 {
		t.Error("the server was never killed")
	}
	if refused, err := os.ReadFile(filepath.Join(dir, "report", "udp")); err != nil || strings.TrimSpace(string(refused)) == "0" {
		t.Errorf("a mount over UDP = %q, %v; want it refused", refused, err)
	}
	met := map[string]bool{}
	for _, m := range lab.mounts {
		t.Run(m.name, func(t *testing.T) { maps.Copy(met, lab.check(t, m)) })
	}
	for _, rule := range posix.Rules() {
		if !met[rule.Name] && *posixOnly == "." {
			t.Errorf("nothing differs by the rule %q; want it removed", rule.Name)
		}
	}
}

// A posixLab has the disks, and the trees on them that are exported and those to compare with.
type posixLab struct {
	dir     string // of the server
	disks   map[string]string
	mounts  []posixMount
	exports []nfs.Export
}

func newPosixLab(t *testing.T, dir string) *posixLab {
	t.Helper()
	for _, d := range []string{"share", "report", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l := &posixLab{dir: dir, disks: map[string]string{}}
	l.export("/share", filepath.Join(dir, "share"), true)
	l.export("/report", filepath.Join(dir, "report"), false)
	l.export("/roots/1", filepath.Join(dir, "root"), false)
	return l
}

// export exports a directory to all boards.
func (l *posixLab) export(path, dir string, readOnly bool) {
	e := nfs.Export{ID: uint32(len(l.exports) + 1), Path: path, Dir: dir, ReadOnly: readOnly}
	for board, addr := 0, netip.MustParseAddr(guestAddr); board < boards; board, addr = board+1, addr.Next() {
		e.Clients = append(e.Clients, addr)
	}
	l.exports = append(l.exports, e)
}

// add makes the trees of a mount.
func (l *posixLab) add(t *testing.T, m posixMount) {
	t.Helper()
	disk := l.disk(t, m)
	for _, side := range []string{"local", "exported"} {
		cloneTree(t, m.clone, filepath.Join(disk, "given"), filepath.Join(disk, m.name+"-"+side), side == "exported")
	}
	l.mounts = append(l.mounts, m)
	l.export("/"+m.name, filepath.Join(disk, m.name+"-exported"), m.readOnly)
}

// diskOf is the name of the disk of a mount: one that is read-only has its own.
func diskOf(m posixMount) string {
	if m.readOnly {
		return m.disk + ", read-only"
	}
	return m.disk
}

// disk returns a directory on the file system for a mount. It has the tree given, with what the
// cases find before they run.
func (l *posixLab) disk(t *testing.T, m posixMount) string {
	t.Helper()
	if dir := l.disks[diskOf(m)]; dir != "" {
		return dir
	}
	dir := memoryDisk(t, m.disk, "4g")
	given := filepath.Join(dir, "given")
	if m.disk == "btrfs" {
		run(t, "btrfs", "subvolume", "create", given)
	}
	if err := os.MkdirAll(given, 0o755); err != nil {
		t.Fatal(err)
	}
	preparePOSIX(t, filepath.Join(given, "cases"), posix.Whole())
	l.disks[diskOf(m)] = dir
	return dir
}

// cloneTree makes a tree out of another in one of the ways in which roots are cloned.
func cloneTree(t *testing.T, how, from, to string, exported bool) {
	t.Helper()
	switch how {
	case "copy":
		run(t, "cp", "-a", "--reflink=never", from, to)
	case "reflink":
		run(t, "cp", "-a", "--reflink=always", from, to)
	case "snapshot":
		run(t, "btrfs", "subvolume", "snapshot", from, to)
	case "overlay":
		layers := to + "-layers"
		for _, d := range []string{layers, layers + "/upper", layers + "/work", to} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		options := fmt.Sprintf("index=on,nfs_export=on,redirect_dir=on,xino=auto,lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work", from, layers)
		if exported { // as pkg/rootfs mounts them
			options += ",nodev,nosuid,noexec"
		}
		run(t, "mount", "-t", "overlay", "-o", options, "overlay", to)
		t.Cleanup(func() { run(t, "umount", to) })
	}
}

// write writes what the server and the guest read.
func (l *posixLab) write(t *testing.T) {
	t.Helper()
	writeExports(t, l.dir, l.exports)
	share := filepath.Join(l.dir, "share")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run(t, "install", program, filepath.Join(share, "rootwork"))
	run(t, "cp", "testdata/posix", filepath.Join(share, "work"))
	mounts := ""
	for i, m := range l.mounts {
		mounts += fmt.Sprintf("%d %s %s %s\n", i%boards, m.name, m.size, m.options)
	}
	writeSysctls(t, share)
	if err := os.WriteFile(filepath.Join(share, "mounts"), []byte(mounts), 0o644); err != nil {
		t.Fatal(err)
	}
}

// check runs the cases on the tree that is not exported, and compares. It returns the rules by
// which something differs.
func (l *posixLab) check(t *testing.T, m posixMount) (met map[string]bool) {
	t.Helper()
	disk := l.disks[diskOf(m)]
	if m.readOnly {
		run(t, "mount", "-o", "remount,ro", disk)
	}
	if errs, err := os.ReadFile(filepath.Join(l.dir, "report", m.name+".errors")); len(errs) > 0 || err != nil {
		t.Errorf("the cases over NFS: %v %s", err, errs)
	}
	report := t.TempDir()
	runLocally(t, m.size, filepath.Join(disk, m.name+"-local", "cases"), filepath.Join(report, m.name))
	noSilly(t, filepath.Join(disk, m.name+"-exported"))
	return comparePOSIX(t, filepath.Join(report, m.name), filepath.Join(l.dir, "report", m.name))
}

// noSilly checks that nothing is left of files that were removed while they were open.
func noSilly(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && posix.IsSilly(d.Name()) && !strings.Contains(path, "names-silly") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// runLocally runs the cases in a process of its own, as the guest does.
func runLocally(t *testing.T, size, dir, notes string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, size, dir, notes)
	cmd.Env = append(os.Environ(), workRole+"=posix")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the cases on a local file system: %v\n%s", err, out)
	}
}
