package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/stage"
)

// Roots are the root file systems of the boards, as <serial>/ below Dir. The
// methods are safe for concurrent use, also by several processes.
type Roots struct {
	Dir       string       // <state>/roots; created with mode 0700 on the first write
	Templates *Templates   // from which the roots are cloned
	Log       *slog.Logger // nil discards

	Machine *os.File // the mount namespace for overlay roots; nil: this process's

	MinFree int64 // bytes of Dir's file system that a clone leaves free; 0 means 512 MB, or 5 % of a small one

	// worker replaces images.Worker in tests, because a test binary embeds no worker.
	worker func(pi.Arch) ([]byte, error)
}

// Path returns the path of a board's root, whether or not the root exists. An overlay root must
// be mounted first, see Mount.
func (r *Roots) Path(serial pi.Serial) string {
	return filepath.Join(r.Dir, serial.String())
}

// Remove deletes the root of a board. It is no error if there is none.
func (r *Roots) Remove(serial pi.Serial) error {
	err := r.unmount(serial)
	if err == nil {
		err = stage.Remove(r.Dir, r.Path(serial))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rootfs: removing the root of %s: %w", serial, err)
	}
	return nil
}

// Sweep cleans up after interrupted operations. It deletes incomplete and partly deleted roots.
// It archives the complete root of an unknown board with Archive, because such a root remains
// not only after an interrupted add, but also after restoring a database from before the board
// was added.
func (r *Roots) Sweep(known func(pi.Serial) bool) error {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := stage.Sweep(r.Dir); err != nil {
		// The deleted roots no longer have their names, so no board has to wait for the rest.
		r.log().Warn("removed roots are not all gone", "err", err)
	}
	failed := []error{err, r.sweepNotes()}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		failed = append(failed, r.sweepRoot(entry.Name(), known))
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("rootfs: sweeping roots: %w", err)
	}
	return nil
}

func (r *Roots) sweepRoot(name string, known func(pi.Serial) bool) error {
	serial, err := pi.ParseSerial(name)
	if err != nil || serial.String() != name {
		r.log().Warn("no root of a board, left alone", "file", filepath.Join(r.Dir, name))
		return nil
	}
	if known(serial) {
		return nil
	}
	kept, err := r.Archive(serial, Origin{Why: "its board was not registered"})
	if err == nil {
		r.log().Warn("root of an unknown board archived", "serial", serial, "file", kept.Name)
	}
	return err
}

func (r *Roots) workerFor(arch pi.Arch) ([]byte, error) {
	if r.worker != nil {
		return r.worker(arch)
	}
	return images.Worker(arch)
}

func (r *Roots) log() *slog.Logger {
	return cmp.Or(r.Log, slog.New(slog.DiscardHandler))
}
