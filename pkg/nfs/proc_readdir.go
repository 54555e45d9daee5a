package nfs

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	// maxDirReply is the maximum size of the entries in one READDIR or READDIRPLUS result.
	maxDirReply = 64 << 10

	// Offsets in a struct linux_dirent64 (getdents64(2)).
	direntIno    = 0
	direntOff    = 8
	direntReclen = 16
	direntName   = 19
)

// A dirent is a directory entry as the kernel lists it. The cookie is the position of the next
// entry. It comes from the file system, so it stays valid when the directory changes and when
// the server restarts.
type dirent struct {
	fileID, cookie uint64
	name           string
}

// direntBuffer is the size of the buffer for one getdents64, in bytes.
const direntBuffer = 16 << 10

// cookieVerifier is the verifier of all cookies (RFC 1813 §3.3.16): they do not
// expire.
const cookieVerifier = 0

// A place is where a client goes on in a directory.
type place struct{ cookie, verifier uint64 }

func (d *decoder) place() place { return place{cookie: d.Uint64(), verifier: d.Uint64()} }

// check refuses a cookie of which another server made the verifier.
func (p place) check() error {
	if p.cookie != 0 && p.verifier != cookieVerifier {
		return statusBadCookie
	}
	return nil
}

// readdir implements READDIR (RFC 1813 §3.3.16).
func (c *call) readdir() error {
	wire, from := c.in.handle(), c.in.place()
	count := c.in.Uint32()
	if c.in.Bad {
		return errGarbage
	}
	return c.list(wire, from, listing{limit: count})
}

// readdirplus implements READDIRPLUS (§3.3.17). It ignores dircount, the part of the result that
// the names may use, because it is a hint that Linux clients set too low; only maxcount limits
// the result.
func (c *call) readdirplus() error {
	wire, from := c.in.handle(), c.in.place()
	c.in.Uint32() // dircount
	maxcount := c.in.Uint32()
	if c.in.Bad {
		return errGarbage
	}
	return c.list(wire, from, listing{limit: maxcount, plus: true})
}

// readdirResults returns the maximum size of READDIR's result.
func readdirResults(args decoder) uint32 {
	args.handle()
	args.Take(8 + 8) // cookie and its verifier
	return args.Uint32()
}

// readdirplusResults returns the maximum size of READDIRPLUS's result.
func readdirplusResults(args decoder) uint32 {
	args.handle()
	args.Take(8 + 8 + 4) // cookie, its verifier and dircount
	return args.Uint32()
}

// dirent writes the fields with which both an entry3 and an entryplus3 start.
func (e *encoder) dirent(d dirent) {
	e.Uint64(d.fileID)
	e.String(d.name)
	e.Uint64(d.cookie)
}

// list executes a call that lists a directory.
func (c *call) list(wire []byte, from place, l listing) error {
	dir, err := c.open(wire)
	defer dir.close()
	l.limit = min(l.limit, maxDirReply)
	if err == nil {
		err = from.check()
	}
	if err == nil {
		err = l.run(dir, from.cookie)
	}
	ok := c.status(err)
	c.postAttr(dir)
	if ok {
		c.Uint64(cookieVerifier)
		c.Buf = append(c.Buf, l.out.Buf...)
		c.Bool(false) // no further entry
		c.Bool(l.eof)
	}
	return nil
}

// listHead is the size of a listing's result without its entries: status, attributes, cookie
// verifier, end of list and end of directory.
const listHead = 4 + attrSize + 8 + 4 + 4

// A listing collects entries.
type listing struct {
	limit uint32 // of the result, in bytes
	plus  bool   // with attributes and handles
	out   encoder
	eof   bool

	// page records the entries of a quiescent directory as they are written. It is nil if the
	// directory is not quiescent, or once the attributes or handle of an entry could not be
	// read.
	page *page
}

// run collects entries, starting at cookie, until the result reaches the limit. In a quiescent
// directory it looks entries up by name, which takes half as many system calls as opening each
// entry. With a cached page it needs one call for each entry, or none.
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

// runQuiescent is run for a quiescent directory. The result is valid if the directory has not
// changed by the end.
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

// fill collects the entries of a page, or those of the directory if there is no page.
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

// read collects entries from the directory itself.
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

// writeAll writes the entries in buf and reports whether the result has reached the limit.
func (l *listing) writeAll(dir *object, buf []byte) (full bool, err error) {
	for len(buf) > 0 {
		d, n := parseDirent(buf)
		buf = buf[n:]
		if !dir.shows(d.name) {
			continue
		}
		if d.name == ".." && dir.isRoot() {
			d.fileID = dir.attr.Ino // clients must not see the directory above the root
		}
		if full, err := l.write(dir, entry{dirent: d}); full || err != nil {
			return full, err
		}
	}
	return false, nil
}

// write writes an entry, unless that would exceed the limit.
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

// writePlus writes an entry with attributes and handle, and returns it with what it found. It
// omits attributes and handle if the entry no longer exists, or if the caller may see only its
// name.
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

// look returns attributes and handle of an entry, with the rights of the calling thread.
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

// parseDirent reads the first entry in buf, which the kernel has written, and returns the
// entry's length.
func parseDirent(buf []byte) (dirent, int) {
	n := int(binary.NativeEndian.Uint16(buf[direntReclen:]))
	name, _, _ := bytes.Cut(buf[direntName:n], []byte{0})
	return dirent{
		fileID: binary.NativeEndian.Uint64(buf[direntIno:]),
		cookie: binary.NativeEndian.Uint64(buf[direntOff:]),
		name:   string(name),
	}, n
}
