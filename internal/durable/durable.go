// Package durable writes files that appear whole and survive a power cut.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces the file called name, or creates it, with mode perm
// whatever the umask is. After an error the old file is still there.
func WriteFile(name string, data []byte, perm fs.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Chmod(perm)); err != nil {
		return errors.Join(err, temp.Close(), os.Remove(temp.Name()))
	}
	return Commit(temp, name)
}

// Commit closes temp, a file that is complete, and renames it to name, which
// must be in the same directory. It returns once file and name are on the disk.
// After an error temp is removed.
func Commit(temp *os.File, name string) error {
	err := errors.Join(temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return SyncDir(filepath.Dir(name))
}

// SyncDir returns once the names in dir are on the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
