package nfs

import "golang.org/x/sys/unix"

// Properties of FSINFO (RFC 1813 §3.3.19).
const (
	fsLink        = 0x01
	fsSymlink     = 0x02
	fsHomogeneous = 0x08 // PATHCONF is the same for all files
	fsCanSetTime  = 0x10
)

// fsstat is FSSTAT (§3.3.18).
func (c *call) fsstat() error {
	return c.describe(func(o *object, fs unix.Statfs_t) {
		block := uint64(fs.Bsize)
		c.uint64(fs.Blocks * block)
		c.uint64(fs.Bfree * block)
		c.uint64(fs.Bavail * block)
		c.uint64(fs.Files)
		c.uint64(fs.Ffree)
		c.uint64(fs.Ffree) // for the caller: nothing reserves inodes
		c.uint32(0)        // seconds for which nothing changes: none
	})
}

// fsinfo is FSINFO (§3.3.19).
func (c *call) fsinfo() error {
	const multiple = 4096
	return c.describe(func(o *object, fs unix.Statfs_t) {
		for range 2 { // for READ, then for WRITE: largest, preferred, multiple
			c.uint32(maxIO)
			c.uint32(maxIO)
			c.uint32(multiple)
		}
		c.uint32(maxDirReply)
		c.uint64(limitsOf(fs).maxFile)
		c.uint32(0) // times are exact to
		c.uint32(1) // one nanosecond
		c.uint32(fsLink | fsSymlink | fsHomogeneous | fsCanSetTime)
	})
}

// pathconf is PATHCONF (§3.3.20).
func (c *call) pathconf() error {
	return c.describe(func(o *object, fs unix.Statfs_t) {
		c.uint32(limitsOf(fs).maxLinks)
		c.uint32(uint32(fs.Namelen))
		c.bool(true)  // no_trunc: a name that is too long is refused
		c.bool(true)  // chown_restricted
		c.bool(false) // case_insensitive
		c.bool(true)  // case_preserving
	})
}

// describe answers a call about the file system that an object is in.
func (c *call) describe(write func(*object, unix.Statfs_t)) error {
	wire := c.in.handle()
	if c.in.bad {
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
