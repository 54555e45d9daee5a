package nfs

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	// maxDirReply bounds the entries of one READDIR or READDIRPLUS result.
	maxDirReply = 64 << 10

	// Offsets in a struct linux_dirent64 (getdents64(2)).
	direntIno    = 0
	direntOff    = 8
	direntReclen = 16
	direntName   = 19
)

// A dirent is an entry as the kernel lists it. The cookie is where the next
// one is found: the file system's own, so that it stays good while the
// directory changes and when the server starts again.
type dirent struct {
	fileID, cookie uint64
	name           string
}

// readdir is READDIR (RFC 1813 §3.3.16).
func (c *call) readdir() error {
	wire, cookie := c.in.handle(), c.in.uint64()
	c.in.uint64() // the cookie verifier: ours is always 0, cookies do not expire
	count := c.in.uint32()
	if c.in.bad {
		return errGarbage
	}
	return c.list(wire, cookie, count, func(dir *object, d dirent, e *encoder) { e.dirent(d) })
}

// readdirplus is READDIRPLUS (§3.3.17). dircount, the part of the result that
// the names may take, is a hint that Linux clients give too low; maxcount is
// what binds.
func (c *call) readdirplus() error {
	wire, cookie := c.in.handle(), c.in.uint64()
	c.in.uint64() // the cookie verifier
	c.in.uint32() // dircount
	maxcount := c.in.uint32()
	if c.in.bad {
		return errGarbage
	}
	return c.list(wire, cookie, maxcount, func(dir *object, d dirent, e *encoder) {
		child := dir.entry(d.name)
		defer child.close()
		if child != nil {
			d.fileID = child.attr.Ino
		}
		e.dirent(d)
		e.openAttr(child)
		e.postHandle(child)
	})
}

// dirent writes what an entry3 and an entryplus3 begin with.
func (e *encoder) dirent(d dirent) {
	e.uint64(d.fileID)
	e.string(d.name)
	e.uint64(d.cookie)
}

// entry opens an entry for a listing; nil if it has gone or the caller may not
// see more of it than its name.
func (o *object) entry(name string) *object {
	child, err := o.lookup(name)
	if err != nil {
		return nil
	}
	return child
}

// list answers a call that lists a directory from cookie on in at most count
// bytes. write writes an entry.
func (c *call) list(wire []byte, cookie uint64, count uint32, write func(*object, dirent, *encoder)) error {
	dir, err := c.open(wire)
	defer dir.close()
	l := listing{limit: int(min(count, maxDirReply)) - listHead, write: write}
	if err == nil {
		err = l.read(dir, int64(cookie))
	}
	ok := c.status(err)
	c.postAttr(dir)
	if ok {
		c.uint64(0) // the cookie verifier
		c.buf = append(c.buf, l.out.buf...)
		c.bool(false) // no further entry
		c.bool(l.eof)
	}
	return nil
}

// listHead is what a listing's result has besides its entries: status,
// attributes, cookie verifier, end of list and end of directory.
const listHead = 4 + attrSize + 8 + 4 + 4

// A listing collects entries.
type listing struct {
	limit int
	write func(*object, dirent, *encoder)
	out   encoder
	eof   bool
}

// read collects entries from cookie on until the limit is reached.
func (l *listing) read(dir *object, cookie int64) error {
	if !dir.is(unix.S_IFDIR) {
		return statusNotDir
	}
	if err := dir.permit(unix.R_OK); err != nil {
		return err
	}
	fd, err := dir.reopen(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Seek(fd, cookie, unix.SEEK_SET); err != nil {
		return statusBadCookie
	}
	buf := make([]byte, smallBuffer)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			l.eof = true
			return nil
		}
		if full, err := l.add(dir, buf[:n]); full || err != nil {
			return err
		}
	}
}

// add writes the entries in buf and reports whether the limit was reached.
func (l *listing) add(dir *object, buf []byte) (full bool, err error) {
	for len(buf) > 0 {
		d, n := parseDirent(buf)
		buf = buf[n:]
		if d.name == ".." && bytes.Equal(dir.wire, dir.tree.handle) {
			d.fileID = dir.attr.Ino // above the root there is only the root
		}
		before := len(l.out.buf)
		l.out.bool(true)
		l.write(dir, d, &l.out)
		if len(l.out.buf) <= l.limit {
			continue
		}
		l.out.buf = l.out.buf[:before]
		if before == 0 {
			return true, statusTooSmall
		}
		return true, nil
	}
	return false, nil
}

// parseDirent reads the first entry of what the kernel wrote to buf, and its
// length.
func parseDirent(buf []byte) (dirent, int) {
	n := int(binary.NativeEndian.Uint16(buf[direntReclen:]))
	name, _, _ := bytes.Cut(buf[direntName:n], []byte{0})
	return dirent{
		fileID: binary.NativeEndian.Uint64(buf[direntIno:]),
		cookie: binary.NativeEndian.Uint64(buf[direntOff:]),
		name:   string(name),
	}, n
}
