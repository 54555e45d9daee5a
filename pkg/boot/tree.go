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
	"pibootd/pkg/rootfs/confine"
)

// A tree is a board's root and the boot directory in it. The board is root
// there and may change anything at any moment, so a name is resolved as the board
// itself would, by package confine, and what is found is used by its descriptor.
//
// Boot code and config.txt name files as FAT finds them, whatever their upper and
// lower case; a tree does, too. It serves one request.
type tree struct {
	root     *os.Root
	dir      string // the boot directory
	spelling confine.Speller
}

// bootDirs are where a root may keep its boot files, in the order of looking:
// Raspberry Pi OS has moved them in 2023.
var bootDirs = []string{"boot/firmware", "boot"}

// openTree opens the board's root. The caller closes it.
func (p *Policy) openTree(board registry.Pi) (*tree, error) {
	root, err := os.OpenRoot(p.Roots.Path(board.Serial))
	if err != nil {
		return nil, fmt.Errorf("boot: opening the root of %s: %w", board.Name, err)
	}
	t := &tree{root: root, spelling: confine.Speller{Root: root}}
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

// find returns what a name of the boot directory leads to, without opening it.
// The error matches fs.ErrNotExist where it leads to nothing of the root.
func (t *tree) find(name string) (*os.File, error) {
	found, err := confine.Open(t.root, t.dir+"/"+name, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) {
		if spelled := t.spelling.Spelled(t.dir, name); spelled != name {
			found, err = confine.Open(t.root, t.dir+"/"+spelled, unix.O_PATH)
		}
	}
	switch {
	case err == nil:
		return found, nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENAMETOOLONG):
		return nil, fmt.Errorf("boot: %s: %w: %w", name, err, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("boot: %s: %w", name, err)
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
	real, err := os.Readlink(confine.FDPath(found))
	if err != nil {
		return nil, nil, fmt.Errorf("boot: looking where %s leads to: %w", name, err)
	}
	if isSecret(name) || isSecret(path.Base(strings.TrimSuffix(real, " (deleted)"))) {
		return nil, nil, fmt.Errorf("boot: %s is not served, because it may contain a password or a key: %w", name, fs.ErrNotExist)
	}
	file, err := os.Open(confine.FDPath(found))
	if err != nil {
		return nil, nil, fmt.Errorf("boot: %s: %w", name, err)
	}
	return file, info, nil
}
