package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/pi"
)

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

// A clone is the root of a board in the making.
type clone struct {
	roots  *Roots
	src    Template
	serial pi.Serial
	id     Identity
	target string // where the root is to be
	worker []byte // the binary
}

// Clone makes the root of a board: a copy of src with an identity of its own
// and the worker installed. When it returns nil the root is on disk. src must
// come from Templates. A board that has a root already is refused with an error
// that matches fs.ErrExist.
func (r *Roots) Clone(ctx context.Context, src Template, serial pi.Serial, id Identity, p Progress) (Report, error) {
	return r.cloneTo(ctx, r.Path(serial), src, serial, id, p)
}

// cloneTo is Clone into the directory target.
func (r *Roots) cloneTo(ctx context.Context, target string, src Template, serial pi.Serial, id Identity, p Progress) (Report, error) {
	c := &clone{roots: r, src: src, serial: serial, id: id, target: target}
	report, err := c.run(ctx, p)
	if err != nil {
		return Report{}, fmt.Errorf("rootfs: cloning %s for %s: %w", src, serial, err)
	}
	r.log().Info("root cloned", "serial", serial, "template", src.String(), "how", report.How, "took", report.Took)
	return report, nil
}

// run checks everything that can be checked before the first file is copied.
func (c *clone) run(ctx context.Context, p Progress) (Report, error) {
	if err := errors.Join(needRoot("cloning a root"), c.id.check()); err != nil {
		return Report{}, err
	}
	if c.src.tree == "" {
		return Report{}, errors.New("the template does not say where it is; want one from Templates.Find")
	}
	if _, err := os.Lstat(c.target); err == nil {
		return Report{}, fmt.Errorf("%s: %w; remove the board or keep its root first", c.target, fs.ErrExist)
	}
	var err error
	if c.worker, err = c.roots.workerFor(c.src.Arch); err != nil {
		return Report{}, err
	}
	s, err := newStage(c.roots.Dir)
	if err != nil {
		return Report{}, err
	}
	report, err := c.make(ctx, s, p)
	return report, errors.Join(err, s.discard())
}

func (c *clone) make(ctx context.Context, s *stage, p Progress) (Report, error) {
	began := time.Now()
	if err := c.checkSpace(s); err != nil {
		return Report{}, err
	}
	if err := os.Mkdir(s.tree(), 0o755); err != nil {
		return Report{}, err
	}
	// The keys take as long as a reflink clone, so they are made beside it.
	var keys []hostKey
	making, keyCtx := errgroup.WithContext(ctx)
	making.Go(func() (err error) { keys, err = makeHostKeys(keyCtx, c.id.Hostname); return err })

	files := &treeCopy{}
	files.tick = func() { p.report("copy", files.bytes, max(files.bytes, c.src.SizeBytes)) }
	copied := files.copy(ctx, c.src.tree, s.tree())
	if err := errors.Join(copied, making.Wait()); err != nil {
		return Report{}, err
	}
	p.report("identity", 0, 0)
	machineID, err := c.identify(s.tree(), keys)
	if err != nil {
		return Report{}, fmt.Errorf("writing the identity: %w", err)
	}
	p.report("write to disk", 0, 0)
	if err := s.publish(c.target); err != nil {
		return Report{}, err
	}
	report := Report{How: HowReflink, Files: files.files, Bytes: files.bytes, MachineID: machineID}
	if files.noReflink.Load() {
		report.How = HowCopy
	}
	report.Took = time.Since(began)
	return report, nil
}

// checkSpace refuses a clone that would fill the disk under the boards that
// write there. Where the clone shares the template's blocks it needs next to none.
func (c *clone) checkSpace(s *stage) error {
	need := c.src.SizeBytes
	shares, err := sharesBlocks(filepath.Join(filepath.Dir(c.src.tree), templateFile), s.dir)
	if err != nil {
		return err
	}
	if shares {
		need = 0
	}
	return checkSpace(s.dir, c.roots.MinFree, need)
}

// sharesBlocks reports whether a copy of file in the directory dir can share its
// blocks.
func sharesBlocks(file, dir string) (bool, error) {
	from, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer from.Close()
	to, err := os.CreateTemp(dir, "reflink")
	if err != nil {
		return false, err
	}
	err = reflink(to, from)
	no := errors.Is(err, errNoReflink)
	if no {
		err = nil
	}
	return !no, errors.Join(err, to.Close(), os.Remove(to.Name()))
}
