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

// A board is root in its own root, and may change anything there while it is
// looked at. Names are therefore resolved by the kernel, in one call and as the
// board itself would (openat2(2) with RESOLVE_IN_ROOT), and what is found is used
// by its descriptor.

// maxRaces is how often a name is resolved again because a directory on its way
// was renamed meanwhile.
const maxRaces = 128

// openIn opens what a name of a root leads to for a process whose root that is:
// absolute links start there, and ".." ends there.
func openIn(root *os.Root, name string, flags uint64) (*os.File, error) {
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

// openRegular opens the regular file that a name of a root leads to. Boards can
// make any kind of file in theirs, at any moment; to open a device or a FIFO
// would be an act on this machine, so the file is looked at through a descriptor
// that does not open it.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	found, err := openIn(root, name, unix.O_PATH)
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	return reopenRegular(found)
}

// reopenRegular opens what a descriptor that does not open it is of.
func reopenRegular(found *os.File) (*os.File, fs.FileInfo, error) {
	info, err := found.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("got %s; %w", kindOf(info.Mode()), errNotRegular)
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", found.Fd()))
	return file, info, err
}

var errNotRegular = errors.New("want a regular file")

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

// exists reports whether a name of a root leads to a file.
func exists(root *os.Root, name string) bool {
	found, err := openIn(root, name, unix.O_PATH)
	return err == nil && found.Close() == nil
}

// maxEntries is more than any directory has whose entries matter here.
const maxEntries = 4096

// readDir reads a directory of a root, its first maxEntries if it has more, in
// the order of their names.
func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	dir, err := openIn(root, name, unix.O_DIRECTORY)
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

// makeDir opens a directory of the root, and makes it and those above it, mode
// 0755, where they are missing.
func makeDir(root *os.Root, name string) (*os.File, error) {
	dir, err := openIn(root, name, unix.O_DIRECTORY)
	if !errors.Is(err, fs.ErrNotExist) || path.Clean(name) == "." {
		return dir, err
	}
	parent, err := makeDir(root, path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	base := path.Base(name)
	made := unix.Mkdirat(int(parent.Fd()), base, 0o755)
	if made != nil && !errors.Is(made, unix.EEXIST) {
		return nil, &fs.PathError{Op: "mkdir", Path: name, Err: made}
	}
	if dir, err = openEntry(parent, base, unix.O_DIRECTORY, 0); err != nil {
		return nil, fmt.Errorf("%s is a symbolic link to nothing; want a directory", name)
	}
	if made == nil {
		err = dir.Chmod(0o755)
	}
	return dir, err
}

// A newFile is one that takes the place of whatever has its name.
type newFile struct {
	data     []byte
	mode     fs.FileMode
	uid, gid int
	durable  bool // on disk before it has its name, which is on disk, too
}

// A putFunc writes a file of a root with exactly this mode. What had the name
// before is replaced, never written through: it may be a symbolic link, or share
// its blocks with another name.
type putFunc func(root *os.Root, name string, data []byte, mode fs.FileMode) error

// putFile is the putFunc for a root that nobody uses yet, and that is written to
// disk as a whole. The file is root's.
func putFile(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return newFile{data: data, mode: mode}.put(root, name)
}

// replaceFile is the putFunc for a root that is in use: its board, and a power
// cut, see the old file or the new one. The owner of a file stays.
func replaceFile(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	file := newFile{data: data, mode: mode, durable: true}
	if was, err := openIn(root, name, unix.O_PATH); err == nil {
		info, err := was.Stat()
		if err = errors.Join(err, was.Close()); err != nil {
			return err
		}
		file.ownedAs(info)
	}
	return file.put(root, name)
}

// ownedAs gives a file the owner of another.
func (f *newFile) ownedAs(info fs.FileInfo) {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		f.uid, f.gid = int(owner.Uid), int(owner.Gid)
	}
}

func (f newFile) put(root *os.Root, name string) error {
	dir, err := makeDir(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	err = placeEntry(dir, path.Base(name), func(temp string) error {
		file, err := openEntry(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return errors.Join(f.fill(file), file.Close())
	}, f.durable)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// fill writes a file that was made for it. A new owner would clear bits of its
// mode.
func (f newFile) fill(file *os.File) error {
	if _, err := file.Write(f.data); err != nil {
		return err
	}
	if err := errors.Join(file.Chown(f.uid, f.gid), file.Chmod(f.mode)); err != nil || !f.durable {
		return err
	}
	return file.Sync()
}

// placeEntry has make an entry under another name and then gives it its own, in
// the place of what has that: no link is followed.
func placeEntry(dir *os.File, name string, make func(temp string) error, durable bool) error {
	at, temp := int(dir.Fd()), tempName(name)
	if err := unix.Unlinkat(at, temp, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s is in the way; remove it: %w", temp, err)
	}
	err := make(temp)
	if err == nil {
		err = unix.Renameat(at, temp, at, name)
	}
	if errors.Is(err, unix.EISDIR) {
		err = errors.New("got a directory; want a regular file, or nothing: remove it")
	}
	if err != nil {
		_ = unix.Unlinkat(at, temp, 0) // says nothing new
		return err
	}
	if durable {
		return dir.Sync()
	}
	return nil
}

// tempName is what a file is called until it is whole.
func tempName(name string) string { return "." + name + ".new" }

// putLink makes a symbolic link of the root, replacing what had the name.
func putLink(root *os.Root, name, target string) error {
	dir, err := makeDir(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return placeEntry(dir, path.Base(name), func(temp string) error {
		return unix.Symlinkat(target, int(dir.Fd()), temp)
	}, false)
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
	info, err := root.Lstat(real)
	if err != nil {
		return false, err
	}
	file := newFile{data: []byte(edited), mode: info.Mode().Perm()}
	file.ownedAs(info)
	return true, file.put(root, real)
}
