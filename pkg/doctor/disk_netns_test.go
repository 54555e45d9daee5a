//go:build netns

package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRootsMount(t *testing.T) {
	state := t.TempDir()
	if f, exposed := RootsMount(state); exposed {
		t.Errorf("no roots yet: %+v; want nothing said", f)
	}
	roots := filepath.Join(state, "roots")
	must(t, os.Mkdir(roots, 0o700))
	must(t, unix.Mount("tmpfs", roots, "tmpfs", unix.MS_NOSUID, ""))
	t.Cleanup(func() { must(t, unix.Unmount(roots, 0)) })
	if f, exposed := RootsMount(state); !exposed || f.Level != OK || !strings.Contains(f.Text, roots+" is mounted without nodev,noexec;") || !strings.Contains(f.Todo, "nodev,nosuid,noexec") {
		t.Errorf("roots on a nosuid mount: %+v, %v; want nodev and noexec recommended", f, exposed)
	}
	if found := Disks(state, state); len(found) != 2 || !strings.Contains(found[1].Text, roots) {
		t.Errorf("Disks = %+v; want the roots after the state directory", found)
	}
	must(t, unix.Mount("", roots, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	if f, exposed := RootsMount(state); exposed {
		t.Errorf("roots on a safe mount: %+v; want nothing said", f)
	}
}
