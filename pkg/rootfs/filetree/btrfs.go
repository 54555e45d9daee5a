package filetree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls that make subvolumes (linux/btrfs.h, BTRFS_IOC_SNAP_CREATE and
// BTRFS_IOC_SUBVOL_CREATE), in a form that every kernel has.
const (
	btrfsSnapshot  = 0x50009401
	btrfsSubvolume = 0x5000940e
)

// btrfsArgs are their argument, struct btrfs_ioctl_vol_args.
type btrfsArgs struct {
	source int64 // descriptor of what the snapshot is of
	name   [4088]byte
}

// Make creates a directory for a tree, and its parents. On btrfs it creates a
// subvolume, so that Snapshot works on it.
func Make(dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	there, err := OnBtrfs(parent)
	if err != nil {
		return err
	}
	if !there {
		return os.Mkdir(dir, 0o755)
	}
	if err := btrfs(btrfsSubvolume, nil, dir); err != nil {
		return fmt.Errorf("making the subvolume %s: %w", dir, err)
	}
	return os.Chmod(dir, 0o755)
}

// OnBtrfs reports whether path is on btrfs.
func OnBtrfs(path string) (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return false, fmt.Errorf("file system of %s: %w", path, err)
	}
	return uint32(stat.Type) == unix.BTRFS_SUPER_MAGIC, nil
}

// Snapshot creates the directory to as a snapshot of the subvolume from. The error
// matches ErrUnsupported if that is not possible.
func Snapshot(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	err = btrfs(btrfsSnapshot, source, to)
	switch {
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the file system is not btrfs", ErrUnsupported)
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%w: the template is on another file system", ErrUnsupported)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the template is not a subvolume, as it was made elsewhere; import it again", ErrUnsupported)
	}
	return err
}

// btrfs creates a subvolume called path, a snapshot of source unless that is nil.
func btrfs(call uintptr, source *os.File, path string) error {
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	var args btrfsArgs
	if source != nil {
		args.source = int64(source.Fd())
	}
	if copy(args.name[:len(args.name)-1], filepath.Base(path)) < len(filepath.Base(path)) {
		return unix.ENAMETOOLONG
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, parent.Fd(), call, uintptr(unsafe.Pointer(&args))); errno != 0 {
		return errno
	}
	return nil
}

// ErrUnsupported reports that a clone method does not work here. Others may work.
var ErrUnsupported = errors.New("it cannot be done here")
