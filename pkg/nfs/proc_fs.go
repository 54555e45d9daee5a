package nfs

import "golang.org/x/sys/unix"

// Properties of FSINFO (RFC 1813 §3.3.19).
const (
	fsLink        = 0x01
	fsSymlink     = 0x02
	fsHomogeneous = 0x08 // PATHCONF returns the same for all files
	fsCanSetTime  = 0x10
)

// fsstat implements FSSTAT (§3.3.18).
func (c *call) fsstat() error {
	return c.describe(func(o *object, fs unix.Statfs_t) {
		r := roomOf(fs)
		o.tree.narrow(&r, fs)
		for _, n := range []uint64{r.total, r.free, r.avail, r.files, r.filesFree, r.filesFree} { // nothing reserves inodes, so available equals free
			c.Uint64(n)
		}
		c.Uint32(0) // seconds for which the values are valid: none
	})
}

// A diskSpace holds the sizes that FSSTAT reports for a file system.
type diskSpace struct {
	total, free, avail uint64 // bytes; avail is the part of free for users other than root
	files, filesFree   uint64
}

func roomOf(fs unix.Statfs_t) diskSpace {
	block := uint64(fs.Bsize)
	return diskSpace{total: fs.Blocks * block, free: fs.Bfree * block, avail: fs.Bavail * block, files: fs.Files, filesFree: fs.Ffree}
}

func less(n uint64, by int64) uint64 { return n - min(n, uint64(by)) }

// narrow reduces r to what the limits of the export permit.
func (t *tree) narrow(r *diskSpace, fs unix.Statfs_t) {
	if t.export.MinFree > 0 {
		bytes, files := t.floor.kept(t)
		r.free = less(min(r.free, r.avail), bytes)
		r.filesFree = less(r.filesFree, files)
	}
	if t.limited() {
		used := t.quota.used(t)
		if most := t.export.MaxBytes; most > 0 {
			r.total = min(r.total, uint64(most))
			r.free = min(r.free, uint64(max(0, most-used.bytes)))
		}
		most := t.maxNames()
		r.filesFree = min(r.filesFree, uint64(max(0, most-used.names)))
		if r.files = min(r.files, uint64(most)); fs.Files == 0 { // btrfs does not count files
			r.files, r.filesFree = uint64(most), uint64(max(0, most-used.names))
		}
	}
	r.avail = min(r.avail, r.free)
}

// fsinfo implements FSINFO (§3.3.19).
func (c *call) fsinfo() error {
	const multiple = 4096
	return c.describe(func(o *object, fs unix.Statfs_t) {
		for range 2 { // for READ, then for WRITE: maximum, preferred size, multiple
			c.Uint32(maxIO)
			c.Uint32(maxIO)
			c.Uint32(multiple)
		}
		c.Uint32(maxDirReply)
		c.Uint64(o.tree.limits.maxFile)
		c.Uint32(0) // resolution of times: seconds
		c.Uint32(1) // and nanoseconds
		c.Uint32(fsLink | fsSymlink | fsHomogeneous | fsCanSetTime)
	})
}

// pathconf implements PATHCONF (§3.3.20).
func (c *call) pathconf() error {
	return c.describe(func(o *object, fs unix.Statfs_t) {
		c.Uint32(o.tree.limits.maxLinks)
		c.Uint32(uint32(fs.Namelen))
		c.Bool(true)  // no_trunc: the server rejects a name that is too long
		c.Bool(true)  // chown_restricted
		c.Bool(false) // case_insensitive
		c.Bool(true)  // case_preserving
	})
}

// describe executes a call about the file system of an object.
func (c *call) describe(write func(*object, unix.Statfs_t)) error {
	wire := c.in.handle()
	if c.in.Bad {
		return errGarbage
	}
	o, err := c.open(wire)
	defer o.close()
	var fs unix.Statfs_t
	if err == nil {
		err = unix.Fstatfs(o.fd, &fs)
	}
	ok := c.status(err)
	c.postAttr(o)
	if ok {
		write(o, fs)
	}
	return nil
}
