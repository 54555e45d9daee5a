package nfs

import (
	"bytes"
	"encoding/binary"
	"time"

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
	return c.list(wire, cookie, listing{limit: count})
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
	return c.list(wire, cookie, listing{limit: maxcount, plus: true})
}

// dirent writes what an entry3 and an entryplus3 begin with.
func (e *encoder) dirent(d dirent) {
	e.uint64(d.fileID)
	e.string(d.name)
	e.uint64(d.cookie)
}

// list answers a call that lists a directory from cookie on.
func (c *call) list(wire []byte, cookie uint64, l listing) error {
	dir, err := c.open(wire)
	defer dir.close()
	l.limit = min(l.limit, maxDirReply)
	if err == nil {
		err = l.run(dir, int64(cookie))
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
	limit uint32 // of the result, in bytes
	plus  bool   // with attributes and handles
	out   encoder
	eof   bool

	// byName asks for an entry's handle and attributes by its name, one after
	// the other. That they are of one file shows afterwards.
	byName bool
}

// run collects entries from cookie on until the limit is reached. In a
// directory where nothing moves it asks for them by name, which takes half of
// the system calls that an open file takes.
func (l *listing) run(dir *object, cookie int64) error {
	l.byName = l.plus && dir.settled()
	err := l.read(dir, cookie)
	if l.byName && dir.moved() {
		l.byName, l.eof, l.out.buf = false, false, l.out.buf[:0]
		err = l.read(dir, cookie)
	}
	return err
}

// settleTime is how long ago a directory must have changed last for its next
// change to be sure of another time: the kernel's clock for that ticks every
// 1 to 10 ms.
const settleTime = 50 * time.Millisecond

// settled reports whether the next entry that is made, removed or replaced in
// the directory o will show in its times.
func (o *object) settled() bool {
	changed := time.Unix(o.attr.Ctime.Sec, int64(o.attr.Ctime.Nsec))
	return time.Since(changed) > settleTime
}

// moved reports whether an entry of the directory o, which was settled, may
// have been made, removed or replaced since the call opened it.
func (o *object) moved() bool {
	now, err := o.stat()
	return err != nil || now.Ctime != o.attr.Ctime || now.Mtime != o.attr.Mtime
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
	if l.plus {
		return dir.as(func() error { return l.entries(dir, fd) })
	}
	return l.entries(dir, fd)
}

// entries adds what is still to be read from the directory fd.
func (l *listing) entries(dir *object, fd int) error {
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
		l.write(dir, d)
		if listHead+len(l.out.buf) <= int(l.limit) {
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

// write writes an entry. One that has gone meanwhile, or of which the caller
// may see no more than its name, comes without attributes and handle.
func (l *listing) write(dir *object, d dirent) {
	if !l.plus {
		l.out.dirent(d)
		return
	}
	st, wire, err := l.look(dir, d.name)
	if err == nil {
		d.fileID = st.Ino
	}
	l.out.dirent(d)
	l.out.bool(err == nil)
	if err == nil {
		l.out.attr(&st, dir.tree.export.ID)
	}
	l.out.bool(err == nil)
	if err == nil {
		l.out.opaque(wire)
	}
}

// look returns attributes and handle of an entry with the rights of the calling
// thread.
func (l *listing) look(dir *object, name string) (st unix.Statx_t, wire []byte, err error) {
	if !l.byName {
		child, err := dir.child(name)
		if err != nil {
			return st, nil, err
		}
		defer child.close()
		return child.attr, child.wire, nil
	}
	fh, err := nameToHandle(dir.fd, name, 0)
	if err != nil {
		return st, nil, err
	}
	err = unix.Statx(dir.fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BASIC_STATS, &st)
	if err != nil {
		return st, nil, err
	}
	wire, err = sealHandle(dir.tree.server.handles, dir.tree.export.ID, fh)
	return st, wire, err
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
