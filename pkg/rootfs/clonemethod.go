package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/stage"
)

// A CloneMethod is how a root is made from a template.
type CloneMethod string

// The clone methods, the best first. Auto is the first that the file system
// supports, Shared the first of those that copy no file of the template.
const (
	Auto     CloneMethod = "auto"
	Shared   CloneMethod = "shared"
	Snapshot CloneMethod = "btrfs"   // a snapshot of the template's subvolume
	Reflink  CloneMethod = "reflink" // every file shares its blocks with the template's
	Overlay  CloneMethod = "overlay" // an overlayfs: what differs from the template lies over it
	Copy     CloneMethod = "copy"
)

var cloneMethods = []CloneMethod{Auto, Shared, Snapshot, Reflink, Overlay, Copy}

// candidates returns the methods that m can stand for, the best first.
func (m CloneMethod) candidates() []CloneMethod {
	switch m {
	case Auto:
		return []CloneMethod{Snapshot, Reflink, Overlay, Copy}
	case Shared:
		return []CloneMethod{Snapshot, Overlay}
	}
	return []CloneMethod{m}
}

// Allows reports whether m permits a root that was made by the method made.
func (m CloneMethod) Allows(made CloneMethod) bool { return slices.Contains(m.candidates(), made) }

// ParseCloneMethod parses the name of a clone method; "" means Auto.
func ParseCloneMethod(text string) (CloneMethod, error) {
	if text == "" {
		return Auto, nil
	}
	if !slices.Contains(cloneMethods, CloneMethod(text)) {
		return "", fmt.Errorf("rootfs: %q is not a clone method; want one of %s", text, strings.Trim(fmt.Sprint(cloneMethods), "[]"))
	}
	return CloneMethod(text), nil
}

// A stagedRoot is the root that a clone makes, before it is published.
type stagedRoot struct {
	tree   string      // where its files can be written
	method CloneMethod // not Auto or Shared
	mount  *os.File    // of an overlay, until it is closed; nil otherwise
	files  int
	bytes  int64
}

func (d stagedRoot) close() error {
	if d.mount == nil {
		return nil
	}
	return d.mount.Close()
}

// materialize makes the files of a root in the stage, by the first method that works.
func (c *clone) materialize(ctx context.Context, s *stage.Dir, p Progress) (stagedRoot, error) {
	var reasons []error
	for _, method := range c.method.candidates() {
		d, err := c.materializeWith(ctx, method, s, p)
		if !errors.Is(err, filetree.ErrUnsupported) {
			return d, err
		}
		reasons = append(reasons, fmt.Errorf("by %s: %w", method, err))
	}
	err := errors.Join(reasons...)
	switch c.method {
	case Auto:
	case Shared:
		err = fmt.Errorf("no clone method works here that shares the template's files; without --shared, the method auto copies them:\n%w", err)
	default:
		err = fmt.Errorf("%w; the method auto chooses one that works", err)
	}
	return stagedRoot{}, err
}

// materializeWith makes the files by one method. If that does not work here, the
// error matches filetree.ErrUnsupported, and the stage is left empty.
func (c *clone) materializeWith(ctx context.Context, method CloneMethod, s *stage.Dir, p Progress) (stagedRoot, error) {
	d := stagedRoot{tree: s.Tree(), method: method, files: c.src.Files, bytes: c.src.SizeBytes}
	var err error
	switch method {
	case Snapshot:
		err = filetree.Snapshot(c.src.tree, d.tree)
	case Reflink:
		if err = filetree.CheckReflink(filepath.Join(filepath.Dir(c.src.tree), templateFile), s.Path); err == nil {
			d.files, d.bytes, err = c.copyTree(ctx, &filetree.Copier{}, d.tree, p)
		}
	case Overlay:
		if d.mount, err = c.overlay(d.tree); err == nil {
			d.tree = confine.FDPath(d.mount)
		}
	case Copy:
		if err = stage.CheckSpace(s.Path, c.roots.MinFree, c.src.SizeBytes); err == nil {
			plain := &filetree.Copier{}
			plain.NoReflink.Store(true)
			d.files, d.bytes, err = c.copyTree(ctx, plain, d.tree, p)
		}
	}
	return d, err
}

// copyTree copies the template's files.
func (c *clone) copyTree(ctx context.Context, tree *filetree.Copier, to string, p Progress) (files int, bytes int64, err error) {
	if err := os.Mkdir(to, 0o755); err != nil {
		return 0, 0, err
	}
	tree.Tick = func() { p.Report("copy", tree.Bytes, max(tree.Bytes, c.src.SizeBytes)) }
	err = tree.Copy(ctx, c.src.tree, to)
	return tree.Files, tree.Bytes, err
}
