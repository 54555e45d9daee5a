//go:build linux

package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// noTarget is where a symbolic link leads whose target the board did not read.
const noTarget = "nowhere"

// MakeTree makes dir what the root file system was before the board booted: names, types, modes,
// owners and sizes. The data of files is zero. What else is in dir is removed, except below the
// names in keep.
func (r *Recording) MakeTree(dir string, keep ...string) error {
	paths := make([]string, len(r.Nodes))
	known := map[string]bool{}
	for _, name := range keep {
		known[filepath.Join(dir, name)] = true
	}
	for i, n := range r.Nodes {
		if i > 0 && (n.Made || paths[n.Parent] == "") {
			continue
		}
		paths[i] = dir
		if i > 0 {
			paths[i] = filepath.Join(paths[n.Parent], n.Name)
		}
		known[paths[i]] = true
	}
	if err := removeOthers(dir, known, keep); err != nil {
		return err
	}
	for i, n := range r.Nodes {
		if i == 0 || paths[i] == "" {
			continue
		}
		if err := n.make(paths[i]); err != nil {
			return fmt.Errorf("making %s: %w", paths[i], err)
		}
	}
	return nil
}

// removeOthers removes what is below dir and not known.
func removeOthers(dir string, known map[string]bool, keep []string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		for _, name := range keep {
			if path == filepath.Join(dir, name) {
				return fs.SkipDir
			}
		}
		if known[path] {
			return nil
		}
		if err := os.RemoveAll(path); err != nil || !d.IsDir() {
			return err
		}
		return fs.SkipDir
	})
}

// make makes the node at path, if there is not one like it already.
func (n Node) make(path string) error {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if err == nil && st.Mode&unix.S_IFMT != n.format() {
		err = errors.Join(os.RemoveAll(path), unix.ENOENT)
	}
	if errors.Is(err, unix.ENOENT) {
		err = n.create(path)
	}
	if err != nil {
		return err
	}
	if n.format() == unix.S_IFREG {
		if err := n.fill(path); err != nil {
			return err
		}
	}
	if n.format() != unix.S_IFLNK {
		err = unix.Chmod(path, n.Mode)
	}
	return errors.Join(os.Lchown(path, int(n.UID), int(n.GID)), err)
}

// format is the node's type as in stat(2).
func (n Node) format() uint32 {
	formats := [...]uint32{unix.S_IFREG, unix.S_IFREG, unix.S_IFDIR, unix.S_IFBLK, unix.S_IFCHR, unix.S_IFLNK, unix.S_IFSOCK, unix.S_IFIFO}
	return formats[min(n.Type, uint32(len(formats)-1))]
}

func (n Node) create(path string) error {
	switch format := n.format(); format {
	case unix.S_IFDIR:
		return unix.Mkdir(path, 0o755)
	case unix.S_IFLNK:
		target := n.Target
		if target == "" {
			target = noTarget
		}
		return unix.Symlink(target, path)
	default:
		const null = 1<<8 | 3 // the device of /dev/null
		return unix.Mknod(path, format|0o600, null)
	}
}

// fill gives a file its size, and blocks on the disk if it is read.
func (n Node) fill(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() == int64(n.Size) {
		return err
	}
	if n.IsRead {
		return writeZeros(path, int64(n.Size))
	}
	return os.Truncate(path, int64(n.Size))
}

// MakeFiles makes the files that the board reads by TFTP, below dir, with prefix taken off their
// names. generated reports files that the server makes by itself.
func (r *Recording) MakeFiles(dir, prefix string, generated func(name string) bool) error {
	for _, f := range r.Files {
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok || f.Size < 0 || generated(name) {
			continue
		}
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), writeZeros(path, f.Size)); err != nil {
			return err
		}
	}
	return nil
}

func writeZeros(path string, size int64) error {
	return os.WriteFile(path, make([]byte, size), 0o644)
}
