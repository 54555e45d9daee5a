package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// MountPoint is where a board mounts the media share.
const MountPoint = "/run/pibootd/media"

// mediaDir returns the directory that is the media share.
func (w *Worker) mediaDir() string {
	if w.Config.MediaDir != "" {
		return w.Config.MediaDir
	}
	return MountPoint
}

// ensureMedia makes sure that the media share is there, and mounts it if it is
// not, or no longer.
func (w *Worker) ensureMedia() error {
	if w.Config.MediaDir != "" {
		info, err := os.Stat(w.Config.MediaDir)
		if err != nil {
			return fmt.Errorf("looking for the media share: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("looking for the media share: %s is not a directory", w.Config.MediaDir)
		}
		return nil
	}
	return w.Config.mount(MountPoint)
}

// mount mounts the media share at dir unless it is there and answers.
func (c Config) mount(dir string) error {
	there, err := mounted(dir)
	if there {
		return nil
	}
	if err != nil {
		// The mount of a server that has forgotten us (ESTALE) only hides the
		// directory.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting the lost media share: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mounting the media share: %w", err)
	}
	source := c.Server.String() + ":" + c.MediaExport
	if err := unix.Mount(source, dir, "nfs", unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, c.mountOptions()); err != nil {
		return fmt.Errorf("mounting the media share %s by %s: %w", source, c.mountOptions(), err)
	}
	return nil
}

// mounted tells whether an NFS share is mounted at dir itself: a board's root,
// and so the directory above, may be NFS too.
func mounted(dir string) (bool, error) {
	var fs unix.Statfs_t
	var at, above unix.Stat_t
	err := unix.Stat(dir, &at)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err := errors.Join(err, unix.Statfs(dir, &fs), unix.Stat(filepath.Dir(dir), &above)); err != nil {
		return false, err
	}
	return at.Dev != above.Dev && int64(fs.Type) == unix.NFS_SUPER_MAGIC, nil
}

// mountOptions are for the kernel's own NFS client, without mount.nfs. hard:
// a server that restarts costs a pause, never a half-written segment.
func (c Config) mountOptions() string {
	ports := ""
	if c.NFSPort != 0 {
		port := strconv.Itoa(c.NFSPort)
		ports = ",port=" + port + ",mountport=" + port
	}
	return "addr=" + c.Server.String() + ",vers=3,proto=tcp" + ports + ",mountproto=tcp,nolock,hard,rsize=1048576,wsize=1048576"
}
