//go:build netns

package fleet

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
)

// mark leaves a file in a board's root, as its user would.
func mark(t *testing.T, f *Fleet, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.Roots.Path(request.Serial), name), []byte(name), 0o644); err != nil {
		t.Fatal(err)
	}
}

// wantRoot checks that the board's root is the one that was marked with name, ""
// for none, and that its worker can log in.
func wantRoot(t *testing.T, f *Fleet, name string) {
	t.Helper()
	root := f.Roots.Path(request.Serial)
	for _, other := range []string{"first", "second"} {
		if _, err := os.Stat(filepath.Join(root, other)); (err == nil) != (other == name) {
			t.Errorf("%s in the board's root: %v; want the root of %q", other, err, name)
		}
	}
	text, err := os.ReadFile(filepath.Join(root, images.WorkerConfigFile))
	var config rootfs.WorkerConfig
	if err = errors.Join(err, json.Unmarshal(text, &config)); err != nil || !f.Registry.CheckToken(request.Serial, config.Token) {
		t.Errorf("the worker's token in the board's root: %v; want the one that it logs in with", err)
	}
}

func wantKept(t *testing.T, f *Fleet, whys ...string) []rootfs.ArchivedRoot {
	t.Helper()
	kept, err := f.Roots.Archived(request.Serial)
	var got []string
	for _, k := range kept {
		got = append(got, k.Why)
	}
	if err != nil || strings.Join(got, ", ") != strings.Join(whys, ", ") {
		t.Errorf("kept: %q, %v; want %q", got, err, whys)
	}
	return kept
}

func TestResetAndRollback(t *testing.T) {
	f := newFleet(t, t.TempDir())
	added := add(t, f, request)
	mark(t, f, "first")

	reset, err := f.Reset(t.Context(), "hlspi1", "", "", nil)
	if err != nil || reset.Pi.ID == added.Pi.ID || reset.Pi.Version != 1 || len(reset.Proof) != 3 || reset.Files == 0 {
		t.Errorf("Reset = %+v, %v; want a clone under another id, proved", reset, err)
	}
	wantRoot(t, f, "")
	wantKept(t, f, "reset to tiny@1")
	if exports := f.NFS.Exports(); len(exports) != 3 || exports[1].ID != uint32(reset.Pi.ID) {
		t.Errorf("exports = %+v; want the root under the id %d", exports, reset.Pi.ID)
	}
	mark(t, f, "second")

	importTiny(t, f, t.TempDir())
	upgraded, err := f.Reset(t.Context(), "hlspi1", "tiny", "", nil)
	if err != nil || upgraded.Pi.Version != 2 {
		t.Errorf("upgrade = %+v, %v; want version 2", upgraded, err)
	}
	wantRoot(t, f, "")
	kept := wantKept(t, f, "upgrade to tiny@2", "reset to tiny@1")

	back, err := f.Rollback(t.Context(), "hlspi1", "")
	if err != nil || back.Pi.Version != 1 || len(back.Proof) != 3 {
		t.Errorf("Rollback = %+v, %v; want version 1, proved", back, err)
	}
	wantRoot(t, f, "second")
	if _, err := f.Rollback(t.Context(), "hlspi1", kept[1].Name); err != nil {
		t.Errorf("Rollback to the first = %v", err)
	}
	wantRoot(t, f, "first")
	wantKept(t, f, "rollback to tiny@1", "rollback to tiny@1")

	for want, rollback := range map[string]func() error{
		"no root":           func() error { _, err := f.Rollback(t.Context(), "hlspi1", kept[1].Name); return err },
		"there are: tiny@1": func() error { _, err := f.Reset(t.Context(), "hlspi1", "big", "", nil); return err },
		"hlspi9":            func() error { _, err := f.Rollback(t.Context(), "hlspi9", ""); return err },
	} {
		if err := rollback(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v; want %q in it", err, want)
		}
	}
	wantRoot(t, f, "first")
}

// A root that shares its template's files does so after a reset and an upgrade,
// and where the board is volatile there is nothing that it could write to.
func TestSharedStaysShared(t *testing.T) {
	f := newFleet(t, t.TempDir())
	shared := request
	shared.Clone, shared.Settings.Volatile = string(rootfs.Shared), true
	added := add(t, f, shared)
	if !rootfs.Shared.Allows(added.Clone) || strings.Contains(added.Proof[0], "written") {
		t.Errorf("Add = %+v; want files shared, and nothing written", added)
	}
	if again := add(t, f, shared); !again.Existed {
		t.Errorf("Add again = %+v; want the same board", again)
	}
	importTiny(t, f, t.TempDir())
	for _, to := range []string{"", "tiny@2"} {
		replaced, err := f.Reset(t.Context(), "hlspi1", to, "", nil)
		if err != nil || replaced.Clone != added.Clone || replaced.Pi.Clone != string(added.Clone) || !replaced.Pi.Settings.Volatile {
			t.Errorf("Reset to %q = %+v, %v; want a volatile root by %s", to, replaced, err, added.Clone)
		}
		if exports := f.NFS.Exports(); len(exports) != 3 || !exports[1].ReadOnly {
			t.Errorf("exports = %+v; want the root read-only", exports)
		}
	}
	if replaced, err := f.Reset(t.Context(), "hlspi1", "", string(rootfs.Copy), nil); err != nil || replaced.Pi.Clone != string(rootfs.Copy) {
		t.Errorf("Reset by copy = %+v, %v", replaced, err)
	}
	if replaced, err := f.Reset(t.Context(), "hlspi1", "", string(rootfs.Shared), nil); err != nil || replaced.Pi.Clone != string(added.Clone) {
		t.Errorf("Reset to a shared root = %+v, %v", replaced, err)
	}
}

// A board's root drifts by what its user does, not by what pibootd does, and no
// file in it can hold the comparison up or lead it out of the root.
func TestDrift(t *testing.T) {
	f := newFleet(t, t.TempDir())
	add(t, f, request)
	if _, changes, err := f.Drift(t.Context(), "hlspi1", nil); err != nil || len(changes) > 0 {
		t.Errorf("Drift of a fresh root = %v, %v; want none", changes, err)
	}
	mark(t, f, "first")
	root := f.Roots.Path(request.Serial)
	for _, err := range []error{
		unix.Mkfifo(filepath.Join(root, "fifo"), 0o644),
		unix.Mknod(filepath.Join(root, "disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 70000))),
		os.Symlink("/etc", filepath.Join(root, "out")),
		os.Remove(filepath.Join(root, "bin/sh")),
		os.Chmod(filepath.Join(root, "etc/os-release"), 0o600),
		os.WriteFile(filepath.Join(root, "odd \xff name"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, changes, err := f.Drift(t.Context(), "hlspi1", nil)
	want := []filetree.Change{
		{File: "bin/sh", What: "removed"}, {File: "disk", What: "added"}, {File: "etc/os-release", What: "changed: mode"}, {File: "fifo", What: "added"},
		{File: "first", What: "added"}, {File: "odd \xff name", What: "added"}, {File: "out", What: "added"},
	}
	if diff := cmp.Diff(want, changes); err != nil || diff != "" {
		t.Errorf("Drift: %v, -want +got\n%s", err, diff)
	}
}

// Killed at any point, the board has its old root or its new one, whole, after
// the next start.
func TestInterruptedReplacement(t *testing.T) {
	for name, tt := range map[string]struct {
		until func(t *testing.T, f *Fleet, next rootfs.ArchivedRoot, token string)
		root  string
		kept  []string
	}{
		"before it is registered": {func(*testing.T, *Fleet, rootfs.ArchivedRoot, string) {}, "first", nil},
		"before the old root is moved": {func(t *testing.T, f *Fleet, _ rootfs.ArchivedRoot, token string) { setRoot(t, f, token) },
			"", []string{"its replacement was interrupted"}},
		"before the new root is moved": {func(t *testing.T, f *Fleet, _ rootfs.ArchivedRoot, token string) {
			setRoot(t, f, token)
			if _, err := f.Roots.Archive(request.Serial, rootfs.Origin{Why: "test"}); err != nil {
				t.Fatal(err)
			}
		}, "", []string{"test"}},
		"when all is done": {func(t *testing.T, f *Fleet, next rootfs.ArchivedRoot, token string) {
			setRoot(t, f, token)
			if _, err := f.Roots.Swap(next, rootfs.Origin{Why: "test"}); err != nil {
				t.Fatal(err)
			}
		}, "", []string{"test"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, t.TempDir())
			board := add(t, f, request).Pi
			mark(t, f, "first")
			template, err := f.Templates.Find("tiny")
			if err != nil {
				t.Fatal(err)
			}
			const token = "the new root's"
			next, _, err := f.Roots.Prepare(t.Context(), template, rootfs.Auto, board.Serial, f.identity(board, token), nil)
			if err != nil {
				t.Fatal(err)
			}
			tt.until(t, f, next, token)
			for range 2 { // the second changes nothing
				if err := f.Start(); err != nil {
					t.Fatal(err)
				}
				wantRoot(t, f, tt.root)
				wantKept(t, f, tt.kept...)
			}
			if _, err := os.Stat(f.Roots.ArchivedPath(next)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the prepared root is still there: %v", err)
			}
		})
	}
}

func setRoot(t *testing.T, f *Fleet, token string) registry.Pi {
	t.Helper()
	is, err := f.Registry.SetRoot(t.Context(), request.Serial, registry.Root{Template: "tiny", Version: 1, Arch: pi.AMD64}, token)
	if err != nil {
		t.Fatal(err)
	}
	return is
}
