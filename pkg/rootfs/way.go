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

// A Way is how a root is made of a template.
type Way string

// The ways, the best first. Auto takes the first that the file system can do,
// Shared the first of those by which no file of the template is copied.
const (
	Auto     Way = "auto"
	Shared   Way = "shared"
	Snapshot Way = "btrfs"   // a snapshot of the template's subvolume
	Reflink  Way = "reflink" // every file shares its blocks with the template's
	Overlay  Way = "overlay" // what differs from the template lies over it
	Copy     Way = "copy"
)

var ways = []Way{Auto, Shared, Snapshot, Reflink, Overlay, Copy}

// among returns the ways that w leaves the choice of, the best first.
func (w Way) among() []Way {
	switch w {
	case Auto:
		return []Way{Snapshot, Reflink, Overlay, Copy}
	case Shared:
		return []Way{Snapshot, Overlay}
	}
	return []Way{w}
}

// Allows reports whether a root that came to be by made is one that w asks for.
func (w Way) Allows(made Way) bool { return slices.Contains(w.among(), made) }

// ParseWay reads the name of a way, "" being Auto.
func ParseWay(text string) (Way, error) {
	if text == "" {
		return Auto, nil
	}
	if !slices.Contains(ways, Way(text)) {
		return "", fmt.Errorf("rootfs: no roots are cloned by %q; want one of %s", text, strings.Trim(fmt.Sprint(ways), "[]"))
	}
	return Way(text), nil
}

// A draft is a root in the making.
type draft struct {
	tree  string   // where its files can be written
	way   Way      // how it came to be
	mount *os.File // of an overlay, as long as it is open; nil otherwise
	files int
	bytes int64
}

func (d draft) close() error {
	if d.mount == nil {
		return nil
	}
	return d.mount.Close()
}

// draw makes the files of a root in the stage.
func (c *clone) draw(ctx context.Context, s *stage.Dir, p Progress) (draft, error) {
	var reasons []error
	for _, way := range c.way.among() {
		d, err := c.drawBy(ctx, way, s, p)
		if !errors.Is(err, filetree.ErrUnsupported) {
			return d, err
		}
		reasons = append(reasons, fmt.Errorf("by %s: %w", way, err))
	}
	err := errors.Join(reasons...)
	switch c.way {
	case Auto:
	case Shared:
		err = fmt.Errorf("a root that shares its template's files cannot be had here; the way auto, without --shared, makes one of its own:\n%w", err)
	default:
		err = fmt.Errorf("%w; the way auto finds one that can be done", err)
	}
	return draft{}, err
}

// drawBy leaves nothing in the stage where its error matches filetree.ErrUnsupported.
func (c *clone) drawBy(ctx context.Context, way Way, s *stage.Dir, p Progress) (draft, error) {
	d := draft{tree: s.Tree(), way: way, files: c.src.Files, bytes: c.src.SizeBytes}
	var err error
	switch way {
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
