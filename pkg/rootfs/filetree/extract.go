package filetree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/confine"
)

// An Extractor unpacks tar archives into a tree. It never leaves the tree: it opens every
// directory through an os.Root, and creates every entry by its name in an open directory, never
// through a symbolic link.
type Extractor struct {
	Root *os.Root
	Keep func(name string) bool // nil keeps every member
	Tick func()                 // after each member; may be nil

	parent     *os.File // the directory of the last member
	parentName string
	dirs       []pendingDir
}

// A pendingDir is a directory whose owner, mode and time are set once all its entries exist.
type pendingDir struct {
	name string
	node node
}

// Extract unpacks an archive. It does not close from.
func (x *Extractor) Extract(ctx context.Context, from io.Reader) error {
	archive := tar.NewReader(from)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return x.Finish()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			x.closeParent()
			return fmt.Errorf("reading the archive: %w", err)
		}
		if err := x.Add(header, archive); err != nil {
			x.closeParent()
			return err
		}
	}
}

// Add unpacks one member. Finish has to follow the last.
func (x *Extractor) Add(header *tar.Header, content io.Reader) error {
	err := x.member(header, content)
	if err == nil && x.Tick != nil {
		x.Tick()
	}
	return err
}

// Finish sets the attributes of all directories.
func (x *Extractor) Finish() error {
	defer x.closeParent()
	return x.finishDirs()
}

func (x *Extractor) member(header *tar.Header, content io.Reader) error {
	name, err := memberName(header.Name)
	if err != nil {
		return err
	}
	if header.Typeflag == tar.TypeXGlobalHeader || x.Keep != nil && !x.Keep(name) {
		return nil
	}
	if header.Typeflag == tar.TypeLink {
		err = x.hardLink(name, header.Linkname)
	} else {
		err = x.entry(name, header, content)
	}
	if err != nil {
		return fmt.Errorf("unpacking %q: %w", name, err)
	}
	return nil
}

// memberName makes a member's name relative to the tree. It rejects a name that contains "..",
// even one that stays inside the tree, because no honest archive has one.
func memberName(name string) (string, error) {
	if slices.Contains(strings.Split(name, "/"), "..") || strings.Contains(name, "\x00") {
		return "", fmt.Errorf("member %q leaves the archive; want names without \"..\"", name)
	}
	return path.Join(".", strings.TrimLeft(name, "/")), nil
}

func (x *Extractor) entry(name string, header *tar.Header, content io.Reader) error {
	n, err := nodeOfTar(header)
	if err != nil {
		return err
	}
	if n.kind() == unix.S_IFDIR {
		return x.directory(name, n)
	}
	if name == "." {
		return errors.New("the top of the archive is not a directory")
	}
	parent, base, err := x.open(name)
	if err != nil {
		return err
	}
	if err := n.make(parent, base); err != nil {
		return err
	}
	if n.kind() == unix.S_IFREG {
		return n.fill(parent, base, content)
	}
	return n.finish(parent, base)
}

func (x *Extractor) directory(name string, n node) error {
	if name != "." && !x.isDirectory(name) {
		parent, base, err := x.open(name)
		if err != nil {
			return err
		}
		if err := n.make(parent, base); err != nil {
			return err
		}
	}
	x.dirs = append(x.dirs, pendingDir{name, n})
	return nil
}

// isDirectory reports whether name is a directory of the tree, or a symbolic
// link to one inside the tree.
func (x *Extractor) isDirectory(name string) bool {
	info, err := x.Root.Stat(name)
	return err == nil && info.IsDir()
}

// hardLink links name to an earlier member.
func (x *Extractor) hardLink(name, to string) error {
	to, err := memberName(to)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	from, err := x.Root.Open(path.Dir(to))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", to, err)
	}
	defer from.Close()
	parent, base, err := x.open(name)
	if err != nil {
		return err
	}
	return replaceLink(from, path.Base(to), parent, base)
}

// replaceLink makes a hard link and replaces any entry that already has the name.
func replaceLink(from *os.File, fromName string, dir *os.File, name string) error {
	link := func() error {
		return unix.Linkat(int(from.Fd()), fromName, int(dir.Fd()), name, 0)
	}
	err := link()
	if errors.Is(err, unix.EEXIST) {
		if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil {
			return fmt.Errorf("replacing %q: %w", name, err)
		}
		err = link()
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", fromName, err)
	}
	return nil
}

// open returns the directory of name and the last element of name. It creates the directory if
// the archive did not. The extractor closes the directory.
func (x *Extractor) open(name string) (*os.File, string, error) {
	dir, base := path.Dir(name), path.Base(name)
	if x.parent != nil && x.parentName == dir {
		return x.parent, base, nil
	}
	opened, err := x.Root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := x.Root.MkdirAll(dir, 0o755); err != nil {
			return nil, "", err
		}
		opened, err = x.Root.Open(dir)
	}
	if err != nil {
		return nil, "", err
	}
	x.closeParent()
	x.parent, x.parentName = opened, dir
	return opened, base, nil
}

func (x *Extractor) closeParent() {
	if x.parent != nil {
		x.parent.Close() // opened for reading: no data can be lost
		x.parent = nil
	}
}

// finishDirs finishes the last directory first, because creating a subdirectory changes the time
// of its parent.
func (x *Extractor) finishDirs() error {
	for _, dir := range slices.Backward(x.dirs) {
		if err := x.finishDir(dir); err != nil {
			return fmt.Errorf("unpacking %q: %w", dir.name, err)
		}
	}
	return nil
}

func (x *Extractor) finishDir(dir pendingDir) error {
	opened, err := x.Root.Open(dir.name)
	if err != nil {
		return err
	}
	defer opened.Close()
	return dir.node.finish(opened, ".")
}

// fill writes and finishes a regular file that make has just created.
func (n node) fill(dir *os.File, name string, content io.Reader) error {
	file, err := confine.OpenAt(dir, name, unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		return errors.Join(err, file.Close())
	}
	return errors.Join(n.finishFile(file, dir, name), file.Close())
}
