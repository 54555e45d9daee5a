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

// direntBuffer is for what one getdents64 returns, in bytes.
const direntBuffer = 16 << 10

// readdir is READDIR (RFC 1813 §3.3.16).
func (c *call) readdir() error {
	wire, cookie := c.in.handle(), c.in.Uint64()
	c.in.Uint64() // the cookie verifier: ours is always 0, cookies do not expire
	count := c.in.Uint32()
	if c.in.Bad {
		return errGarbage
	}
	return c.list(wire, cookie, listing{limit: count})
}

// readdirplus is READDIRPLUS (§3.3.17). dircount, the part of the result that
// the names may take, is a hint that Linux clients give too low; maxcount is
// what binds.
func (c *call) readdirplus() error {
	wire, cookie := c.in.handle(), c.in.Uint64()
	c.in.Uint64() // the cookie verifier
	c.in.Uint32() // dircount
	maxcount := c.in.Uint32()
	if c.in.Bad {
		return errGarbage
	}
	return c.list(wire, cookie, listing{limit: maxcount, plus: true})
}

// readdirResults is how much READDIR may return.
func readdirResults(args decoder) uint32 {
	args.handle()
	args.Take(8 + 8) // cookie and its verifier
	return args.Uint32()
}

// readdirplusResults is how much READDIRPLUS may return.
func readdirplusResults(args decoder) uint32 {
	args.handle()
	args.Take(8 + 8 + 4) // cookie, its verifier and dircount
	return args.Uint32()
}

// dirent writes what an entry3 and an entryplus3 begin with.
func (e *encoder) dirent(d dirent) {
	e.Uint64(d.fileID)
	e.String(d.name)
	e.Uint64(d.cookie)
}

// list answers a call that lists a directory from cookie on.
func (c *call) list(wire []byte, cookie uint64, l listing) error {
	dir, err := c.open(wire)
	defer dir.close()
	l.limit = min(l.limit, maxDirReply)
	if err == nil {
		err = l.run(dir, cookie)
	}
	ok := c.status(err)
	c.postAttr(dir)
	if ok {
		c.Uint64(0) // the cookie verifier
		c.Buf = append(c.Buf, l.out.Buf...)
		c.Bool(false) // no further entry
		c.Bool(l.eof)
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

	// page records the entries of a quiescent directory as they are written;
	// nil if it is not, or once something of an entry was not to be had.
	page *page
}

// run collects entries from cookie on until the limit is reached. In a
// quiescent directory it asks for them by name, which takes half of the system
// calls that opening each takes; where a page of it was kept, one call each, or
// none.
func (l *listing) run(dir *object, cookie uint64) error {
	if !dir.is(unix.S_IFDIR) {
		return statusNotDir
	}
	if err := dir.permit(unix.R_OK); err != nil {
		return err
	}
	if l.plus && dir.quiescent() {
		err := l.runQuiescent(dir, cookie)
		if !dir.moved() {
			return err
		}
		l.page, l.eof, l.out.Buf = nil, false, nil
	}
	return l.read(dir, int64(cookie))
}

// runQuiescent is run in a quiescent directory. What it collects is right
// if the directory has not moved by then.
func (l *listing) runQuiescent(dir *object, cookie uint64) error {
	pages := &dir.tree.server.pages
	kept := pages.find(dir, cookie)
	if kept != nil && kept.current(dir) && listHead+len(kept.out) <= int(l.limit) && dir.maySearch() {
		l.out.Buf, l.eof = kept.out, kept.eof
		return nil
	}
	l.page = newPage(dir)
	err := l.fill(dir, cookie, kept)
	if l.page != nil && err == nil && !dir.moved() {
		l.page.out, l.page.eof = l.out.Buf, l.eof
		pages.keep(dir, cookie, l.page)
	}
	return err
}

// fill collects the entries of a page, or without one those of the directory.
func (l *listing) fill(dir *object, cookie uint64, kept *page) error {
	if kept == nil {
		return l.read(dir, int64(cookie))
	}
	return dir.as(func() error {
		for _, e := range kept.entries {
			if full, err := l.write(dir, e); full || err != nil {
				return err
			}
		}
		l.eof = kept.eof
		return nil
	})
}

// read collects entries from the directory's file.
func (l *listing) read(dir *object, cookie int64) error {
	fd, err := dir.reopen(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Seek(fd, cookie, unix.SEEK_SET); err != nil {
		return statusBadCookie
	}
	if !l.plus {
		return l.readEntries(dir, fd)
	}
	return dir.as(func() error { return l.readEntries(dir, fd) })
}

func (l *listing) readEntries(dir *object, fd int) error {
	buf := make([]byte, direntBuffer)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			l.eof = true
			return nil
		}
		if full, err := l.writeAll(dir, buf[:n]); full || err != nil {
			return err
		}
	}
}

// writeAll writes the entries in buf and reports whether the limit was reached.
func (l *listing) writeAll(dir *object, buf []byte) (full bool, err error) {
	for len(buf) > 0 {
		d, n := parseDirent(buf)
		buf = buf[n:]
		if !dir.shows(d.name) {
			continue
		}
		if d.name == ".." && dir.isRoot() {
			d.fileID = dir.attr.Ino // above the root there is only the root
		}
		if full, err := l.write(dir, entry{dirent: d}); full || err != nil {
			return full, err
		}
	}
	return false, nil
}

// write writes an entry, unless the limit is reached.
func (l *listing) write(dir *object, e entry) (full bool, err error) {
	before := len(l.out.Buf)
	l.out.Bool(true)
	if l.plus {
		e = l.writePlus(dir, e)
	} else {
		l.out.dirent(e.dirent)
	}
	if listHead+len(l.out.Buf) > int(l.limit) {
		l.out.Buf = l.out.Buf[:before]
		if before == 0 {
			return true, statusTooSmall
		}
		return true, nil
	}
	if l.page != nil {
		l.page.entries = append(l.page.entries, e)
	}
	return false, nil
}

// writePlus writes an entry with attributes and handle, and returns it with
// what was found. One that has gone meanwhile, or of which the caller may see
// no more than its name, comes without.
func (l *listing) writePlus(dir *object, e entry) entry {
	st, wire, err := l.look(dir, e)
	if err != nil {
		l.page = nil
		l.out.dirent(e.dirent)
		l.out.Bool(false)
		l.out.Bool(false)
		return e
	}
	e.fileID, e.wire = st.Ino, wire
	l.out.dirent(e.dirent)
	l.out.Bool(true)
	l.out.attr(&st, dir.tree.export.ID)
	l.out.Bool(true)
	l.out.Opaque(wire)
	return e
}

// look returns attributes and handle of an entry with the rights of the calling
// thread.
func (l *listing) look(dir *object, e entry) (st unix.Statx_t, wire []byte, err error) {
	if e.wire == nil && l.page == nil {
		child, err := dir.child(e.name)
		if err != nil {
			return st, nil, err
		}
		defer child.close()
		return child.attr, child.wire, nil
	}
	err = unix.Statx(dir.fd, e.name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BASIC_STATS, &st)
	if err != nil || e.wire != nil && st.Ino == e.fileID {
		return st, e.wire, err
	}
	fh, err := nameToHandle(dir.fd, e.name, 0)
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
