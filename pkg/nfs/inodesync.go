package nfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An inodeSyncer syncs changes of inodes that have no file to sync: links,
// devices, FIFOs and sockets cannot be opened as files. syncfs would do it, but
// also waits for all data that anybody has written to the file system. The zero
// value is ready for use.
type inodeSyncer struct {
	once   sync.Once
	method func(fd int) error // nil: syncfs
	fd     int                // what method is called with
	file   bool               // fd is the inodeSyncer's own, see touch

	// apart is whether syncing a directory leaves out the inodes of its new
	// entries.
	apart bool
}

// sync returns once earlier changes of inodes are on the disk, in the file system
// that holds root.
func (s *inodeSyncer) sync(root int) error {
	s.once.Do(func() { s.choose(root) })
	if s.method != nil && s.method(s.fd) == nil {
		return nil
	}
	return unix.Syncfs(root)
}

// syncNew is sync for an inode whose directory is synced too.
func (s *inodeSyncer) syncNew(root int) error {
	s.once.Do(func() { s.choose(root) })
	if !s.apart {
		return nil
	}
	return s.sync(root)
}

// choose picks the method that suits the file system. An overlay gets syncfs,
// because the file systems below it are not known.
func (s *inodeSyncer) choose(root int) {
	var fs unix.Statfs_t
	if unix.Fstatfs(root, &fs) != nil {
		return
	}
	switch magic := uint32(fs.Type); {
	case magic == unix.TMPFS_MAGIC:
		s.method = func(int) error { return nil } // it has no disk
	case magic == unix.BTRFS_SUPER_MAGIC:
		s.method, s.fd = commitBtrfs, root
	case magic == unix.EXT4_SUPER_MAGIC && !hasJournal(root):
		s.apart = true
	case magic == unix.EXT4_SUPER_MAGIC, magic == unix.XFS_SUPER_MAGIC:
		fd, err := unix.Openat(root, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			s.method, s.fd, s.file = touch, fd, true
		}
	}
}

// close lets go of what sync needs. It must not be used any more.
func (s *inodeSyncer) close() error {
	if !s.file {
		return nil
	}
	return unix.Close(s.fd)
}

// hasJournal reports whether an ext4, or what is mounted as one, has a journal.
func hasJournal(root int) bool {
	var st unix.Stat_t
	if unix.Fstat(root, &st) != nil {
		return false
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return false
	}
	task, err := os.ReadFile(filepath.Join("/sys/fs/ext4", filepath.Base(device), "journal_task"))
	return err == nil && !strings.HasPrefix(string(task), "<none>")
}

// touch changes the times of a file that has no name, and syncs it. Where one
// journal takes all changes of inodes in their order, that brings the earlier
// ones to the disk as well.
func touch(fd int) error {
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	if err := unix.UtimesNanoAt(fd, "", now, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("touching an unnamed file: %w", err)
	}
	return unix.Fsync(fd)
}

// commitBtrfs ends the running transaction of a btrfs, which holds all changes
// of inodes, and waits until it is on the disk.
func commitBtrfs(root int) error {
	const startSync, waitSync = 0x80089418, 0x40089416 // linux/btrfs.h, BTRFS_IOC_*
	var transaction uint64
	for _, request := range []uintptr{startSync, waitSync} {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(root), request, uintptr(unsafe.Pointer(&transaction)))
		if errno != 0 {
			return fmt.Errorf("committing a btrfs transaction: %w", errno)
		}
	}
	return nil
}
