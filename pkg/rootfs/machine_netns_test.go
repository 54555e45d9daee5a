//go:build netns

package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sandboxed runs f on a thread with a mount namespace as a systemd unit's: what
// is mounted in the machine comes into it, and nothing goes out.
func sandboxed(t *testing.T, f func() error) error {
	t.Helper()
	return onThread(func() error {
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")
		}
		if err != nil {
			return err
		}
		return f()
	})
}

// installSandboxed is an installation on a disk with that propagation, whose
// daemon knows the machine's mount namespace.
func installSandboxed(t *testing.T, propagation uintptr) installation {
	t.Helper()
	disk := mountDisk(t, "ext4")
	if err := unix.Mount("", disk, "", propagation, ""); err != nil {
		t.Fatal(err)
	}
	i := install(t, disk)
	machine, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { machine.Close() })
	i.roots.Machine = machine
	return i
}

// A daemon in a sandbox mounts overlay roots, and unmounts them, where the
// machine and its nfsd see them too.
func TestOverlayRootsOfASandbox(t *testing.T) {
	i := installSandboxed(t, unix.MS_SHARED)
	const one = 0x33333400
	file := filepath.Join(i.roots.Path(one), "etc/hostname")
	see := func(where, want string) error {
		text, err := os.ReadFile(file)
		if got := string(text); got != want || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: host name %q, %v; want %q", where, got, err, want)
		}
		return nil
	}
	err := sandboxed(t, func() error {
		if _, err := i.roots.Clone(t.Context(), i.src, Overlay, one, identityOf(one, "pi-one"), nil); err != nil {
			return err
		}
		return see("cloned, in the sandbox", "pi-one\n")
	})
	err = errors.Join(err, see("cloned, in the machine", "pi-one\n"))
	err = errors.Join(err, sandboxed(t, func() error { // another start of the daemon
		err := errors.Join(see("started again, in the sandbox", "pi-one\n"), i.roots.Mount(one), i.roots.Unmount(one))
		return errors.Join(err, see("unmounted, in the sandbox", ""))
	}))
	err = errors.Join(err, see("unmounted, in the machine", ""))
	err = errors.Join(err, sandboxed(t, func() error { return i.roots.Mount(one) }), see("mounted, in the machine", "pi-one\n"))
	err = errors.Join(err, sandboxed(t, func() error {
		_, err := i.roots.Archive(one, Origin{Why: "test"})
		return err
	}), see("kept, in the machine", ""))
	if err != nil {
		t.Fatal(err)
	}
}

// Where the machine's mounts do not come into the sandbox, mounting says so.
func TestOverlayRootsNotShared(t *testing.T) {
	i := installSandboxed(t, unix.MS_PRIVATE)
	const one = 0x33333400
	err := sandboxed(t, func() error {
		_, err := i.roots.Clone(t.Context(), i.src, Overlay, one, identityOf(one, "pi-one"), nil)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "mount --make-shared") {
		t.Errorf("cloning = %v; want it to say what to do", err)
	}
}
