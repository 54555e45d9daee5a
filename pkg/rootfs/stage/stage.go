// Package stage makes directories beside the place that they are for, so that a
// rename puts them there complete, and watches the free space meanwhile.
package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pibootd/internal/durable"
	"pibootd/pkg/share"
)

// StagingDir is the name of the directory that holds entries of its parent while they
// are made or deleted.
const StagingDir = ".staging"

// stageTries is how often New tries again after a sweep has removed the directory
// before it was locked.
const stageTries = 1000

// A Dir is a private directory on the same file system as the place that its content
// is for. The process that made it holds its lock, so that Sweep can recognize
// what a killed process left.
type Dir struct {
	parent string
	Path   string
	Lock   *os.File
}

// New creates a Dir for an entry of parent. It creates parent, mode 0700, if it does
// not exist.
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
		// A sweep removed it before it was locked.
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

// Tree returns the path that Publish renames. The caller creates it.
func (s *Dir) Tree() string { return filepath.Join(s.Path, "tree") }

// Publish syncs the tree and renames it to target. If target exists, the error
// matches fs.ErrExist, and the tree can be published elsewhere.
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
	return durable.SyncDir(filepath.Dir(target))
}

// Discard deletes the directory and everything that is left in it.
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

// Remove deletes the directory path below parent. It first renames it into the
// staging directory, so that it is never there in part.
func Remove(parent, path string) error {
	s, err := New(parent)
	if err != nil {
		return err
	}
	if err := os.Rename(path, s.Tree()); err != nil {
		return errors.Join(err, s.Discard())
	}
	return errors.Join(durable.SyncDir(filepath.Dir(path)), s.Discard())
}

// Sweep deletes what killed processes left in the staging directory of parent.
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

// Lock locks a directory until the returned file is closed. The error matches
// unix.EWOULDBLOCK if another process holds the lock.
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

// SyncFS syncs the file system of path. For a whole tree that is far cheaper than
// syncing each file.
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
