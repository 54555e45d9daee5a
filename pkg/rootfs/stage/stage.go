package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pibootd/pkg/share"
)

// StagingDir is where a directory's entries are made before they are renamed
// into place, and where they go to be deleted.
const StagingDir = ".staging"

// stageTries is how often a stage is made anew that a sweep mistook for a dead one.
const stageTries = 1000

// A Dir is a private directory on the same file system as the place its
// content is for. It is locked while its maker lives, so that a sweep can tell
// what is being made from what a killed process has left.
type Dir struct {
	parent string
	Path   string
	Lock   *os.File
}

// New makes a stage for entries of parent, which it makes too, mode 0700.
func New(parent string) (*Dir, error) {
	staging := filepath.Join(parent, StagingDir)
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

func lockedStage(parent, staging string) (*Dir, error) {
	dir, err := os.MkdirTemp(staging, "")
	if err != nil {
		return nil, err
	}
	lock, err := Lock(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if _, err := os.Lstat(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Dir{parent: parent, Path: dir, Lock: lock}, nil
}

// Tree is the directory that publish puts into place; whoever fills it makes it.
func (s *Dir) Tree() string { return filepath.Join(s.Path, "tree") }

// Publish writes the tree to disk and renames it to target, which must not
// exist; the error then matches fs.ErrExist and the stage can be published
// elsewhere.
func (s *Dir) Publish(target string) error {
	if err := SyncFS(s.Tree()); err != nil {
		return err
	}
	if _, err := os.Lstat(target); err == nil {
		return &fs.PathError{Op: "publish", Path: target, Err: fs.ErrExist}
	}
	if err := os.Rename(s.Tree(), target); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(target))
}

// Discard removes the stage and what is left in it.
func (s *Dir) Discard() error {
	return errors.Join(removeStage(s.Lock), s.Lock.Close())
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

// Remove deletes the directory path of parent. At any moment it is
// there as a whole or not at all; what a killed process leaves is in the
// staging directory.
func Remove(parent, path string) error {
	s, err := New(parent)
	if err != nil {
		return err
	}
	if err := os.Rename(path, s.Tree()); err != nil {
		return errors.Join(err, s.Discard())
	}
	return errors.Join(SyncDir(filepath.Dir(path)), s.Discard())
}

// Sweep deletes the stages of parent that no process works in.
func Sweep(parent string) error {
	staging := filepath.Join(parent, StagingDir)
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
	lock, err := Lock(dir)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(removeStage(lock), lock.Close())
}

// Lock locks a directory for this process. The lock goes with the file that
// it returns; one that another process holds is EWOULDBLOCK.
func Lock(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), file.Close())
	}
	return file, nil
}

// SyncFS writes everything on path's file system to disk. For a whole
// tree that is far cheaper than syncing file by file.
func SyncFS(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return errors.Join(fmt.Errorf("syncing the file system of %s: %w", path, err), file.Close())
	}
	return file.Close()
}

func SyncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
