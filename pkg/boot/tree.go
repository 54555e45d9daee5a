package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"pibootd/pkg/registry"
)

// A tree is a board's root and the boot directory in it. The board is root
// there and may change anything at any moment, so a name is resolved by the
// kernel in one call, as the board itself would: an absolute link starts at the
// root, and ".." ends there. What is found is used by its descriptor.
type tree struct {
	root *os.File
	dir  string // the boot directory
}

// bootDirs are where a root may keep its boot files, in the order of looking:
// Raspberry Pi OS has moved them in 2023.
var bootDirs = []string{"boot/firmware", "boot"}

// openTree opens the board's root. The caller closes it.
func (p *Policy) openTree(board registry.Pi) (*tree, error) {
	root, err := os.OpenFile(p.Roots.Path(board.Serial), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("boot: opening the root of %s: %w", board.Name, err)
	}
	t := &tree{root: root}
	for _, file := range []string{"config.txt", "."} {
		for _, t.dir = range bootDirs {
			if t.has(file) {
				return t, nil
			}
		}
	}
	err = fmt.Errorf("boot: the root of %s has no boot directory (%s): %w", board.Name, strings.Join(bootDirs, ", "), fs.ErrNotExist)
	return nil, errors.Join(err, t.close())
}

func (t *tree) close() error { return t.root.Close() }

// maxRaces is how often a name is resolved again because a directory was renamed
// meanwhile.
const maxRaces = 128

// find returns what a name of the boot directory leads to, without opening it.
// The error matches fs.ErrNotExist where it leads to nothing of the root.
func (t *tree) find(name string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range maxRaces {
		fd, err := unix.Openat2(int(t.root.Fd()), t.dir+"/"+name, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EAGAIN, unix.EINTR:
		case unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG:
			return nil, fmt.Errorf("boot: %s: %w: %w", name, err, fs.ErrNotExist)
		default:
			return nil, fmt.Errorf("boot: %s: %w", name, err)
		}
	}
	return nil, fmt.Errorf("boot: %s: its directories are renamed all the time", name)
}

func (t *tree) has(name string) bool {
	found, err := t.find(name)
	return err == nil && found.Close() == nil
}

// open opens a regular file of the boot directory. What else there is, and what
// keeps secrets, is not there.
func (t *tree) open(name string) (*os.File, fs.FileInfo, error) {
	found, err := t.find(name)
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	info, err := found.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("boot: %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("boot: %s is %v; want a regular file: %w", name, info.Mode().Type(), fs.ErrNotExist)
	}
	self := fmt.Sprintf("/proc/self/fd/%d", found.Fd())
	real, err := os.Readlink(self)
	if err != nil {
		return nil, nil, fmt.Errorf("boot: looking where %s leads to: %w", name, err)
	}
	if isSecret(name) || isSecret(path.Base(strings.TrimSuffix(real, " (deleted)"))) {
		return nil, nil, fmt.Errorf("boot: %s is not served, because it may contain a password or a key: %w", name, fs.ErrNotExist)
	}
	file, err := os.Open(self)
	if err != nil {
		return nil, nil, fmt.Errorf("boot: %s: %w", name, err)
	}
	return file, info, nil
}
