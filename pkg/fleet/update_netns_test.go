//go:build netns

package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/timeline"
)

// formerKeys are all that commit b738a06 wrote into a worker's configuration.
var formerKeys = []string{"media_export", "name", "nfs_port", "queue_url", "server", "token"}

// makeFormer makes of a board's root what commit b738a06 has left.
func makeFormer(t *testing.T, root string) {
	t.Helper()
	config := readConfig(t, root)
	for key := range config {
		if !slices.Contains(formerKeys, key) {
			delete(config, key)
		}
	}
	text, err := json.Marshal(config)
	err = errors.Join(err,
		os.WriteFile(filepath.Join(root, images.WorkerConfigFile), text, 0o600),
		os.WriteFile(filepath.Join(root, images.WorkerFile), []byte("the worker of b738a06"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
}

func readConfig(t *testing.T, root string) map[string]any {
	t.Helper()
	var config map[string]any
	text, err := os.ReadFile(filepath.Join(root, images.WorkerConfigFile))
	if err = errors.Join(err, json.Unmarshal(text, &config)); err != nil {
		t.Fatal(err)
	}
	return config
}

// checkCurrent checks that a board's root has this build's worker, configured
// with its scratch.
func checkCurrent(t *testing.T, f *Fleet, serial pi.Serial) {
	t.Helper()
	root := f.Roots.Path(serial)
	program, err := os.ReadFile(filepath.Join(root, images.WorkerFile))
	board, _ := f.Registry.BySerial(serial)
	want, wantErr := images.Worker(board.Arch)
	if errors.Join(err, wantErr) != nil || !bytes.Equal(program, want) {
		t.Errorf("%s: its worker has %d bytes, %v; want today's %d, %v", serial, len(program), err, len(want), wantErr)
	}
	config := readConfig(t, root)
	token, _ := config["token"].(string)
	if config["scratch_export"] != "/scratch/"+serial.String() || !f.Registry.CheckToken(serial, token) {
		t.Errorf("%s: its worker's configuration is %v; want its scratch, and its token kept", serial, config)
	}
}

// restart is what is left after the daemon and the machine were started again,
// with the timelines of what happens from then on.
func restart(t *testing.T, was *Fleet, dir string) (f *Fleet, events func(serial pi.Serial) string) {
	t.Helper()
	for _, e := range was.NFS.Exports() { // which keep roots in use
		if err := was.NFS.Unexport(e.Path); err != nil {
			t.Fatal(err)
		}
	}
	unmountRoots(t, dir)
	f = openFleet(t, dir)
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop() // Run writes all that was recorded before it returns
	if err := f.Timeline.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return f, func(serial pi.Serial) string {
		all, err := f.Timeline.Events(t.Context(), serial.String(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, e := range all {
			if e.Kind != timeline.Added {
				lines = append(lines, fmt.Sprintf("%s: %s", e.Kind, e.Detail))
			}
		}
		return strings.Join(lines, "\n")
	}
}

// Roots that commit b738a06 has made have today's worker after the next start,
// however they were made, those that their boards cannot write to among them.
func TestFormerRootsAreUpdated(t *testing.T) {
	for _, test := range []struct {
		kind string
		ways []rootfs.CloneMethod
	}{
		{"ext4", []rootfs.CloneMethod{rootfs.Copy, rootfs.Overlay, rootfs.Shared}},
		{"xfs", []rootfs.CloneMethod{rootfs.Reflink}},
		{"btrfs", []rootfs.CloneMethod{rootfs.Snapshot}},
	} {
		t.Run(test.kind, func(t *testing.T) {
			dir := mountDisk(t, test.kind)
			f := newFleet(t, dir)
			var serials []pi.Serial
			running := map[pi.Serial]unix.FileHandle{} // of the programs that the boards run
			for i, way := range test.ways {
				for _, volatile := range []bool{false, true} {
					r := Request{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, byte(i), 1}, Serial: pi.Serial(0x10000001 + i), Clone: string(way)}
					if volatile {
						r.MAC[5], r.Serial = 2, r.Serial+0x100
					}
					r.Settings.Volatile = volatile
					add(t, f, r)
					makeFormer(t, f.Roots.Path(r.Serial))
					serials = append(serials, r.Serial)
					handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, filepath.Join(f.Roots.Path(r.Serial), images.WorkerFile), 0)
					if err != nil {
						t.Fatal(err)
					}
					running[r.Serial] = handle
				}
			}
			f, events := restart(t, f, dir)
			for _, serial := range serials {
				checkCurrent(t, f, serial)
				checkRunning(t, f.Roots.Path(serial), running[serial])
				if got := events(serial); got != "changed: its root has the worker of this pibootd now; restart the board if it is running" {
					t.Errorf("timeline of %s: %q", serial, got)
				}
			}
			f, events = restart(t, f, dir)
			for _, serial := range serials {
				checkCurrent(t, f, serial)
				if got := events(serial); strings.Count(got, "changed") != 1 {
					t.Errorf("timeline of %s after another start: %q; want one change", serial, got)
				}
			}
		})
	}
}

// checkRunning looks whether a board that runs the former worker can still read
// that, by the handle that it has.
func checkRunning(t *testing.T, root string, handle unix.FileHandle) {
	t.Helper()
	top, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	fd, err := unix.OpenByHandleAt(int(top.Fd()), handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		t.Errorf("%s: the worker that the board runs: %v; want it still there", root, err)
		return
	}
	file := os.NewFile(uintptr(fd), "former")
	defer file.Close()
	text := make([]byte, 100)
	if n, err := file.Read(text); string(text[:n]) != "the worker of b738a06" {
		t.Errorf("%s: the worker that the board runs is %q, %v", root, text[:n], err)
	}
}

// Boards that have made of their roots what they like keep no other from being
// updated, and have on their timelines what is wrong.
func TestOddRootsAreSkipped(t *testing.T) {
	dir := t.TempDir()
	f := newFleet(t, dir)
	outside := t.TempDir()
	odd := map[string]func(root string) error{
		"worker.json: got a named pipe; want a regular file": func(root string) error {
			file := filepath.Join(root, images.WorkerConfigFile)
			return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600))
		},
		"etc/pibootd/worker.json: no such file": func(root string) error {
			etc := filepath.Join(root, filepath.Dir(images.WorkerConfigFile))
			return errors.Join(os.RemoveAll(etc), os.Symlink(strings.Repeat("../", 40)+outside[1:], etc))
		},
		"pibootd-worker: got a directory; want a regular file": func(root string) error {
			file := filepath.Join(root, images.WorkerFile)
			return errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "full"), 0o755))
		},
		"": func(string) error { return nil },
	}
	if err := os.WriteFile(filepath.Join(outside, "worker.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	serials := map[string]pi.Serial{}
	for says, spoil := range odd {
		i := len(serials) + 1
		r := Request{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 1, byte(i)}, Serial: pi.Serial(0x10000000 + i), Clone: string(rootfs.Copy), IP: netip.AddrFrom4([4]byte{10, 9, 0, byte(20 + i)})}
		add(t, f, r)
		serials[says] = r.Serial
		root := f.Roots.Path(r.Serial)
		makeFormer(t, root)
		if err := spoil(root); err != nil {
			t.Fatal(err)
		}
	}
	f, events := restart(t, f, dir)
	for says, serial := range serials {
		got := events(serial)
		if says == "" {
			checkCurrent(t, f, serial)
		} else if !strings.HasPrefix(got, "root_failed: ") || !strings.Contains(got, says) {
			t.Errorf("timeline of %s: %q; want it to say %q", serial, got, says)
		}
	}
	if paths := exported(f); strings.Count(paths, "/roots/") != len(odd) {
		t.Errorf("exports after the start: %s; want the roots of all boards", paths)
	}
	if text, err := os.ReadFile(filepath.Join(outside, "worker.json")); string(text) != "{}" || names(t, outside)[0] != "worker.json" {
		t.Errorf("outside of the roots there is %q, %v; want it untouched", text, err)
	}
}

// What is left of a removed root because it cannot be removed, and a kept root
// with a note that nobody can read, keep no board from booting.
func TestStartGoesOn(t *testing.T) {
	dir := t.TempDir()
	f := newFleet(t, dir)
	other := Request{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2}, Serial: 0x10000002}
	add(t, f, request)
	add(t, f, other)
	if _, err := f.Reset(t.Context(), request.Serial.String(), "", "", nil); err != nil {
		t.Fatal(err)
	}
	notes, err := filepath.Glob(filepath.Join(f.Roots.Dir, ".kept/*.json"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("notes of kept roots: %q, %v; want one", notes, err)
	}
	stays := filepath.Join(f.Roots.Dir, ".staging/removed/tree/etc")
	mounted := t.TempDir()
	err = errors.Join(os.WriteFile(notes[0], []byte("{"), 0o600), os.MkdirAll(stays, 0o755), unix.Mount(mounted, stays, "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mounts, err := filepath.Glob(filepath.Join(f.Roots.Dir, ".staging/removed/.removed-*/etc"))
		for _, mount := range append(mounts, stays) {
			if unmount := unix.Unmount(mount, 0); unmount != nil && !errors.Is(unmount, unix.ENOENT) {
				err = errors.Join(err, unmount)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(mounted, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, events := restart(t, f, dir)
	if got := events(request.Serial); !strings.Contains(got, "root_failed: an interrupted change of it is not completed") {
		t.Errorf("timeline: %q", got)
	}
	if paths := exported(f); strings.Count(paths, "/roots/") != 2 {
		t.Errorf("exports after the start: %s; want the roots of both boards", paths)
	}
	if left := names(t, mounted); len(left) != 1 {
		t.Errorf("of what is mounted in what was removed is left %q", left)
	}
}

// A root that was kept before an upgrade comes back with this build's worker,
// because the former one would reject its messages.
func TestRollbackToAFormerRoot(t *testing.T) {
	f := newFleet(t, t.TempDir())
	add(t, f, request)
	makeFormer(t, f.Roots.Path(request.Serial))
	if _, err := f.Reset(t.Context(), request.Serial.String(), "", "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Rollback(t.Context(), request.Serial.String(), ""); err != nil {
		t.Fatal(err)
	}
	checkCurrent(t, f, request.Serial)
}
