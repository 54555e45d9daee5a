// Package confine opens, reads and writes the files of an untrusted root, such as
// that of a board, without ever leaving it.
//
// A board is root in its own root file system and can change anything there at
// any moment. The kernel therefore resolves each name in one call, as the board
// itself would (openat2(2) with RESOLVE_IN_ROOT), and callers use what was found
// by its descriptor.
package confine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRaces is how often Open resolves a name again because one of its directories
// was renamed during the call.
const maxRaces = 128

// Open opens the file called name as a process would whose root directory is
// root: absolute links start there, and ".." ends there.
func Open(root *os.Root, name string, flags uint64) (*os.File, error) {
	top, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer top.Close()
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range maxRaces {
		fd, err := unix.Openat2(int(top.Fd()), name, &how)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("its directories are renamed all the time")}
}

// OpenRegular opens the regular file called name and returns its description. It
// first checks the kind of the file by an O_PATH descriptor, because opening a
// device or a FIFO would affect this machine. Any other kind is an error that
// matches ErrNotRegular.
func OpenRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	found, err := Open(root, name, unix.O_PATH)
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	return Reopen(found)
}

// Reopen opens the regular file that an O_PATH descriptor refers to.
func Reopen(found *os.File) (*os.File, fs.FileInfo, error) {
	info, err := found.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("got %s; %w", kindOf(info.Mode()), ErrNotRegular)
	}
	file, err := os.Open(FDPath(found))
	return file, info, err
}

// ErrNotRegular reports a directory, a device or another file that is not regular.
var ErrNotRegular = errors.New("want a regular file")

// kindOf names the kind of a file that is not regular.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "a file of an unknown kind"
}

// Exists reports whether root has a file of any kind called name.
func Exists(root *os.Root, name string) bool {
	found, err := Open(root, name, unix.O_PATH)
	return err == nil && found.Close() == nil
}

// MaxEntries is the number of entries that ReadDir returns at most. No directory
// that pibootd needs to read has as many.
const MaxEntries = 4096

// ReadDir returns the first MaxEntries entries of a directory, sorted by name.
func ReadDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	dir, err := Open(root, name, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(MaxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// MakeDir opens a directory of root. It first creates the directory and its
// parents, mode 0755, where they do not exist.
func MakeDir(root *os.Root, name string) (*os.File, error) {
	dir, err := Open(root, name, unix.O_DIRECTORY)
	if !errors.Is(err, fs.ErrNotExist) || path.Clean(name) == "." {
		return dir, err
	}
	parent, err := MakeDir(root, path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	base := path.Base(name)
	made := unix.Mkdirat(int(parent.Fd()), base, 0o755)
	if made != nil && !errors.Is(made, unix.EEXIST) {
		return nil, &fs.PathError{Op: "mkdir", Path: name, Err: made}
	}
	if dir, err = OpenAt(parent, base, unix.O_DIRECTORY, 0); err != nil {
		return nil, fmt.Errorf("%s is a symbolic link to nothing; want a directory", name)
	}
	if made == nil {
		err = dir.Chmod(0o755)
	}
	return dir, err
}

// maxTextBytes is the size of the largest file that ReadText reads.
const maxTextBytes = 1 << 20

// ReadText reads a small regular file, following symbolic links inside root.
func ReadText(root *os.Root, name string) ([]byte, error) {
	file, info, err := OpenRegular(root, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	if info.Size() > maxTextBytes {
		return nil, fmt.Errorf("%s: got %d bytes; want a file of at most %d", name, info.Size(), maxTextBytes)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxTextBytes))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// OpenAt opens an entry of dir. It does not follow a symbolic link.
func OpenAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenRegularAt opens a regular file of dir. Like OpenRegular it opens no device,
// not even one that a board puts there during the call.
func OpenRegularAt(dir *os.File, base string) (*os.File, error) {
	found, err := OpenAt(dir, base, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	file, _, err := Reopen(found)
	return file, err
}

// EntryPath returns a path of an entry of dir, for system calls that accept only a
// path. It stays valid when dir is renamed.
func EntryPath(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// FDPath returns a path of an open file, for calls that accept only a path.
func FDPath(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", dir.Fd()) }
