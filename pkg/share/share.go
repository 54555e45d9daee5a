// Package share adds to os.Root what is needed for directories that boards can
// write, such as the media share.
package share

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// RenameNew renames a file durably. It never replaces a file at to: the error then
// matches fs.ErrExist. The directory of to must exist.
func RenameNew(root *os.Root, from, to string) error {
	fromDir, err := root.Open(path.Dir(from))
	if err != nil {
		return err
	}
	defer fromDir.Close()
	toDir, err := root.Open(path.Dir(to))
	if err != nil {
		return err
	}
	defer toDir.Close()
	err = unix.Renameat2(int(fromDir.Fd()), path.Base(from), int(toDir.Fd()), path.Base(to), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) {
		err = renameLooking(root, from, to)
	}
	if err != nil {
		return fmt.Errorf("renaming %s to %s: %w", from, to, err)
	}
	return errors.Join(toDir.Sync(), fromDir.Sync())
}

// renameLooking is the fallback for file systems without RENAME_NOREPLACE. A file
// that appears at to between its two steps is lost.
func renameLooking(root *os.Root, from, to string) error {
	_, err := root.Lstat(to)
	if err == nil {
		return fs.ErrExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.Rename(from, to)
}

// maxLinks is the maximum number of symbolic links that lead to a file.
const maxLinks = 8

// OpenRegular opens a regular file for reading, also through symbolic links that
// stay inside root. Boards can create any type of file and exchange it at any
// moment, and opening a device or a FIFO would have effects on this machine, so the
// file is examined through a descriptor that does not open it. The error for
// anything but a regular file of root matches fs.ErrNotExist.
func OpenRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	at := name
	for range maxLinks {
		file, info, err := openFound(root, at)
		if err != nil || info.Mode().Type() != fs.ModeSymlink {
			return file, info, err
		}
		// O_PATH opens the link itself, so os.Root does not follow a link at the
		// end.
		target, err := root.Readlink(at)
		if err != nil {
			return nil, nil, err
		}
		at = path.Join(path.Dir(at), target)
		if path.IsAbs(target) || !filepath.IsLocal(at) {
			return nil, nil, fmt.Errorf("%s leads out of its directory: %w", name, fs.ErrNotExist)
		}
	}
	return nil, nil, fmt.Errorf("%s is behind more than %d links: %w", name, maxLinks, fs.ErrNotExist)
}

// openFound opens name if it is a regular file. For a symbolic link it returns no
// file, only its FileInfo.
func openFound(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	found, err := root.OpenFile(name, unix.O_PATH, 0)
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	info, err := found.Stat()
	if err != nil {
		return nil, nil, err
	}
	switch info.Mode().Type() {
	case 0:
	case fs.ModeSymlink:
		return nil, info, nil
	default:
		return nil, nil, fmt.Errorf("%s is %v; want a regular file: %w", name, info.Mode().Type(), fs.ErrNotExist)
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", found.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return file, info, nil
}

// FreeBytes returns the number of bytes that users other than root can still write
// to the file system of a directory.
func FreeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil // Bsize is 32 bits wide on armv7
}

// SizeBytes returns the size of the file system of dir, as far as users other than root
// can use it.
func SizeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("size of %s: %w", dir, err)
	}
	return int64(st.Blocks-st.Bfree+st.Bavail) * int64(st.Bsize), nil
}
