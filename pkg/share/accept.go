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

// An Acceptor moves files of others into directories that only this process can
// write. Afterwards nobody else can change them.
type Acceptor struct {
	// Revoke ends the access of others to a file that they have open. The owner and
	// the mode are ours already. nil means that revoking is impossible, so files
	// are copied.
	Revoke func(*os.File) error
}

// errNotAcceptable reports something other than a regular file with one name.
var errNotAcceptable = errors.New("not a file that can be taken")

// beneath resolves a name without leaving the directory, following a link, or
// entering another file system.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS

// Accept moves the regular file called name from the directory from, which others
// can write, to the name to in the directory into, which they cannot. It returns
// the file open for reading. If to exists, the file was accepted before; if from is
// nil, Accept only looks for to. The error matches fs.ErrNotExist if there is no
// file. A copy has at most maxBytes.
//
// Accept does not sync the new name.
func (a Acceptor) Accept(from *os.File, name string, into *os.Root, to string, maxBytes int64) (*os.File, error) {
	file, err := openOwn(into, to)
	if errors.Is(err, fs.ErrNotExist) && from != nil {
		err = a.bring(from, name, into, to, maxBytes)
		if err == nil {
			file, err = openOwn(into, to)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := a.seal(file, from, name); err != nil {
		return nil, errors.Join(err, file.Close(), into.Remove(to))
	}
	return file, nil
}

// openOwn opens a regular file in a directory that only this process can write.
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
		err = fmt.Errorf("%s is a %s; want a regular file: %w", name, Kind(info.Mode()), errNotAcceptable)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// bring links the file to its new name, or copies it there.
func (a Acceptor) bring(from *os.File, name string, into *os.Root, to string, maxBytes int64) error {
	found, err := openBeneath(from, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer found.Close()
	if err := checkSingle(found, name); err != nil {
		return err
	}
	if a.Revoke != nil {
		err := link(found, into, to)
		if !errors.Is(err, unix.EXDEV) {
			return err
		}
	}
	return copyIn(found, into, to, maxBytes)
}

// openBeneath finds a file without opening it, because opening a device or a FIFO
// has effects on this machine.
func openBeneath(dir *os.File, name string) (*os.File, error) {
	return openAt(dir, name, unix.O_PATH)
}

// openAt opens name below dir. It follows no link and enters no other file system.
func openAt(dir *os.File, name string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: beneath})
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("a symbolic link is in its place or leads there: %w", errNotAcceptable)
	case errors.Is(err, unix.EXDEV):
		return nil, fmt.Errorf("it lies outside of its directory: %w", errNotAcceptable)
	case err != nil:
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// checkSingle verifies that found is a regular file with one name.
func checkSingle(found *os.File, name string) error {
	info, err := found.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is a %s; want a regular file: %w", name, Kind(info.Mode()), errNotAcceptable)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink != 1 {
		return fmt.Errorf("%s has more than one name; want one: %w", name, errNotAcceptable)
	}
	return nil
}

// Kind returns the file type of a mode in words.
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

// link links found itself into into, even if its old name now belongs to another
// file.
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

// copyIn copies found. The copy shares its blocks if the file system supports that.
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

// seal makes a linked file ours alone. It is repeated for a file accepted before,
// because this process may have been killed halfway.
func (a Acceptor) seal(file, from *os.File, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return err
	}
	ours := st.Uid == uint32(os.Geteuid())
	if ours && st.Nlink == 1 && st.Mode&0o7777 == 0o644 {
		return nil // a copy, or sealed before: a killed process closed the descriptors of its clients
	}
	if st.Nlink > 1 && from != nil {
		if err := unlinkBeneath(from, name); err != nil {
			return err
		}
	}
	if err := TakeOver(file, os.Geteuid(), os.Getegid(), a.Revoke); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return checkSingle(file, name)
}

// TakeOver gives an open file to a user and a group and makes it readable for all. Then it calls
// revoke, if that is not nil: whoever opened the file when it was theirs could still write to it.
func TakeOver(file *os.File, uid, gid int, revoke func(*os.File) error) error {
	if err := errors.Join(file.Chown(uid, gid), file.Chmod(0o644)); err != nil {
		return err
	}
	if revoke == nil {
		return nil
	}
	if err := revoke(file); err != nil {
		return fmt.Errorf("revoking access of others: %w", err)
	}
	return nil
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
