// Package roottest makes and reads the trees that tests of root file systems
// work on.
package roottest

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ARM64Program is an ELF header that shows the architecture of a program.
func ARM64Program() []byte {
	header := make([]byte, 64)
	copy(header, "\x7fELF\x02\x01\x01")
	const machineAt, aarch64 = 18, 183 // elf(5)
	binary.LittleEndian.PutUint16(header[machineAt:], aarch64)
	return header
}

// A Spec is a tree to make: names to file content, "dir", or "-> target".
type Spec map[string]string

// Small is a Debian root with everything that an import changes.
func Small() Spec {
	return Spec{
		"usr/bin/dash":                   string(ARM64Program()),
		"usr/bin/sh":                     "-> dash",
		"bin":                            "-> usr/bin",
		"lib":                            "-> usr/lib",
		"sbin":                           "-> usr/sbin",
		"usr/sbin/init":                  "-> /lib/systemd/systemd",
		"usr/lib/systemd/systemd":        string(ARM64Program()),
		"usr/lib/os-release":             "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n",
		"usr/lib/modules/6.1.0-9-arm64/": "dir",
		"etc/os-release":                 "-> ../usr/lib/os-release",
		"etc/hostname":                   "raspberrypi\n",
		"etc/hosts":                      "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n",
		"etc/machine-id":                 "0123456789abcdef0123456789abcdef\n",
		"etc/fstab":                      "proc /proc proc defaults 0 0\nPARTUUID=1-01 /boot/firmware vfat defaults 0 2\nPARTUUID=1-02 / ext4 defaults 0 1\n",
		"etc/ssh/ssh_host_rsa_key":       "template's key\n",
		"etc/ssh/ssh_host_rsa_key.pub":   "template's key\n",
		"boot/firmware/config.txt":       "arm_64bit=1\n",
		"boot/firmware/cmdline.txt":      "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspi-config/init_resize.sh\n",
		"var/lib/systemd/random-seed":    "seed",

		"etc/systemd/system/multi-user.target.wants/dphys-swapfile.service": "-> /lib/systemd/system/dphys-swapfile.service",
		"etc/systemd/system/multi-user.target.wants/ssh.service":            "-> /lib/systemd/system/ssh.service",
		"etc/rc3.d/S01resize2fs_once":                                       "-> ../init.d/resize2fs_once",
	}
}

// Make creates the tree in dir.
func (spec Spec) Make(t *testing.T, dir string) {
	t.Helper()
	for name, content := range spec {
		if err := makeEntry(filepath.Join(dir, name), content); err != nil {
			t.Fatal(err)
		}
	}
}

func makeEntry(path, content string) error {
	if content == "dir" {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if target, ok := strings.CutPrefix(content, "-> "); ok {
		return os.Symlink(target, path)
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// An Entry is what tests compare of an entry of two trees.
type Entry struct {
	Mode     uint32
	UID, GID uint32
	Device   uint64
	Modified unix.Timespec
	Nlink    uint64
	Content  string // of a file or a symbolic link
	Xattrs   map[string]string
}

// Snapshot reads a tree. Directories' link counts depend on the file system.
func Snapshot(t *testing.T, dir string) map[string]Entry {
	t.Helper()
	tree := make(map[string]Entry)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		tree[name], err = stateOf(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func stateOf(path string) (Entry, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return Entry{}, err
	}
	xattrs, err := xattrsOf(path)
	if err != nil {
		return Entry{}, err
	}
	state := Entry{
		Mode: stat.Mode, UID: stat.Uid, GID: stat.Gid, Device: uint64(stat.Rdev),
		Modified: stat.Mtim, Nlink: uint64(stat.Nlink), Xattrs: xattrs,
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		state.Nlink = 0
	case unix.S_IFREG:
		content, err := os.ReadFile(path)
		state.Content = string(content)
		return state, err
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		state.Content = target
		return state, err
	}
	return state, nil
}

// xattrsOf reads the attributes that belong to a file. Those that SELinux and
// overlays note do not.
func xattrsOf(path string) (map[string]string, error) {
	list := make([]byte, 64<<10)
	size, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var xattrs map[string]string
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		if name == "security.selinux" || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "trusted.pibootd.") {
			continue
		}
		length, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		if xattrs == nil {
			xattrs = make(map[string]string)
		}
		xattrs[name] = string(value[:length])
	}
	return xattrs, nil
}

// OpenRoot opens dir until the test ends.
func OpenRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// ReadFile returns the content of the file with the joined path.
func ReadFile(t *testing.T, elem ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
