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

	"pibootd/pkg/rootfs/adapt"
	"pibootd/pkg/rootfs/archive"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/sshkeys"
	"pibootd/pkg/rootfs/stage"
)

// ImportOptions are the optional settings of an import. The zero value is a good default.
type ImportOptions struct {
	AuthorizedKeys string // lines for the first user's authorized_keys (sshd(8)); "" adds none
	KeepPassword   bool   // keep passwords instead of locking them
	AllowMismatch  bool   // accept a kernel without its modules, and incomplete firmware
	FromBoard      bool   // source is a board's root: remove the board's identity, and skip what is mounted in the root
}

// Import makes the next version of the template called name from source: a directory, a tar
// archive or a disk image that holds a root file system. Archives and images may be compressed
// (gzip, xz, zstd, zip). Import keeps owners, modes, times, links, device nodes and extended
// attributes, and returns what it had to change. It does not modify source.
func (t *Templates) Import(ctx context.Context, name, source string, o ImportOptions, p Progress) (Template, []filetree.Change, error) {
	if err := errors.Join(CheckName(name), needRoot("importing a template"), sshkeys.CheckAuthorized(o.AuthorizedKeys)); err != nil {
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
	made, changes, err := t.finalize(ctx, s, name, o, p)
	return made, slices.Concat(found, changes), err
}

// finalize turns the stage's tree into a template that works on NFS: it checks that the boot files
// fit each other, adapts the root, and publishes it.
func (t *Templates) finalize(ctx context.Context, s *stage.Dir, name string, o ImportOptions, p Progress) (Template, []filetree.Change, error) {
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
	found, err := unpackRamdisk(ctx, root, system.BootDir)
	if err != nil {
		return Template{}, nil, err
	}
	boot := bootcheck.New(root, system.BootDir)
	boot.Check()
	for _, m := range boot.Found {
		found = append(found, filetree.Change(m))
	}
	if len(boot.Found) > 0 && !o.AllowMismatch {
		return Template{}, nil, bootcheck.MismatchError(boot.Found)
	}
	changes, err := adapt.Root(root, system.BootDir, adapt.Options{AuthorizedKeys: o.AuthorizedKeys, KeepPassword: o.KeepPassword, FromBoard: o.FromBoard})
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

// finish measures and hashes the stage's tree and publishes it.
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

// load fills the stage's tree from source. The changes list what it could not copy as it was.
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

// loadDir copies a directory, but not the templates themselves, because source may be the root
// of the NAS.
func (t *Templates) loadDir(ctx context.Context, source, tree string, within bool, p Progress) error {
	if holds, err := holdsRoot(source); err != nil || !holds {
		return cmp.Or(err, bootcheck.ErrNotRoot) // fail before copying much
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

// loadArchive unpacks the tar archive from, which it reads through limited.
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

// holdsRoot reports whether a directory, or the only directory in it, is a root.
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

// unwrap replaces tree by its only directory if that one holds the root, because many archives
// contain the root's directory itself.
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

// moveUp moves the content of a directory of tree, and its owner and other attributes, to tree
// itself. One of the moved entries may have the directory's own name.
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
