package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/stage"
)

// A Report describes how a clone was made and what it uses.
type Report struct {
	How       CloneMethod   `json:"how"` // not Auto
	Files     int           `json:"files"`
	Bytes     int64         `json:"bytes"` // in the files, shared or not
	Took      time.Duration `json:"took"`
	MachineID string        `json:"machine_id"`
}

// A clone is a board's root while it is being made.
type clone struct {
	roots  *Roots
	src    Template
	method CloneMethod
	serial pi.Serial
	id     Identity
	target string // path of the finished root
	worker []byte // the worker's program
}

// Clone makes the root of a board: a copy of src, by one of the methods, with an identity of its
// own and the worker installed. When it returns nil, the root is on disk. src must come from
// Templates. If the board already has a root, the error matches fs.ErrExist.
func (r *Roots) Clone(ctx context.Context, src Template, method CloneMethod, serial pi.Serial, id Identity, p Progress) (Report, error) {
	report, err := r.clone(ctx, clone{src: src, method: method, serial: serial, id: id, target: r.Path(serial)}, p)
	if err != nil {
		return Report{}, err
	}
	return report, r.Mount(serial)
}

func (r *Roots) clone(ctx context.Context, c clone, p Progress) (Report, error) {
	c.roots = r
	src, serial := c.src, c.serial
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
	s, err := stage.New(c.roots.Dir)
	if err != nil {
		return Report{}, err
	}
	report, err := c.make(ctx, s, p)
	return report, errors.Join(err, s.Discard())
}

func (c *clone) make(ctx context.Context, s *stage.Dir, p Progress) (Report, error) {
	began := time.Now()
	if err := stage.CheckSpace(s.Path, c.roots.MinFree, 0); err != nil {
		return Report{}, err
	}
	made, err := c.materialize(ctx, s, p)
	if err != nil {
		return Report{}, errors.Join(err, made.close())
	}
	p.Report("identity", 0, 0)
	machineID, err := c.identify(made.tree)
	if err := errors.Join(err, made.close()); err != nil {
		return Report{}, fmt.Errorf("writing the identity: %w", err)
	}
	p.Report("write to disk", 0, 0)
	if err := s.Publish(c.target); err != nil {
		return Report{}, err
	}
	return Report{How: made.method, Files: made.files, Bytes: made.bytes, MachineID: machineID, Took: time.Since(began)}, nil
}
