//go:build netns

package rootfs

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/roottest"
)

// A template made of a board's root has what was set up on the board, and
// nothing by which another board could be taken for it.
func TestImportFromBoard(t *testing.T) {
	state, source := t.TempDir(), t.TempDir()
	rootlyTree(t, source)
	templates := &Templates{Dir: filepath.Join(state, "templates")}
	roots := testRoots(t, filepath.Join(state, "roots"))
	first, _ := importSmall(t, templates, source)
	const serial = pi.Serial(0x33333400)
	if _, err := roots.Clone(t.Context(), first, Copy, serial, identityOf(serial, "pi-one"), nil); err != nil {
		t.Fatal(err)
	}
	board := roots.Path(serial)
	roottest.Spec{
		"etc/muxer.conf": "set up by hand", "home/pi/notes\n\xff": "odd name", "srv/": "dir", "var/lib/systemd/random-seed": "seed",
		"var/lib/systemd/credential.secret": "secret", "var/log/journal/0123/system.journal": "log",
	}.Make(t, board)
	if err := unix.Mkfifo(filepath.Join(board, "etc/systemd/system/a.wants"), 0o600); err != nil {
		t.Fatal(err)
	}
	bind(t, source, filepath.Join(board, "srv"))

	made, _, err := templates.Import(t.Context(), "muxer", board, ImportOptions{FromBoard: true, KeepPassword: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := roottest.Snapshot(t, first.tree)
	got := roottest.Snapshot(t, made.tree)
	for name, state := range got {
		if strings.Contains(state.Content, "pi-one") || strings.Contains(state.Content, serial.String()) {
			t.Errorf("%s tells of the board: %q", name, state.Content)
		}
	}
	if id := got["etc/machine-id"].Content; id != "" {
		t.Errorf("etc/machine-id = %q; want it empty", id)
	}
	differ := map[string]bool{"etc/hostname": true, "etc/hosts": true, "etc/machine-id": true}
	added := map[string]bool{}
	for name := range got {
		if _, ok := want[name]; !ok {
			added[name] = true
		}
	}
	maps.Copy(differ, added)
	if diff := cmp.Diff(without(want, differ), without(got, differ)); diff != "" {
		t.Errorf("templates differ (-first +made):\n%s", diff)
	}
	wantNew := []string{
		"etc/muxer.conf", "etc/pibootd",
		"etc/systemd/network", "etc/systemd/network/04-pibootd-dhcp.network", "etc/systemd/network/05-pibootd.network",
		"etc/systemd/system/a.wants", "etc/systemd/system/systemd-networkd.service.d", "etc/systemd/system/systemd-networkd.service.d/pibootd.conf",
		"home/pi/notes\n\xff", "srv", "usr/lib/pibootd", "usr/lib/pibootd/name-servers", "var/log", "var/log/journal",
	}
	if diff := cmp.Diff(wantNew, slices.Sorted(maps.Keys(added))); diff != "" {
		t.Errorf("new in the template (-want +got):\n%s", diff)
	}
	checkClones(t, testRoots(t, filepath.Join(state, "others")), made, Copy)
}

// bind shows a directory in another place until the test ends.
func bind(t *testing.T, from, to string) {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(to, 0); err != nil {
			t.Error(err)
		}
	})
}
