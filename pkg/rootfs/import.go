package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/archive"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/sshkeys"
	"pibootd/pkg/rootfs/stage"
)

// ImportOptions say what an import does beyond what it must. The zero value is
// good for most.
type ImportOptions struct {
	AuthorizedKeys string // lines for the first user's authorized_keys (sshd(8)); "" adds none
	KeepPassword   bool   // leave passwords as they are, rather than to lock them
	AllowMismatch  bool   // import also what has a kernel without its modules, or firmware without a part
	FromBoard      bool   // source is the directory of a board's root: what makes it that board is removed, what is mounted in it left out
}

// Import makes the next version of the template called name from source: a
// directory, a tar archive or a disk image that holds a root file system, the
// last two plain or compressed (gzip, xz, zstd, zip). It keeps owners, modes, times, links, device nodes and extended
// attributes, and returns what it had to change. source stays as it is.
func (t *Templates) Import(ctx context.Context, name, source string, o ImportOptions, p Progress) (Template, []filetree.Change, error) {
	if err := errors.Join(checkName(name), needRoot("importing a template"), sshkeys.CheckAuthorized(o.AuthorizedKeys)); err != nil {
		return Template{}, nil, err
	}
	s, err := t.newStage()
	if err != nil {
		return Template{}, nil, fmt.Errorf("rootfs: importing %s: %w", source, err)
	}
	made, changes, err := t.importTo(ctx, s, name, source, o, p)
	if err = errors.Join(err, s.Discard()); err != nil {
		return Template{}, nil, fmt.Errorf("rootfs: importing %s: %w", source, err)
	}
	return made, changes, nil
}

func (t *Templates) importTo(ctx context.Context, s *stage.Dir, name, source string, o ImportOptions, p Progress) (Template, []filetree.Change, error) {
	tree := filepath.Join(s.Tree(), treeDir)
	if err := filetree.Make(tree); err != nil {
		return Template{}, nil, err
	}
	found, err := t.load(ctx, s, source, o, p)
	if err != nil {
		return Template{}, nil, err
	}
	if err := unwrap(tree); err != nil {
		return Template{}, nil, err
	}
	made, changes, err := t.settle(ctx, s, name, o, p)
	return made, slices.Concat(found, changes), err
}

// settle makes what lies in the stage a template that can live on NFS: it proves
// that its boot files fit, changes what must be changed, and publishes it.
func (t *Templates) settle(ctx context.Context, s *stage.Dir, name string, o ImportOptions, p Progress) (Template, []filetree.Change, error) {
	tree := filepath.Join(s.Tree(), treeDir)
	root, err := os.OpenRoot(tree)
	if err != nil {
		return Template{}, nil, err
	}
	defer root.Close()
	system, err := bootcheck.Inspect(root)
	if err != nil {
		return Template{}, nil, err
	}
	boot := bootcheck.New(root, system.BootDir)
	boot.Check()
	var found []filetree.Change
	for _, m := range boot.Found {
		found = append(found, filetree.Change(m))
	}
	if len(boot.Found) > 0 && !o.AllowMismatch {
		return Template{}, nil, bootcheck.MismatchError(boot.Found)
	}
	changes, err := adapt(root, system.BootDir, o)
	if err != nil {
		return Template{}, nil, err
	}
	unsupported, err := filetree.UnsupportedXattrs(ctx, tree)
	if err != nil {
		return Template{}, nil, err
	}
	made, err := t.finish(ctx, s, newTemplate(name, system, boot.Supported()), p)
	return made, slices.Concat(found, changes, unsupported), err
}

// finish measures and hashes what lies in the stage and publishes it.
func (t *Templates) finish(ctx context.Context, s *stage.Dir, made Template, p Progress) (Template, error) {
	var err error
	made.Files, made.SizeBytes, err = filetree.Measure(ctx, filepath.Join(s.Tree(), treeDir))
	if err != nil {
		return Template{}, err
	}
	all, err := filetree.Scan(ctx, filepath.Join(s.Tree(), treeDir), func(files int) { p.Report("hash", int64(files), int64(made.Files)+1) })
	if err != nil {
		return Template{}, err
	}
	if err := filetree.WriteManifest(filepath.Join(s.Tree(), manifestFile), all); err != nil {
		return Template{}, err
	}
	made.Created = time.Now().UTC().Truncate(time.Second)
	p.Report("write to disk", 0, 0)
	return t.publish(s, made)
}

// load fills the stage's tree from source. The changes are what could not be
// taken as it was.
func (t *Templates) load(ctx context.Context, s *stage.Dir, source string, o ImportOptions, p Progress) ([]filetree.Change, error) {
	tree := filepath.Join(s.Tree(), treeDir)
	info, err := os.Stat(source)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, t.loadDir(ctx, source, tree, o.FromBoard, p)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is a %v; want a directory, or %s", info.Mode().Type(), archive.Formats)
	}
	from, err := archive.Open(ctx, source)
	if err != nil {
		return nil, err
	}
	var found []filetree.Change
	limited := &stage.SpaceReader{From: from, Dir: s.Path, Floor: t.MinFree}
	if from.IsImage {
		found, err = loadImage(ctx, from, limited, s, p)
	} else {
		err = loadArchive(ctx, from, limited, tree, p)
	}
	return found, errors.Join(err, from.Close())
}

// loadDir copies a directory, without the templates themselves: the root of
// the NAS may be imported, too.
func (t *Templates) loadDir(ctx context.Context, source, tree string, within bool, p Progress) error {
	if holds, err := holdsRoot(source); err != nil || !holds {
		return cmp.Or(err, bootcheck.ErrNotRoot) // before much is copied
	}
	var own unix.Stat_t
	if err := unix.Stat(t.Dir, &own); err != nil {
		return fmt.Errorf("%s: %w", t.Dir, err)
	}
	room := &stage.SpaceWatch{Dir: tree, Floor: t.MinFree}
	c := &filetree.Copier{SkipMounts: within, OnCopied: room.Copied, Skip: func(stat *unix.Stat_t) bool { return stat.Dev == own.Dev && stat.Ino == own.Ino }}
	c.Tick = func() { p.Report("copy", c.Bytes, 0) }
	return c.Copy(ctx, source, tree)
}

// loadArchive unpacks what is read from limited, the tar archive from.
func loadArchive(ctx context.Context, from *archive.Source, limited io.Reader, tree string, p Progress) error {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	x := &filetree.Extractor{Root: root, Tick: func() { p.Report("unpack", from.Consumed.Load(), from.Size) }}
	if err := x.Extract(ctx, limited); err != nil {
		return err
	}
	return from.Drain()
}

// holdsRoot reports whether a directory, or the only one in it, is that of a root.
func holdsRoot(dir string) (bool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	if bootcheck.IsRoot(root) {
		return true, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || !entries[0].IsDir() {
		return false, err
	}
	inner, err := root.OpenRoot(entries[0].Name())
	if err != nil {
		return false, err
	}
	defer inner.Close()
	return bootcheck.IsRoot(inner), nil
}

// unwrap makes the only directory of tree the tree, if it holds the root:
// archives are often made from outside.
func unwrap(tree string) error {
	entries, err := os.ReadDir(tree)
	if err != nil || len(entries) != 1 || !entries[0].IsDir() {
		return err
	}
	inner := filepath.Join(tree, entries[0].Name())
	root, err := os.OpenRoot(inner)
	if err != nil {
		return err
	}
	wrapped := bootcheck.IsRoot(root)
	if err := root.Close(); err != nil || !wrapped {
		return err
	}
	return moveUp(tree, entries[0].Name())
}

// moveUp puts the content of a directory of tree, and its owner and the like, in
// the place of tree's. The name may also be that of one of its entries.
func moveUp(tree, name string) error {
	inner := filepath.Join(tree, ".wrapped")
	if err := os.Rename(filepath.Join(tree, name), inner); err != nil {
		return err
	}
	entries, err := os.ReadDir(inner)
	for _, entry := range entries {
		err = errors.Join(err, os.Rename(filepath.Join(inner, entry.Name()), filepath.Join(tree, entry.Name())))
	}
	if err != nil {
		return err
	}
	return errors.Join(filetree.CopyAttributes(inner, tree), os.Remove(inner))
}
