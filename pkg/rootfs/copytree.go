package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	copyWorkers = 4
	// copyQueue bounds the files that are open but not yet copied.
	copyQueue = 32
	// copyChunk is how much is copied between two looks at the context.
	copyChunk = 64 << 20
)

// A treeCopy copies a directory tree with everything that belongs to it:
// owners, modes, times, extended attributes, hard links, device nodes, holes.
// Other file systems mounted in the tree are followed if they are kept on a
// disk, as /boot is; /proc and its like become empty directories.
type treeCopy struct {
	skip   func(*unix.Stat_t) bool // entries to leave out; nil leaves out none
	within bool                    // leaves out all that is mounted in the tree
	tick   func()                  // after each entry, by the goroutine that called copy; may be nil

	into  *os.Root
	jobs  chan fileCopy
	links map[inode]string // the copy of each file that has several names

	files     int         // entries made so far
	bytes     int64       // what the files among them hold
	noReflink atomic.Bool // the file system cannot share blocks
}

// An inode identifies a file of the source.
type inode struct{ device, number uint64 }

// A fileCopy is a file whose content is still to be copied. Both files are the
// receiver's to close.
type fileCopy struct {
	name     string
	node     node
	from, to *os.File
	sparse   bool
}

// copy copies the content of the directory from, and its own owner and mode,
// to the directory to, which must be empty.
func (c *treeCopy) copy(ctx context.Context, from, to string) error {
	into, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer into.Close()
	c.into, c.links, c.jobs = into, make(map[inode]string), make(chan fileCopy, copyQueue)

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var workers sync.WaitGroup
	for range copyWorkers {
		workers.Go(func() { c.work(ctx, fail) })
	}
	walked := c.walk(ctx, from)
	close(c.jobs)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return walked
}

func (c *treeCopy) walk(ctx context.Context, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &stat); err != nil {
		return err
	}
	return c.directory(ctx, source, &stat, ".")
}

// directory copies what is in source to the directory called name, which is
// made already, and finishes it.
func (c *treeCopy) directory(ctx context.Context, source *os.File, stat *unix.Stat_t, name string) error {
	target, err := c.into.Open(name)
	if err != nil {
		return err
	}
	defer target.Close()
	entries, err := source.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := c.entry(ctx, source, target, stat.Dev, path.Join(name, entry)); err != nil {
			return err
		}
	}
	self, err := nodeAt(source, ".", stat)
	if err != nil {
		return err
	}
	return self.finish(target, ".")
}

// entry copies one entry of source. device is the one that source is on.
func (c *treeCopy) entry(ctx context.Context, source, target *os.File, device uint64, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	base := path.Base(name)
	var stat unix.Stat_t
	if err := unix.Fstatat(int(source.Fd()), base, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("copying %q: %w", name, err)
	}
	if c.skip != nil && c.skip(&stat) {
		return nil
	}
	n, err := nodeAt(source, base, &stat)
	if err != nil {
		return fmt.Errorf("copying %q: %w", name, err)
	}
	switch n.kind() {
	case unix.S_IFDIR:
		return c.subdirectory(ctx, source, target, device, name)
	case unix.S_IFREG:
		err = c.file(ctx, source, target, &stat, n, name)
	default:
		if err = n.make(target, base); err == nil {
			err = n.finish(target, base)
		}
	}
	if err != nil {
		return fmt.Errorf("copying %q: %w", name, err)
	}
	c.done(n.kind(), stat.Size)
	return nil
}

func (c *treeCopy) done(kind uint32, size int64) {
	c.files++
	if kind == unix.S_IFREG {
		c.bytes += size
	}
	if c.tick != nil {
		c.tick()
	}
}

func (c *treeCopy) subdirectory(ctx context.Context, source, target *os.File, device uint64, name string) error {
	opened, err := openEntry(source, path.Base(name), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("copying %q: %w", name, err)
	}
	defer opened.Close()
	// What is mounted on a directory shows only once it is open.
	var stat unix.Stat_t
	if err := unix.Fstat(int(opened.Fd()), &stat); err != nil {
		return fmt.Errorf("copying %q: %w", name, err)
	}
	if err := unix.Mkdirat(int(target.Fd()), path.Base(name), 0o700); err != nil {
		return fmt.Errorf("copying %q: %w", name, err)
	}
	c.done(unix.S_IFDIR, 0)
	if stat.Dev != device && !onDisk(opened) || c.within && mountedOn(opened) {
		return nil
	}
	return c.directory(ctx, opened, &stat, name)
}

// mountedOn reports whether something is mounted on a directory, also what is
// of the same file system.
func mountedOn(dir *os.File) bool {
	var stat unix.Statx_t
	err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, 0, &stat)
	return err == nil && stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// onDisk reports whether a directory's file system is one that keeps files,
// rather than the kernel's view of something or another machine's.
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

// file makes a regular file and hands its content to a worker; a further name
// of one that was copied before becomes a hard link.
func (c *treeCopy) file(ctx context.Context, source, target *os.File, stat *unix.Stat_t, n node, name string) error {
	base := path.Base(name)
	id := inode{stat.Dev, stat.Ino}
	if first, ok := c.links[id]; ok {
		return c.hardLink(first, target, base)
	}
	if stat.Nlink > 1 {
		c.links[id] = name
	}
	from, err := openEntry(source, base, unix.O_RDONLY)
	if err != nil {
		return err
	}
	to, err := openEntry(target, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	job := fileCopy{name: name, node: n, from: from, to: to, sparse: stat.Blocks*512 < stat.Size}
	select {
	case c.jobs <- job:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), from.Close(), to.Close())
	}
}

func (c *treeCopy) hardLink(first string, target *os.File, base string) error {
	dir, err := c.into.Open(path.Dir(first))
	if err != nil {
		return err
	}
	defer dir.Close()
	return replaceLink(dir, path.Base(first), target, base)
}

// work copies files until there are no more. Once ctx has ended it only closes
// them.
func (c *treeCopy) work(ctx context.Context, fail context.CancelCauseFunc) {
	for job := range c.jobs {
		var err error
		if ctx.Err() == nil {
			err = c.content(ctx, job)
		}
		if err = errors.Join(err, job.from.Close(), job.to.Close()); err != nil {
			fail(fmt.Errorf("copying %q: %w", job.name, err))
		}
	}
}

func (c *treeCopy) content(ctx context.Context, job fileCopy) error {
	err := errNoReflink
	if !c.noReflink.Load() {
		err = reflink(job.to, job.from)
	}
	if errors.Is(err, errNoReflink) {
		c.noReflink.Store(true)
		err = copyContent(ctx, job)
	}
	if err != nil {
		return err
	}
	return job.node.finishFile(job.to)
}

// openEntry opens an entry of an open directory, never through a symbolic link.
func openEntry(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
