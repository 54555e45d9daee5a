package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/stage"
)

// A Difference is what makes a board's root out of its template, together with the files that
// Pack writes.
type Difference struct {
	Whole   bool     `json:"whole,omitzero"`   // the files are all of the root, because its template has no manifest
	Removed []string `json:"removed,omitzero"` // names that the root lacks, or has as files of another type
}

// Difference compares a board's root with the template that it was cloned from. The board may
// be running. keep reports which files Pack has to write.
func (r *Roots) Difference(ctx context.Context, serial pi.Serial, from Template, p Progress) (d Difference, keep func(name string) bool, err error) {
	made, err := r.Templates.manifest(from)
	if errors.Is(err, ErrNoManifest) {
		return Difference{Whole: true}, nil, nil
	}
	if err != nil {
		return Difference{}, nil, err
	}
	tree, done, err := r.tree(r.Path(serial))
	if err != nil {
		return Difference{}, nil, fmt.Errorf("rootfs: the root of %s: %w", serial, err)
	}
	is, err := filetree.Scan(ctx, tree, func(files int) { p.Report("compare", int64(files), int64(len(made))) })
	if err := errors.Join(err, done()); err != nil {
		return Difference{}, nil, fmt.Errorf("rootfs: comparing the root of %s with %s: %w", serial, from, err)
	}
	for _, change := range filetree.Compare(made, is) {
		if now, ok := is[change.File]; !ok || change.What != filetree.Added && kindOf(now) != kindOf(made[change.File]) {
			d.Removed = append(d.Removed, change.File)
		}
	}
	return d, func(name string) bool { return is[name] != made[name] }, nil
}

// kindOf returns the type of file in a line of a manifest, as octal digits of st_mode.
func kindOf(line string) string {
	mode, _, _ := strings.Cut(line, " ")
	return mode[:max(0, len(mode)-4)]
}

// Pack writes the files of a board's root that to keeps.
func (r *Roots) Pack(ctx context.Context, serial pi.Serial, to *filetree.Packer) error {
	tree, done, err := r.tree(r.Path(serial))
	if err == nil {
		err = errors.Join(to.Pack(ctx, tree), done())
	}
	if err != nil {
		return fmt.Errorf("rootfs: packing the root of %s: %w", serial, err)
	}
	return nil
}

// Rebuild makes the root of a board out of its template, by one of the clone methods, and what
// Pack has written. It returns the method by which it was made. If the board already has a
// root, the error matches fs.ErrExist.
func (r *Roots) Rebuild(ctx context.Context, src Template, method CloneMethod, serial pi.Serial, d Difference, files io.Reader, p Progress) (CloneMethod, error) {
	c := clone{roots: r, src: src, method: method, serial: serial, target: r.Path(serial)}
	s, err := stage.New(r.Dir)
	if err == nil {
		method, err = c.rebuild(ctx, s, d, files, p)
		err = errors.Join(err, s.Discard())
	}
	if err == nil {
		err = r.Mount(serial)
	}
	if err != nil {
		return "", fmt.Errorf("rootfs: making the root of %s again: %w", serial, err)
	}
	return method, nil
}

func (c *clone) rebuild(ctx context.Context, s *stage.Dir, d Difference, files io.Reader, p Progress) (CloneMethod, error) {
	if err := needRoot("making a root"); err != nil {
		return "", err
	}
	made := stagedRoot{tree: s.Tree(), method: Copy}
	var err error
	if d.Whole {
		err = os.Mkdir(made.tree, 0o755)
	} else {
		made, err = c.materialize(ctx, s, p)
	}
	if err == nil {
		err = d.apply(ctx, made.tree, files)
	}
	if err := errors.Join(err, made.close()); err != nil {
		return "", err
	}
	return made.method, s.Publish(c.target)
}

// apply turns the files of a template into those of the root.
func (d Difference) apply(ctx context.Context, tree string, files io.Reader) error {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range d.Removed {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	x := &filetree.Extractor{Root: root}
	return x.Extract(ctx, files)
}

// PackAll writes every file of a template, what describes it included.
func (t *Templates) PackAll(ctx context.Context, of Template, to *tar.Writer, prefix string, p Progress) error {
	var bytes int64
	packer := &filetree.Packer{To: to, Prefix: prefix, Tick: func(packed int64) {
		bytes += packed
		p.Report("packing "+of.String(), bytes, max(bytes, of.SizeBytes))
	}}
	if err := packer.Pack(ctx, strings.TrimSuffix(t.Root(of), "/"+treeDir)); err != nil {
		return fmt.Errorf("rootfs: packing template %s: %w", of, err)
	}
	return nil
}
