package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// putFile writes a file of the root with exactly this mode, owned by root. What
// had the name before is replaced, never written through: it may be a symbolic
// link, or share its blocks with another name.
func putFile(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	real, err := makeWay(root, name)
	if err != nil {
		return err
	}
	file, err := root.OpenFile(real, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Chmod(mode), file.Close())
}

// putLink makes a symbolic link of the root, replacing what had the name.
func putLink(root *os.Root, name, target string) error {
	real, err := makeWay(root, name)
	if err != nil {
		return err
	}
	return root.Symlink(target, real)
}

// makeWay prepares an entry: it makes its directory, removes what has its
// name and returns the name with the directory's symbolic links resolved.
func makeWay(root *os.Root, name string) (string, error) {
	dir, err := makeDir(root, path.Dir(name))
	if err != nil {
		return "", err
	}
	real := path.Join(dir, path.Base(name))
	if err := root.Remove(real); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return real, nil
}

// makeDir makes a directory of the root and those above it, mode 0755, and
// returns its name with symbolic links resolved as the Pi will resolve them.
func makeDir(root *os.Root, name string) (string, error) {
	real, err := resolve(root, name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	if _, err := root.Lstat(name); err == nil {
		return "", fmt.Errorf("%s is a symbolic link to nothing; want a directory", name)
	}
	parent, err := makeDir(root, path.Dir(name))
	if err != nil {
		return "", err
	}
	real = path.Join(parent, path.Base(name))
	if err := root.Mkdir(real, 0o755); err != nil {
		return "", err
	}
	return real, root.Chmod(real, 0o755)
}

// openRegular opens a regular file of a root. Boards can make any kind of file
// in theirs, at any moment; to open a device or a FIFO would be an act on this
// machine, so the file is looked at through a descriptor that does not open it.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	found, err := root.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	info, err := found.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("got %v; want a regular file", info.Mode().Type())
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", found.Fd()))
	return file, info, err
}

// maxEntries is more than any directory has whose entries matter here.
const maxEntries = 4096

// readDir reads a directory of a root, its first maxEntries if it has more, in
// the order of their names. Symbolic links to it are followed inside the root.
func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	real, err := resolve(root, name)
	if err != nil {
		return nil, err
	}
	// O_DIRECTORY refuses a FIFO where it would else be waited for its writer.
	dir, err := root.OpenFile(real, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// editFile changes the text of a small file of the root, keeping its owner and
// mode. It reports whether there was anything to change; a file that does not
// exist has nothing.
func editFile(root *os.Root, name string, edit func(text string) string) (bool, error) {
	text, err := readText(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	edited := edit(string(text))
	if edited == string(text) {
		return false, nil
	}
	real, err := resolve(root, name)
	if err != nil {
		return false, err
	}
	return true, rewrite(root, real, edited)
}

func rewrite(root *os.Root, name, text string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if err := putFile(root, name, []byte(text), info.Mode().Perm()); err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return root.Lchown(name, int(owner.Uid), int(owner.Gid))
}
