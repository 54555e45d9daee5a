// Package filetree copies, unpacks, lists and compares file trees with everything
// that belongs to their files: owners, modes, times, extended attributes, hard
// links, device nodes and holes.
package filetree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/confine"
)

const (
	// Workers is how many directories are copied at once.
	Workers    = 4
	copyBuffer = 1 << 20
	// MaxDepth is how many directories in one another a root has at most: each is
	// kept open while those in it are looked at, and real ones have 30.
	MaxDepth = 256
)

// A Copier copies a directory tree. It also copies file systems on a disk that are
// mounted in the tree, such as /boot; others, such as /proc, become empty
// directories.
type Copier struct {
	Skip       func(*unix.Stat_t) bool // reports whether to leave an entry out; nil leaves out none
	SkipMounts bool                    // leave out all that is mounted in the tree
	Tick       func()                  // called after each entry, by one goroutine at a time; may be nil
	OnCopied   CopiedFunc              // called after each part of a file that was copied byte by byte; may be nil

	into    *os.Root
	workers *errgroup.Group

	mu    sync.Mutex // guards what follows, and tick
	links map[inode]*firstName
	Files int   // entries made so far
	Bytes int64 // what the files among them hold

	NoReflink atomic.Bool // do not, or cannot, share blocks
	buffers   sync.Pool   // of *[]byte, copyBuffer long
}

// An inode identifies a file of the source.
type inode struct{ device, number uint64 }

// A firstName is the first copied name of a file with several names.
type firstName struct {
	name string
	made chan struct{} // closed when the copy is complete or has failed
}

// A fileCopy is a file whose content is to be copied.
type fileCopy struct {
	from, to *os.File
	sized    bool // to gets its size before its content, and has holes where from has
	buffer   []byte
	onCopied CopiedFunc
}

// A CopiedFunc is called when length bytes of file, from at, have been copied.
type CopiedFunc func(file *os.File, at, length int64) error

// Copy copies the directory from, including its own owner and mode, to the empty
// directory to.
func (c *Copier) Copy(ctx context.Context, from, to string) error {
	into, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer into.Close()
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	c.into, c.links = into, make(map[inode]*firstName)
	c.workers, ctx = errgroup.WithContext(ctx)
	c.workers.SetLimit(Workers)
	c.workers.Go(func() error { return c.directory(ctx, source, ".") })
	return c.workers.Wait()
}

// directory copies the entries of source to the existing directory name and then
// sets the attributes of that. It closes source. Other workers may still be
// copying subdirectories, which does not affect the attributes.
func (c *Copier) directory(ctx context.Context, source *os.File, name string) error {
	defer source.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &stat); err != nil {
		return err
	}
	target, err := c.into.Open(name)
	if err != nil {
		return err
	}
	defer target.Close()
	entries, err := source.Readdirnames(-1)
	if err != nil {
		return err
	}
	if len(entries) > 0 && strings.Count(name, "/") >= MaxDepth {
		return fmt.Errorf("copying %.100q…: it is below %d other directories; want a tree that is less deep", name, MaxDepth)
	}
	for _, entry := range entries {
		if err := c.entry(ctx, source, target, stat.Dev, path.Join(name, entry)); err != nil {
			return err
		}
	}
	self, err := nodeAt(source, ".", &stat)
	if err != nil {
		return err
	}
	return self.finish(target, ".")
}

// entry copies one entry of source, which is on device.
func (c *Copier) entry(ctx context.Context, source, target *os.File, device uint64, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	base := path.Base(name)
	var stat unix.Stat_t
	err := unix.Fstatat(int(source.Fd()), base, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && c.Skip != nil && c.Skip(&stat) {
		return nil
	}
	var opened *os.File
	if err == nil {
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			opened, err = c.subdirectory(source, target, device, base)
		case unix.S_IFREG:
			err = c.file(ctx, source, target, &stat, name)
		default:
			err = special(source, target, &stat, base)
		}
	}
	if err != nil {
		return fmt.Errorf("copying %q: %w", name, err)
	}
	c.done(&stat)
	if opened == nil {
		return nil
	}
	if c.workers.TryGo(func() error { return c.directory(ctx, opened, name) }) {
		return nil // another worker had nothing to do
	}
	return c.directory(ctx, opened, name)
}

func (c *Copier) done(stat *unix.Stat_t) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Files++
	if stat.Mode&unix.S_IFMT == unix.S_IFREG {
		c.Bytes += stat.Size
	}
	if c.Tick != nil {
		c.Tick()
	}
}

// subdirectory creates a directory and opens its original. It returns nil if the
// directory is to stay empty.
func (c *Copier) subdirectory(source, target *os.File, device uint64, base string) (*os.File, error) {
	opened, err := confine.OpenAt(source, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	// What is mounted on a directory shows only once it is open.
	var stat unix.Stat_t
	err = unix.Fstat(int(opened.Fd()), &stat)
	if err == nil {
		err = unix.Mkdirat(int(target.Fd()), base, 0o700)
	}
	if err != nil || stat.Dev != device && !onDisk(opened) || c.SkipMounts && mountedOn(opened) {
		return nil, errors.Join(err, opened.Close())
	}
	return opened, nil
}

// mountedOn reports whether dir is a mount point, also one of the same file system.
func mountedOn(dir *os.File) bool {
	var stat unix.Statx_t
	err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, 0, &stat)
	return err == nil && stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// onDisk reports whether the file system of dir stores files on a disk, unlike /proc
// or a network file system.
func onDisk(dir *os.File) bool {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &stat); err != nil {
		return false
	}
	switch uint32(stat.Type) { // of 32 or 64 bits, by architecture; magic numbers have 32
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.MSDOS_SUPER_MAGIC:
		return true
	}
	return false
}

// special copies an entry that is neither a directory nor a regular file.
func special(source, target *os.File, stat *unix.Stat_t, base string) error {
	n, err := nodeAt(source, base, stat)
	if err == nil {
		err = n.make(target, base)
	}
	if err != nil {
		return err
	}
	return n.finish(target, base)
}

// file copies a regular file; a further name of one that was copied before
// becomes a hard link.
func (c *Copier) file(ctx context.Context, source, target *os.File, stat *unix.Stat_t, name string) error {
	base := path.Base(name)
	if stat.Nlink == 1 {
		return c.content(ctx, source, target, stat, base)
	}
	c.mu.Lock()
	id := inode{stat.Dev, stat.Ino}
	first := c.links[id]
	if first == nil {
		mine := &firstName{name: name, made: make(chan struct{})}
		c.links[id] = mine
		c.mu.Unlock()
		defer close(mine.made)
		return c.content(ctx, source, target, stat, base)
	}
	c.mu.Unlock()
	<-first.made
	return c.hardLink(first.name, target, base)
}

func (c *Copier) hardLink(first string, target *os.File, base string) error {
	dir, err := c.into.Open(path.Dir(first))
	if err != nil {
		return err
	}
	defer dir.Close()
	return replaceLink(dir, path.Base(first), target, base)
}

// content copies the content and attributes of a regular file.
func (c *Copier) content(ctx context.Context, source, target *os.File, stat *unix.Stat_t, base string) error {
	from, err := confine.OpenRegularAt(source, base)
	if err != nil {
		return err
	}
	defer from.Close()
	n, err := nodeOfFile(from, source, base, stat)
	if err != nil {
		return err
	}
	to, err := confine.OpenAt(target, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, stat.Mode&0o777)
	if err != nil {
		return err
	}
	if stat.Size > 0 {
		// Where space is short the size comes first, too: XFS reserves what it may
		// need behind the end of a file that grows.
		sized := c.OnCopied != nil || stat.Blocks*512 < stat.Size
		err = c.fill(ctx, fileCopy{from: from, to: to, sized: sized})
	}
	if err == nil {
		err = n.finishFile(to, target, base)
	}
	return errors.Join(err, to.Close())
}

// fill gives a new file the content of another, by sharing its blocks if possible.
func (c *Copier) fill(ctx context.Context, job fileCopy) error {
	if !c.NoReflink.Load() {
		err := reflink(job.to, job.from)
		if !errors.Is(err, errNoReflink) {
			return err
		}
		c.NoReflink.Store(true)
	}
	buffer, ok := c.buffers.Get().(*[]byte)
	if !ok {
		made := make([]byte, copyBuffer)
		buffer = &made
	}
	defer c.buffers.Put(buffer)
	job.buffer, job.onCopied = *buffer, c.OnCopied
	return copyContent(ctx, job)
}

// Measure counts the entries of a tree and the bytes that its files take on
// disk, those with several names once.
func Measure(ctx context.Context, tree string) (files int, bytes int64, err error) {
	seen := make(map[inode]bool)
	err = filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || path == tree {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		files++
		if id := (inode{stat.Dev, stat.Ino}); !seen[id] {
			bytes += stat.Blocks * 512
			if stat.Nlink > 1 {
				seen[id] = true
			}
		}
		return nil
	})
	return files, bytes, err
}
