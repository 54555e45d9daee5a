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
	once    sync.Once
	method  func() error // nil: syncfs
	journal *committer   // nil: the file system has none with all changes in their order

	// apart is whether syncing a directory leaves out the inodes of its new
	// entries.
	apart bool
}

// sync returns once earlier changes of inodes and directories are on the disk, in
// the file system that holds t.
func (s *inodeSyncer) sync(t *tree) error {
	s.once.Do(func() { s.choose(t) })
	if s.method != nil && s.method() == nil {
		return nil
	}
	return unix.Syncfs(t.root)
}

// syncNew is sync for an inode whose directory is synced too.
func (s *inodeSyncer) syncNew(t *tree) error {
	s.once.Do(func() { s.choose(t) })
	if !s.apart {
		return nil
	}
	return s.sync(t)
}

// inOrder reports whether sync costs no more than syncing one file, for all earlier
// changes.
func (s *inodeSyncer) inOrder(t *tree) bool {
	s.once.Do(func() { s.choose(t) })
	return s.journal != nil
}

// choose picks the method that suits the file system. An overlay gets syncfs,
// because the file systems below it are not known.
func (s *inodeSyncer) choose(t *tree) {
	var fs unix.Statfs_t
	if unix.Fstatfs(t.root, &fs) != nil {
		return
	}
	switch magic := uint32(fs.Type); {
	case magic == unix.TMPFS_MAGIC:
		s.method = func() error { return nil } // it has no disk
	case magic == unix.BTRFS_SUPER_MAGIC:
		s.method = func() error { return commitBtrfs(t.root) }
	case magic == unix.EXT4_SUPER_MAGIC && !hasJournal(t.root):
		s.apart = true
	case magic == unix.EXT4_SUPER_MAGIC, magic == unix.XFS_SUPER_MAGIC:
		journal, err := t.server.committers.enter(t.dev, t.root)
		if err == nil {
			s.journal, s.method = journal, journal.sync
		}
	}
}

// close lets go of what sync needs. It must not be used any more.
func (s *inodeSyncer) close(t *tree) error {
	if s.journal == nil {
		return nil
	}
	return t.server.committers.leave(t.dev)
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
