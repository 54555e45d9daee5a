package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// The directories at which a board mounts its exports.
const (
	MediaMount   = "/run/pibootd/media"   // the media share, read-only
	ScratchMount = "/run/pibootd/scratch" // the worker's own scratch
)

// errNoScratch reports a configuration of an earlier pibootd, whose boards wrote to
// the media share.
var errNoScratch = errors.New("worker.json has no scratch_export: want pibootd restarted on its machine, which writes it, and then this board")

// ensure verifies that the media share and the worker's scratch are mounted, and
// mounts them if necessary.
func (m mountedShare) ensure() error {
	if m.MediaDir == "" {
		if m.ScratchExport == "" {
			return errNoScratch
		}
		if err := m.mountAt("the media share", m.MediaExport, MediaMount, unix.MS_RDONLY); err != nil {
			return err
		}
		return m.mountAt("the scratch", m.ScratchExport, ScratchMount, 0)
	}
	info, err := os.Stat(m.MediaDir)
	if err != nil {
		return fmt.Errorf("looking for the media share: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("looking for the media share: %s is not a directory", m.MediaDir)
	}
	if err := os.MkdirAll(m.dir(), 0o700); err != nil {
		return fmt.Errorf("making the scratch: %w", err)
	}
	return nil
}

// mountAt mounts an export at dir unless it is already mounted there and responds.
// what is its name in errors.
func (m mountedShare) mountAt(what, export, dir string, flags uintptr) error {
	there, err := mounted(dir)
	if there {
		return nil
	}
	if err != nil {
		// If the server has forgotten this mount (ESTALE), it only hides the
		// directory.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s, which is lost: %w", what, err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mounting %s: %w", what, err)
	}
	source := m.Server.String() + ":" + export
	flags |= unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount(source, dir, "nfs", flags, m.mountOptions()); err != nil {
		return fmt.Errorf("mounting %s %s by %s: %w", what, source, m.mountOptions(), err)
	}
	return nil
}

// mounted reports whether an NFS share is mounted at dir itself. The directory
// above may be on NFS too, because a board's root is.
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

// mountOptions returns options for the kernel's own NFS client, without mount.nfs.
// It uses hard, so that a restart of the server causes a pause and never a
// half-written segment.
func (m mountedShare) mountOptions() string {
	ports := ""
	if m.NFSPort != 0 {
		port := strconv.Itoa(m.NFSPort)
		ports = ",port=" + port + ",mountport=" + port
	}
	return "addr=" + m.Server.String() + ",vers=3,proto=tcp" + ports + ",mountproto=tcp,nolock,hard,rsize=1048576,wsize=1048576"
}
