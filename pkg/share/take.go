package share

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Taker takes files away from whoever made them, into directories that only
// this process writes. Afterwards nobody else can change them.
type Taker struct {
	// Revoke ends what others may still do to a file that they have open: its
	// owner and mode are ours already. nil: nobody can be kept from that, so
	// what is taken is a copy.
	Revoke func(*os.File) error
}

// errNotTaken reports that what is to be taken is no file of its own.
var errNotTaken = errors.New("not a file that can be taken")

// beneath resolves a name without leaving the directory, following a link, or
// entering another file system.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS

// Take takes the regular file called name below the directory from, which
// others write, and calls it to in the directory into, which they do not. It
// returns the file open for reading. A file that is at to already was taken
// before. from may be nil: then only such a file is returned. The error
// matches fs.ErrNotExist where there is none. More than maxBytes are not copied.
//
// Take does not make the new name durable.
func (t Taker) Take(from *os.File, name string, into *os.Root, to string, maxBytes int64) (*os.File, error) {
	file, err := openOwn(into, to)
	if errors.Is(err, fs.ErrNotExist) && from != nil {
		err = t.bring(from, name, into, to, maxBytes)
		if err == nil {
			file, err = openOwn(into, to)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := t.seal(file, from, name); err != nil {
		return nil, errors.Join(err, file.Close(), into.Remove(to))
	}
	return file, nil
}

// openOwn opens a regular file in a directory that only this process writes.
func openOwn(root *os.Root, name string) (*os.File, error) {
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	file, err := openAt(dir, path.Base(name), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is a %s; want a regular file: %w", name, Kind(info.Mode()), errNotTaken)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// bring links the file into its new place, or copies it there.
func (t Taker) bring(from *os.File, name string, into *os.Root, to string, maxBytes int64) error {
	found, err := openBeneath(from, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer found.Close()
	if err := checkSingle(found, name); err != nil {
		return err
	}
	if t.Revoke != nil {
		err := link(found, into, to)
		if !errors.Is(err, unix.EXDEV) {
			return err
		}
	}
	return copyIn(found, into, to, maxBytes)
}

// openBeneath finds a file without opening it: to open a device or a FIFO would
// be an act on this machine.
func openBeneath(dir *os.File, name string) (*os.File, error) {
	return openAt(dir, name, unix.O_PATH)
}

// openAt opens what is called name below dir. It follows no link and enters no
// other file system.
func openAt(dir *os.File, name string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: beneath})
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("a symbolic link is in its place or leads there: %w", errNotTaken)
	case errors.Is(err, unix.EXDEV):
		return nil, fmt.Errorf("it lies outside of its directory: %w", errNotTaken)
	case err != nil:
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// checkSingle makes sure that found is a regular file with one name.
func checkSingle(found *os.File, name string) error {
	info, err := found.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is a %s; want a regular file: %w", name, Kind(info.Mode()), errNotTaken)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink != 1 {
		return fmt.Errorf("%s has more than one name; want one: %w", name, errNotTaken)
	}
	return nil
}

// Kind says in words what the type of a mode is.
func Kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "regular file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symbolic link"
	case fs.ModeNamedPipe:
		return "FIFO"
	case fs.ModeSocket:
		return "socket"
	}
	return "device"
}

// link gives found, whatever is called so by now, a name in into.
func link(found *os.File, into *os.Root, to string) error {
	dir, err := into.Open(path.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close()
	err = unix.Linkat(unix.AT_FDCWD, procPath(found), int(dir.Fd()), path.Base(to), unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return fmt.Errorf("linking %s: %w", to, err)
	}
	return nil
}

func procPath(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }

// copyIn copies found, which shares its blocks with the copy where the file
// system can do that.
func copyIn(found *os.File, into *os.Root, to string, maxBytes int64) error {
	in, err := os.Open(procPath(found))
	if err != nil {
		return err
	}
	defer in.Close()
	temporary := to + ".part"
	out, err := into.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		_, err = io.Copy(out, io.LimitReader(in, maxBytes))
	}
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil {
		err = into.Rename(temporary, to)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("copying %s: %w", to, err), into.Remove(temporary))
	}
	return nil
}

// seal makes a file that was linked ours alone. It is repeated for one that was
// taken before: this process may have been killed in the middle.
func (t Taker) seal(file, from *os.File, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return err
	}
	ours := st.Uid == uint32(os.Geteuid())
	if ours && st.Nlink == 1 && st.Mode&0o7777 == 0o644 {
		return nil // a copy, or sealed before; what had it open is gone with the process that was killed
	}
	if err := file.Chown(os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	if st.Nlink > 1 && from != nil {
		if err := unlinkBeneath(from, name); err != nil {
			return err
		}
	}
	if t.Revoke != nil {
		if err := t.Revoke(file); err != nil {
			return fmt.Errorf("revoking what others may do to %s: %w", name, err)
		}
	}
	return checkSingle(file, name)
}

// unlinkBeneath removes a name that is a single component below dir.
func unlinkBeneath(dir *os.File, name string) error {
	parent, err := openBeneath(dir, path.Dir(name))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer parent.Close()
	err = unix.Unlinkat(int(parent.Fd()), path.Base(name), 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unlinking %s: %w", name, err)
	}
	return nil
}
