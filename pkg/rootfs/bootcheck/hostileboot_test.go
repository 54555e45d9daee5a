package bootcheck

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever a board makes of its own root, looking at it ends: a FIFO or a
// device is not opened, and a file without an end is not read.
func TestCheckTreeOfAHostileBoard(t *testing.T) {
	fifo := func(t *testing.T, path string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(path, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		file string
		put  func(t *testing.T, path string)
		want string // part of a mismatch; "" if the root then has nothing to look at
	}{
		"FIFO as kernel":         {"boot/firmware/kernel8.img", fifo, "want a regular file"},
		"FIFO as modules":        {"usr/lib/modules", fifo, "(there are: none)"},
		"FIFO as config.txt":     {"boot/firmware/config.txt", fifo, ""},
		"FIFO as boot directory": {"boot/firmware", fifo, ""},
		"FIFO as boot":           {"boot", fifo, ""},
		"device as kernel":       {"boot/firmware/kernel8.img", link("/dev/zero"), "cannot be read"},
		"link out of the root":   {"boot/firmware/kernel8.img", link("../../../../../../proc/kmsg"), "cannot be read"},
		"link to itself":         {"boot/firmware/kernel8.img", link("kernel8.img"), "symbolic links"},
		"directory as kernel":    {"boot/firmware/kernel8.img", link("overlays"), "want a regular file"},
		"kernel without an end": {"boot/firmware/kernel8.img", func(t *testing.T, path string) {
			if err := os.Truncate(path, 1<<50); err != nil && os.Truncate(path, 1<<40) != nil {
				t.Fatal(err)
			}
		}, "want at most"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bootable(t).Make(t, dir)
			test.put(t, filepath.Join(dir, test.file))
			found, err := CheckTree(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				return
			}
			if !slices.ContainsFunc(found, func(m Mismatch) bool { return strings.Contains(m.String(), test.want) }) {
				t.Errorf("mismatches = %v; want one with %q", found, test.want)
			}
		})
	}
}
