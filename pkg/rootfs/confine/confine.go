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

// A board is root in its own root, and may change anything there while it is
// looked at. Names are therefore resolved by the kernel, in one call and as the
// board itself would (openat2(2) with RESOLVE_IN_ROOT), and what is found is used
// by its descriptor.

// maxRaces is how often a name is resolved again because a directory on its way
// was renamed meanwhile.
const maxRaces = 128

// Open opens what a name of a root leads to for a process whose root that is:
// absolute links start there, and ".." ends there.
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

// OpenRegular opens the regular file that a name of a root leads to. Boards can
// make any kind of file in theirs, at any moment; to open a device or a FIFO
// would be an act on this machine, so the file is looked at through a descriptor
// that does not open it.
func OpenRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	found, err := Open(root, name, unix.O_PATH)
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	return Reopen(found)
}

// Reopen opens what a descriptor that does not open it is of.
func Reopen(found *os.File) (*os.File, fs.FileInfo, error) {
	info, err := found.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("got %s; %w", kindOf(info.Mode()), ErrNotRegular)
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", found.Fd()))
	return file, info, err
}

var ErrNotRegular = errors.New("want a regular file")

// kindOf says what a file is that is no regular one.
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

// Exists reports whether a name of a root leads to a file.
func Exists(root *os.Root, name string) bool {
	found, err := Open(root, name, unix.O_PATH)
	return err == nil && found.Close() == nil
}

// MaxEntries is more than any directory has whose entries matter here.
const MaxEntries = 4096

// ReadDir reads a directory of a root, its first MaxEntries if it has more, in
// the order of their names.
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

// MakeDir opens a directory of the root, and makes it and those above it, mode
// 0755, where they are missing.
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

// maxTextBytes bounds the small files of a foreign root that are read whole.
const maxTextBytes = 1 << 20

// ReadText reads a small file of the root, following symbolic links inside it.
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

// OpenAt opens an entry of an open directory, never through a symbolic link.
func OpenAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenRegularAt opens a regular file of a directory. A board may put a device there
// after it was looked at, and to open that would be an act on this machine.
func OpenRegularAt(dir *os.File, base string) (*os.File, error) {
	found, err := OpenAt(dir, base, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	file, _, err := Reopen(found)
	return file, err
}

// EntryPath names an entry of an open directory for calls that take only a
// path; the kernel goes straight to the directory, whatever its own path is.
func EntryPath(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// FDPath names an open directory for calls that take a path.
func FDPath(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", dir.Fd()) }
