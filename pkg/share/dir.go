package share

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenDir opens the directory called name below root, "." being root itself. It
// follows no link in any component. An error that matches unix.ELOOP reports a
// link, unix.ENOTDIR anything else that is not a directory.
func OpenDir(root *os.Root, name string) (*os.File, error) {
	top, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer top.Close()
	fd, err := unix.Openat2(int(top.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenDirAt opens a directory below dir, which others can write, to read it or to
// accept files from it. It follows no link and enters no other file system.
func OpenDirAt(dir *os.File, name string) (*os.File, error) {
	opened, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if errors.Is(err, unix.ENOTDIR) {
		err = errNotAcceptable
	}
	if err != nil {
		return nil, fmt.Errorf("opening the directory %s: %w", name, err)
	}
	return opened, nil
}
