package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pibootd/pkg/share"
)

// stagingDir is where a directory's entries are made before they are renamed
// into place, and where they go to be deleted.
const stagingDir = ".staging"

// stageTries is how often a stage is made anew that a sweep mistook for a dead one.
const stageTries = 1000

// A stage is a private directory on the same file system as the place its
// content is for. It is locked while its maker lives, so that a sweep can tell
// what is being made from what a killed process has left.
type stage struct {
	parent string
	dir    string
	lock   *os.File
}

// newStage makes a stage for entries of parent, which it makes too, mode 0700.
func newStage(parent string) (*stage, error) {
	staging := filepath.Join(parent, stagingDir)
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return nil, err
	}
	var failed error
	for range stageTries {
		s, err := lockedStage(parent, staging)
		if err == nil {
			return s, nil
		}
		failed = err
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		// Somebody swept it away before it was locked.
	}
	return nil, failed
}

func lockedStage(parent, staging string) (*stage, error) {
	dir, err := os.MkdirTemp(staging, "")
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if _, err := os.Lstat(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &stage{parent: parent, dir: dir, lock: lock}, nil
}

// tree is the directory that publish puts into place; whoever fills it makes it.
func (s *stage) tree() string { return filepath.Join(s.dir, "tree") }

// publish writes the tree to disk and renames it to target, which must not
// exist; the error then matches fs.ErrExist and the stage can be published
// elsewhere.
func (s *stage) publish(target string) error {
	if err := syncFileSystem(s.tree()); err != nil {
		return err
	}
	if _, err := os.Lstat(target); err == nil {
		return &fs.PathError{Op: "publish", Path: target, Err: fs.ErrExist}
	}
	if err := os.Rename(s.tree(), target); err != nil {
		return err
	}
	return syncDir(filepath.Dir(target))
}

// discard removes the stage and what is left in it.
func (s *stage) discard() error {
	return errors.Join(removeStage(s.lock), s.lock.Close())
}

// removeStage removes a stage that is open, and what is in it: roots that boards
// had for their own, too.
func removeStage(stage *os.File) error {
	if err := share.EmptyTrash(stage); err != nil {
		return err
	}
	if err := os.Remove(stage.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeByStage deletes the directory path of parent. At any moment it is
// there as a whole or not at all; what a killed process leaves is in the
// staging directory.
func removeByStage(parent, path string) error {
	s, err := newStage(parent)
	if err != nil {
		return err
	}
	if err := os.Rename(path, s.tree()); err != nil {
		return errors.Join(err, s.discard())
	}
	return errors.Join(syncDir(filepath.Dir(path)), s.discard())
}

// sweepStaging deletes the stages of parent that no process works in.
func sweepStaging(parent string) error {
	staging := filepath.Join(parent, stagingDir)
	entries, err := os.ReadDir(staging)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed []error
	for _, entry := range entries {
		failed = append(failed, sweepStage(filepath.Join(staging, entry.Name())))
	}
	return errors.Join(failed...)
}

func sweepStage(dir string) error {
	lock, err := lockDir(dir)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(removeStage(lock), lock.Close())
}

// lockDir locks a directory for this process. The lock goes with the file that
// it returns; one that another process holds is EWOULDBLOCK.
func lockDir(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), file.Close())
	}
	return file, nil
}

// syncFileSystem writes everything on path's file system to disk. For a whole
// tree that is far cheaper than syncing file by file.
func syncFileSystem(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return errors.Join(fmt.Errorf("syncing the file system of %s: %w", path, err), file.Close())
	}
	return file.Close()
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
