//go:build netns

package fleet

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"pibootd/images"
	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
)

// killedDir names the state directory in which a second process of this test
// changes boards until it is killed, killedWays the ways in which it clones.
const killedDir, killedWays = "PIBOOTD_TEST_FLEET", "PIBOOTD_TEST_WAYS"

// opened is an Exporter that exports nothing: what is tried is what becomes of
// the state.
type opened struct{ *nfs.Server }

func (opened) Probe(context.Context, netip.Addr, netip.Addr, string, probe.File) (probe.Report, error) {
	return probe.Report{}, nil
}

func killedSerials() []pi.Serial { return []pi.Serial{0x10000001, 0x10000002} }

func TestKilledFleet(t *testing.T) {
	dir := os.Getenv(killedDir)
	if dir == "" {
		return // only a part of TestKilled
	}
	f := openFleet(t, dir)
	f.NFS = opened{&nfs.Server{Key: make([]byte, 32)}}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for _, serial := range killedSerials() { // side by side
		g.Go(func() error {
			for {
				what, err := changeSomething(t.Context(), f, serial)
				if err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				fmt.Println(what) // for the parent's report
			}
		})
	}
	t.Fatal(g.Wait())
}

// changeSomething does one of the changes that a board can go through, and says
// which.
func changeSomething(ctx context.Context, f *Fleet, serial pi.Serial) (what string, err error) {
	ref := serial.String()
	if _, ok := f.Registry.BySerial(serial); !ok {
		mac := pi.MAC{0xdc, 0xa6, 0x32, 0, 0, byte(serial)}
		_, err = f.Add(ctx, Request{MAC: mac, Serial: serial, Clone: anyWay()}, nil)
		return "add", err
	}
	kept, err := f.Roots.Archived(serial)
	if err != nil {
		return "kept", err
	}
	switch n := rand.IntN(6); {
	case n == 0:
		_, _, err = f.Remove(ctx, ref, false)
		return "remove", err
	case n == 1:
		_, _, err = f.Remove(ctx, ref, true)
		return "remove, root kept", err
	case n == 2 && len(kept) > 0 && kept[0].Template != "":
		_, err = f.Rollback(ctx, ref, "")
		return "rollback", err
	case n == 3 && len(kept) > 0:
		return "remove kept", f.Roots.RemoveArchived(kept[len(kept)-1])
	}
	_, err = f.Reset(ctx, ref, "", anyWay(), nil)
	return "reset", err
}

// anyWay is one of those that the file system can do.
func anyWay() string {
	ways := strings.Fields(os.Getenv(killedWays))
	return ways[rand.IntN(len(ways))]
}

// TestKilled kills a process that adds, resets and removes boards, at random
// changes of its files. After the next start each board is there whole or not at
// all, and nothing is left half-made.
func TestKilled(t *testing.T) {
	t.Run("any", func(t *testing.T) { killMany(t, t.TempDir(), rootfs.Copy, rootfs.Overlay) })
	t.Run("xfs", func(t *testing.T) { killMany(t, mountDisk(t, "xfs"), rootfs.Reflink) })
	t.Run("btrfs", func(t *testing.T) { killMany(t, mountDisk(t, "btrfs"), rootfs.Snapshot, rootfs.Reflink) })
}

func killMany(t *testing.T, dir string, ways ...rootfs.CloneMethod) {
	const kills, mostChanges = 16, 60
	t.Setenv(killedWays, strings.Trim(fmt.Sprint(ways), "[]"))
	newFleet(t, dir)
	for _, made := range []string{"roots/.kept", "roots/.staging"} { // to be watched from the beginning
		if err := os.MkdirAll(filepath.Join(dir, made), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for range kills {
		changes := 1 + rand.IntN(mostChanges)
		done := killAt(t, dir, changes)
		f := openFleet(t, dir)
		f.NFS = opened{&nfs.Server{Key: make([]byte, 32)}}
		if err := f.Start(); err != nil {
			t.Fatalf("start after a kill at change %d, after %q: %v", changes, done, err)
		}
		checkWhole(t, f)
		for _, e := range f.NFS.Exports() { // which keep roots in use
			if err := f.NFS.Unexport(e.Path); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Fatalf("so it is after a kill at change %d, after %q", changes, done)
		}
	}
}

// mountDisk mounts a new file system of a kind and returns a directory on it.
func mountDisk(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	const size = 320 << 20 // mkfs.xfs takes no less than 300 MB
	if err := errors.Join(os.Mkdir(mount, 0o755), os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	run := func(command ...string) {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", command, err, out)
		}
	}
	run("mkfs."+kind, "-q", image)
	run("mount", "-o", "loop", image, mount) // and umount frees the loop device
	t.Cleanup(func() { run("umount", mount) })
	return mount
}

// killAt runs TestKilledFleet and kills it at so many changes of the database or
// of the directories that roots are moved between. It returns what the process
// had done by then.
func killAt(t *testing.T, dir string, changes int) (done []string) {
	t.Helper()
	watch := watchState(t, dir)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledFleet$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		_ = watch.SetReadDeadline(time.Unix(1, 0)) // no more will come
	}()
	buf := make([]byte, unix.SizeofInotifyEvent+unix.NAME_MAX+1) // holds one event at least
	for seen := 0; seen < changes; {
		n, err := watch.Read(buf)
		if err != nil {
			break // it has ended, which is reported below
		}
		for at := 0; at < n; seen++ {
			at += unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[at+12:]))
		}
	}
	_ = cmd.Process.Kill() // if it has ended, that is reported below
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the process ended with %v; want it killed: %s", err, out.String())
	}
	return strings.Fields(strings.ReplaceAll(out.String(), " ", "_"))
}

// watchState returns an inotify(7) of what changes when boards do.
func watchState(t *testing.T, dir string) *os.File {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { _ = watch.Close() }) // nothing was written to it
	for _, watched := range []string{"", "roots", "roots/.kept", "roots/.staging"} {
		const what = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
		if _, err := unix.InotifyAddWatch(fd, filepath.Join(dir, watched), what); err != nil {
			t.Fatal(err)
		}
	}
	return watch
}

// checkWhole checks that there is what the registry knows, and no more.
func checkWhole(t *testing.T, f *Fleet) {
	t.Helper()
	want := []string{}
	for _, board := range f.Registry.All() {
		want = append(want, board.Serial.String())
		checkRoot(t, f.Roots.Path(board.Serial), true)
		var config rootfs.WorkerConfig
		text, err := os.ReadFile(filepath.Join(f.Roots.Path(board.Serial), images.WorkerConfigFile))
		if err = errors.Join(err, json.Unmarshal(text, &config)); err != nil || !f.Registry.CheckToken(board.Serial, config.Token) {
			t.Errorf("the worker's token of %s: %v; want the one that it logs in with", board.Name, err)
		}
	}
	slices.Sort(want)
	got := names(t, f.Roots.Dir)
	got = slices.DeleteFunc(got, func(name string) bool { return strings.HasPrefix(name, ".") })
	if !slices.Equal(got, want) {
		t.Errorf("roots: %q; want those of the registered boards, %q", got, want)
	}
	checkKeptRoots(t, f)
	for _, dir := range []string{f.Roots.Dir, f.Templates.Dir} {
		if left := names(t, filepath.Join(dir, ".staging")); len(left) > 0 {
			t.Errorf("half-made in %s: %q; want nothing", dir, left)
		}
	}
	checkMounts(t, f)
}

// checkRoot looks for the files that make a root a board's own, and in a whole
// one for those of the template.
func checkRoot(t *testing.T, root string, whole bool) {
	t.Helper()
	want := []string{"etc/hostname", "etc/machine-id", "etc/ssh/ssh_host_ed25519_key"}
	if whole {
		want = append(want, "sbin/init", "bin/sh")
	}
	for _, name := range want {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s of a root: %v; want it there", name, err)
		}
	}
}

// checkKeptRoots: beside each kept root is its note and the other way round, and
// none is one that was prepared to be used.
func checkKeptRoots(t *testing.T, f *Fleet) {
	t.Helper()
	dir := filepath.Join(f.Roots.Dir, ".kept")
	all := names(t, dir)
	for _, name := range all {
		root, isNote := strings.CutSuffix(name, ".json")
		if !slices.Contains(all, root) || !slices.Contains(all, root+".json") {
			t.Errorf("%s stands alone among the kept roots; want root and note", name)
		}
		if !isNote {
			continue
		}
		var note rootfs.ArchivedRoot
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err = errors.Join(err, json.Unmarshal(text, &note)); err != nil || note.Why == "prepared" {
			t.Errorf("note %s: %s, %v; want that of a root that was in use", name, text, err)
		}
		if _, err := os.Stat(filepath.Join(dir, root, "work")); err == nil {
			checkRoot(t, filepath.Join(dir, root, "upper"), false) // what is an overlay's own
		} else {
			checkRoot(t, filepath.Join(dir, root), true)
		}
	}
}

// checkMounts: nothing is mounted below the state directory but roots of boards.
func checkMounts(t *testing.T, f *Fleet) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	roots := map[string]bool{}
	for _, board := range f.Registry.All() {
		roots[f.Roots.Path(board.Serial)] = true
	}
	for line := range strings.Lines(string(text)) {
		at := strings.Fields(line)[4] // proc(5)
		if strings.HasPrefix(at, filepath.Dir(f.Roots.Dir)+"/") && !roots[at] {
			t.Errorf("%s is still mounted", at)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	out := []string{}
	for _, entry := range entries {
		out = append(out, entry.Name())
	}
	return out
}

var _ Exporter = opened{}
