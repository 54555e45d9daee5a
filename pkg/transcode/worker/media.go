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

// ensure makes sure that the media share is there, and mounts it if it is not,
// or no longer.
func (m mount) ensure() error {
	if m.MediaDir == "" {
		return m.mountAt(MountPoint)
	}
	info, err := os.Stat(m.MediaDir)
	if err != nil {
		return fmt.Errorf("looking for the media share: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("looking for the media share: %s is not a directory", m.MediaDir)
	}
	return nil
}

// mountAt mounts the media share at dir unless it is there and answers.
func (m mount) mountAt(dir string) error {
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
	source := m.Server.String() + ":" + m.MediaExport
	if err := unix.Mount(source, dir, "nfs", unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, m.mountOptions()); err != nil {
		return fmt.Errorf("mounting the media share %s by %s: %w", source, m.mountOptions(), err)
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
func (m mount) mountOptions() string {
	ports := ""
	if m.NFSPort != 0 {
		port := strconv.Itoa(m.NFSPort)
		ports = ",port=" + port + ",mountport=" + port
	}
	return "addr=" + m.Server.String() + ",vers=3,proto=tcp" + ports + ",mountproto=tcp,nolock,hard,rsize=1048576,wsize=1048576"
}
