package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/pi"
)

// Roots are the root file systems of the boards, as <serial>/ below Dir. The
// methods are safe for concurrent use, also by several processes.
type Roots struct {
	Dir string       // <state>/roots; made, mode 0700, when first written to
	Log *slog.Logger // nil discards
}

// keptDir holds the roots that were taken out of use but not deleted.
const keptDir = ".kept"

// How a clone was made.
const (
	HowReflink = "reflink" // every file shares its blocks with the template's
	HowCopy    = "copy"
)

// A Report says what a clone took.
type Report struct {
	How       string        `json:"how"` // HowReflink or HowCopy
	Files     int           `json:"files"`
	Bytes     int64         `json:"bytes"` // held by the files, shared or not
	Took      time.Duration `json:"took"`
	MachineID string        `json:"machine_id"`
}

// Path returns where the root of a board is, whether or not there is one.
func (r *Roots) Path(serial pi.Serial) string {
	return filepath.Join(r.Dir, serial.String())
}

// Clone makes the root of a board: a copy of src with an identity of its own
// and the worker installed. When it returns nil the root is on disk. src must
// come from Templates. A board that has a root already is refused with an error
// that matches fs.ErrExist.
func (r *Roots) Clone(ctx context.Context, src Template, serial pi.Serial, id Identity, p Progress) (Report, error) {
	report, err := r.clone(ctx, src, serial, id, p)
	if err != nil {
		return Report{}, fmt.Errorf("rootfs: cloning %s for %s: %w", src, serial, err)
	}
	r.log().Info("root cloned", "serial", serial, "template", src.String(), "how", report.How, "took", report.Took)
	return report, nil
}

func (r *Roots) clone(ctx context.Context, src Template, serial pi.Serial, id Identity, p Progress) (Report, error) {
	if err := errors.Join(needRoot("cloning a root"), id.check()); err != nil {
		return Report{}, err
	}
	if src.tree == "" {
		return Report{}, errors.New("the template does not say where it is; want one from Templates.Find")
	}
	if _, err := os.Lstat(r.Path(serial)); err == nil {
		return Report{}, fmt.Errorf("%s: %w; remove the board or keep its root first", r.Path(serial), fs.ErrExist)
	}
	s, err := newStage(r.Dir)
	if err != nil {
		return Report{}, err
	}
	report, err := r.cloneTo(ctx, s, src, serial, id, p)
	return report, errors.Join(err, s.discard())
}

func (r *Roots) cloneTo(ctx context.Context, s *stage, src Template, serial pi.Serial, id Identity, p Progress) (Report, error) {
	began := time.Now()
	if err := os.Mkdir(s.tree(), 0o755); err != nil {
		return Report{}, err
	}
	// The keys take as long as a reflink clone, so they are made beside it.
	var keys []hostKey
	making, keyCtx := errgroup.WithContext(ctx)
	making.Go(func() (err error) { keys, err = makeHostKeys(keyCtx, id.Hostname); return err })

	c := &treeCopy{}
	c.tick = func() { p.report("copy", c.bytes, max(c.bytes, src.SizeBytes)) }
	copied := c.copy(ctx, src.tree, s.tree())
	if err := errors.Join(copied, making.Wait()); err != nil {
		return Report{}, err
	}
	p.report("identity", 0, 0)
	machineID, err := r.identify(s.tree(), src.Arch, id, keys)
	if err != nil {
		return Report{}, err
	}
	p.report("write to disk", 0, 0)
	if err := s.publish(r.Path(serial)); err != nil {
		return Report{}, err
	}
	report := Report{How: HowCopy, Files: c.files, Bytes: c.bytes, Took: time.Since(began), MachineID: machineID}
	if !c.noReflink.Load() {
		report.How = HowReflink
	}
	return report, nil
}

// Remove deletes the root of a board; a board without one is fine.
func (r *Roots) Remove(serial pi.Serial) error {
	err := removeByStage(r.Dir, r.Path(serial))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rootfs: removing the root of %s: %w", serial, err)
	}
	return nil
}

// Keep takes the root of a board out of use without deleting it, and returns
// where it is now.
func (r *Roots) Keep(serial pi.Serial) (string, error) {
	kept := filepath.Join(r.Dir, keptDir)
	name := fmt.Sprintf("%s-%s", serial, time.Now().UTC().Format("20060102T150405.000000000"))
	target := filepath.Join(kept, name)
	err := os.MkdirAll(kept, 0o700)
	if err == nil {
		err = os.Rename(r.Path(serial), target)
	}
	if err == nil {
		err = errors.Join(syncDir(kept), syncDir(r.Dir))
	}
	if err != nil {
		return "", fmt.Errorf("rootfs: keeping the root of %s: %w", serial, err)
	}
	return target, nil
}

// Sweep tidies up after interrupted operations. Half-made and half-deleted
// roots are deleted. A whole root of a board that is not known is put beside
// with Keep: an interrupted add leaves one, but so does a database that was
// restored from before the board was added.
func (r *Roots) Sweep(known func(pi.Serial) bool) error {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	failed := []error{err, sweepStaging(r.Dir)}
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
	kept, err := r.Keep(serial)
	if err == nil {
		r.log().Warn("root of an unknown board put aside", "serial", serial, "file", kept)
	}
	return err
}

func (r *Roots) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}
