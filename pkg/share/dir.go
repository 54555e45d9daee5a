package share

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenDir opens the directory called name below root, "." being root itself,
// without following a link anywhere on the way. An error that matches
// unix.ELOOP tells of a link, unix.ENOTDIR of something else that is no
// directory.
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
