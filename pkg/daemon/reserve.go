package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pibootd/internal/durable"
	"pibootd/pkg/share"
)

// reserveName is a file in the state directory that has room for a start when the disk is full.
// The database needs some then, even to be read, and boards that run need a daemon that serves
// their roots.
const reserveName = "reserve"

const reserveBytes = 4 << 20

// fullError reports that a start failed because the disk is full.
func fullError(dir string, err error) error {
	return hintedError{fmt.Errorf("the disk of the state directory %s is full: %w", dir, err), fmt.Sprintf("free %d MB of it: boards that run go on where they were once pibootd serves", 2*reserveBytes>>20)}
}

// openReserve makes the reserve, or gives it up if the disk is full. Making it again is for a start
// that finds room.
func openReserve(dir string) (full bool, err error) {
	file := filepath.Join(dir, reserveName)
	free, err := share.FreeBytes(dir)
	if err != nil {
		return false, fmt.Errorf("state directory: %w", err)
	}
	if free < reserveBytes {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true, fmt.Errorf("state directory: %w", err)
		}
		return true, nil
	}
	if info, err := os.Stat(file); err == nil && info.Size() == reserveBytes {
		return false, nil
	}
	content := make([]byte, reserveBytes) // some file systems compress, or leave out zeros
	_, _ = rand.Read(content)             // never fails
	if err := durable.WriteFile(file, content, 0o600); err != nil {
		return false, fmt.Errorf("state directory: %w", err)
	}
	return false, nil
}
