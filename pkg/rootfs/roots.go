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
	Dir       string       // <state>/roots; made, mode 0700, when first written to
	Templates *Templates   // that the roots are made of
	Log       *slog.Logger // nil discards

	Machine *os.File // the mount namespace that overlay roots are mounted in; nil: this process's

	MinFree int64 // bytes of Dir's file system that a clone leaves free; 0 means 512 MB, or 5 % of a small one

	// worker stands for images.Worker in tests: a test binary embeds none.
	worker func(pi.Arch) ([]byte, error)
}

// Path returns where the root of a board is, whether or not there is one. An
// overlay root is there once it is mounted, see Mount.
func (r *Roots) Path(serial pi.Serial) string {
	return filepath.Join(r.Dir, serial.String())
}

// Remove deletes the root of a board; a board without one is fine.
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

// Sweep tidies up after interrupted operations. Half-made and half-deleted
// roots are deleted. A whole root of a board that is not known is put beside
// with Archive: an interrupted add leaves one, but so does a database that was
// restored from before the board was added.
func (r *Roots) Sweep(known func(pi.Serial) bool) error {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := stage.Sweep(r.Dir); err != nil {
		// What was removed is out of the way: no board has to wait for the rest.
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
		r.log().Warn("root of an unknown board put aside", "serial", serial, "file", kept.Name)
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
