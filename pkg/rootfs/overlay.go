package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/mount"
)

// An overlay root is a directory that contains two others: upper holds what differs from the
// template, and work belongs to the kernel. The mounted root covers both, so that it has the
// same path as any other root.
const (
	upperDir = "upper"
	workDir  = "work"
)

// overlay makes dir an overlay root over the template and mounts it where only this process sees
// it. Closing the returned file unmounts it.
func (c *clone) overlay(dir string) (*os.File, error) {
	for _, part := range []string{c.src.tree, filepath.Dir(dir)} {
		if there, err := filetree.OnBtrfs(part); err != nil || there {
			return nil, errors.Join(err, fmt.Errorf("%w: an overlay's file handles have no room in NFS on btrfs", filetree.ErrUnsupported))
		}
	}
	upper := filepath.Join(dir, upperDir)
	err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(upper, 0o755), os.Mkdir(filepath.Join(dir, workDir), 0o700))
	if err == nil {
		err = filetree.CopyAttributes(c.src.tree, upper)
	}
	var mount *os.File
	if err == nil {
		mount, err = mountLayers(c.src.tree, dir)
	}
	if err == nil {
		err = unix.Setxattr(dir, filetree.OverlayXattr, []byte(c.src.String()), 0)
	}
	if err == nil {
		return mount, nil
	}
	if mount != nil {
		err = errors.Join(err, mount.Close())
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// mountLayers mounts the overlay root dir over the directory lower where only this process sees
// it. File handles stay valid (index and nfs_export, see the kernel's overlayfs.rst), and
// directories of the template can be renamed (redirect_dir). If the kernel does not support
// this, the error matches filetree.ErrUnsupported.
func mountLayers(lower, dir string) (*os.File, error) {
	for _, path := range []string{lower, dir} {
		if strings.ContainsAny(path, `:,\`) {
			return nil, fmt.Errorf(`%w: %q has one of : , \ in it, which overlayfs takes for its own`, filetree.ErrUnsupported, path)
		}
	}
	context, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%w: the kernel has no overlayfs, or is older than 5.2 (%w)", filetree.ErrUnsupported, err)
	}
	messages := os.NewFile(uintptr(context), "fsopen")
	defer messages.Close()
	for _, option := range [][2]string{
		{"source", "pibootd"}, {"lowerdir", lower}, {"upperdir", filepath.Join(dir, upperDir)}, {"workdir", filepath.Join(dir, workDir)},
		{"index", "on"}, {"nfs_export", "on"}, {"redirect_dir", "on"}, {"xino", "auto"},
	} {
		err = errors.Join(err, unix.FsconfigSetString(context, option[0], option[1]))
	}
	if err == nil {
		err = unix.FsconfigCreate(context)
	}
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("mounting the overlay %s: %w: a process in another mount namespace has it mounted; stop the daemon first, if it runs in one", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: mounting the overlay: %w%s", filetree.ErrUnsupported, err, mount.KernelMessage(context))
	}
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mounting the overlay: %w", err)
	}
	return os.NewFile(uintptr(mount), "mount"), nil
}

// overlayTemplate returns the template that the overlay root dir lies over. It returns "" if dir
// is not an overlay root, or is mounted.
func overlayTemplate(dir string) (string, error) {
	value := make([]byte, 256)
	length, err := unix.Getxattr(dir, filetree.OverlayXattr, value)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading what %s is: %w", dir, err)
	}
	return string(value[:length]), nil
}

// open opens the root in dir, which may be an overlay root that is not mounted. The function
// that it returns closes the root.
func (r *Roots) open(dir string) (*os.Root, func() error, error) {
	tree, done, err := r.tree(dir)
	if err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return root, func() error { return errors.Join(root.Close(), done()) }, nil
}

// tree returns a path at which the files of the root in dir are, until done.
func (r *Roots) tree(dir string) (path string, done func() error, err error) {
	mount, err := r.mountAlone(dir)
	if err != nil {
		return "", nil, err
	}
	if mount == nil {
		return dir, func() error { return nil }, nil
	}
	return confine.FDPath(mount), mount.Close, nil
}

// mountAlone mounts the overlay root dir where only this process sees it. For any other
// directory it returns nil.
func (r *Roots) mountAlone(dir string) (*os.File, error) {
	ref, err := overlayTemplate(dir)
	if err != nil || ref == "" {
		return nil, err
	}
	src, err := r.Templates.Find(ref)
	if err != nil {
		return nil, fmt.Errorf("%s lies over the template %s: %w", dir, ref, err)
	}
	return mountLayers(src.tree, dir)
}

// Mount mounts the root of a board if it is an overlay that is not mounted, for example after
// this machine has booted. Other roots need no mount.
func (r *Roots) Mount(serial pi.Serial) error {
	mount, err := r.mountAlone(r.Path(serial))
	if err == nil && mount != nil {
		err = r.attach(mount, serial)
	}
	if err != nil {
		return fmt.Errorf("rootfs: mounting the root of %s: %w", serial, err)
	}
	return nil
}

// Unmount reverses Mount.
func (r *Roots) Unmount(serial pi.Serial) error {
	if err := r.unmount(serial); err != nil {
		return fmt.Errorf("rootfs: %w", err)
	}
	return nil
}

// attach moves a mount of a board's root to the root's path and closes it.
func (r *Roots) attach(mount *os.File, serial pi.Serial) error {
	err := r.inMachine(func() error {
		return unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, r.Path(serial), unix.MOVE_MOUNT_F_EMPTY_PATH)
	})
	if err == nil {
		err = r.seen(r.Path(serial))
	}
	return errors.Join(err, mount.Close())
}

// unmount unmounts the root of a board, if it is mounted.
func (r *Roots) unmount(serial pi.Serial) error {
	return r.inMachine(func() error { return unmount(r.Path(serial)) })
}

// unmount unmounts a root, if it is mounted. Processes that still use the mount can continue to,
// as the NFS server does until the export has changed.
func unmount(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // nothing is mounted there
	}
	if err != nil {
		return fmt.Errorf("unmounting %s: %w", dir, err)
	}
	return nil
}
