package nfs

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/nfs/rpc"
)

const (
	// maxDirReply is the maximum size of the entries in one READDIR or READDIRPLUS result.
	maxDirReply = 64 << 10

	// Offsets in a struct linux_dirent64 (getdents64(2)).
	direntIno    = 0
	direntOff    = 8
	direntReclen = 16
	direntName   = 19

	shortDirent = 24 // the least length of one, in bytes
)

// A dirent is a directory entry as the kernel lists it. The cookie is the position of the next
// entry. It comes from the file system, so it stays valid when the directory changes and when
// the server restarts.
type dirent struct {
	fileID, cookie uint64
	name           []byte // in the buffer that the kernel has written, where a NUL follows it
}

// direntBuffer is the size of the buffer for one getdents64, in bytes. For READDIRPLUS, whose
// entries are several times as long, it is plusBuffer, so that few entries are read in vain.
const (
	direntBuffer = 16 << 10
	plusBuffer   = 7 << 10
)

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
	e.Opaque(d.name)
	e.Uint64(d.cookie)
}

// list executes a call that lists a directory. The directory's attributes are from before its
// entries were read, so that a client whose cache has these attributes never misses an entry.
func (c *call) list(wire []byte, from place, l listing) error {
	dir, err := c.open(wire)
	defer dir.close()
	start := len(c.Buf)
	if err == nil {
		err = from.check()
	}
	if err == nil {
		c.status(nil)
		c.openAttr(dir)
		c.Uint64(cookieVerifier)
		most := int(min(l.limit, maxDirReply))
		c.reserve(most)
		l.out, l.most = &c.encoder, start+most-listTail
		err = l.run(dir, from.cookie)
	}
	if err != nil {
		c.Buf = c.Buf[:start]
		c.status(err)
		c.postAttr(dir)
		return nil
	}
	c.Bool(false) // no further entry
	c.Bool(l.eof)
	return nil
}

// reserve makes room for n bytes of results, so that they are written without being moved.
func (c *call) reserve(n int) {
	c.reply.Bytes = append(c.reply.Bytes[:0], c.Buf...)
	c.reply.Grow(n)
	c.Buf = c.reply.Bytes[:len(c.Buf)]
}

// listTail is the size of what follows the entries: end of list and end of directory.
const listTail = 4 + 4

// A listing writes entries.
type listing struct {
	plus  bool // with attributes and handles
	limit uint32
	out   *encoder
	most  int // length of out that the entries must not exceed
	first int // length of out before the first entry
	eof   bool

	see     bool    // the caller may search the directory
	clock   uint64  // of the attribute cache, before the directory was read
	cache   bool    // the attribute cache can be used
	entries []entry // that are written
}

// An entry is a directory entry with what the attribute cache has about it, if anything.
type entry struct {
	dirent
	file *cachedFile
}

// run writes entries, starting at cookie, until the result reaches the limit.
func (l *listing) run(dir *object, cookie uint64) error {
	if !dir.is(unix.S_IFDIR) {
		return statusNotDir
	}
	if err := dir.permit(unix.R_OK); err != nil {
		return err
	}
	l.first = len(l.out.Buf)
	attrs := &dir.tree.server.attrs
	if l.plus {
		if l.see = dir.maySearch(); l.see {
			l.clock, l.cache = attrs.watch(dir.tree)
		}
	}
	if !l.cache {
		return l.read(dir, cookie)
	}
	start := time.Now()
	names, done := attrs.list(dir, cookie, l)
	if done {
		return nil
	}
	err := l.complete(dir, cookie, names)
	if now, e := dir.stat(); e != nil || now.Atime != dir.attr.Atime {
		attrs.forget(dir.fh) // the kernel does not report it
	}
	if err == nil {
		attrs.keep(dir, cookie, &page{entries: l.entries, eof: l.eof, read: start}, l.clock)
	}
	return err
}

// complete writes the entries of a page, or those of the directory if there is no page.
func (l *listing) complete(dir *object, cookie uint64, names *page) error {
	if names == nil {
		return l.read(dir, cookie)
	}
	full, err := l.writeAll(dir, slices.Clone(names.entries))
	l.eof = names.eof && !full
	return err
}

// read writes entries of the directory itself.
func (l *listing) read(dir *object, cookie uint64) error {
	fd, err := dir.reopen(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Seek(fd, int64(cookie), unix.SEEK_SET); err != nil {
		return statusBadCookie
	}
	for {
		buf := make([]byte, l.bufferSize())
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			l.eof = true
			return nil
		}
		if full, err := l.writeAll(dir, l.parse(dir, buf[:n])); full || err != nil {
			return err
		}
	}
}

func (l *listing) bufferSize() int {
	if l.plus {
		return plusBuffer
	}
	return direntBuffer
}

// writeAll writes entries and reports whether the result has reached the limit.
func (l *listing) writeAll(dir *object, entries []entry) (full bool, err error) {
	if l.cache {
		dir.lookUp(entries, l.clock)
	}
	for i := range entries {
		if full, err := l.write(dir, &entries[i]); full || err != nil {
			return full, err
		}
		l.entries = append(l.entries, entries[i])
	}
	return false, nil
}

// parse returns the entries in buf, which the caller does not use again.
func (l *listing) parse(dir *object, buf []byte) []entry {
	entries := make([]entry, 0, len(buf)/shortDirent)
	for len(buf) > 0 {
		d, n := parseDirent(buf)
		buf = buf[n:]
		if !dir.shows(string(d.name)) {
			continue
		}
		if string(d.name) == ".." && dir.isRoot() {
			d.fileID = dir.attr.Ino // clients must not see the directory above the root
		}
		entries = append(entries, entry{dirent: d})
	}
	return entries
}

// write writes an entry, unless that would exceed the limit.
func (l *listing) write(dir *object, e *entry) (full bool, err error) {
	before := len(l.out.Buf)
	l.out.Bool(true)
	switch {
	case e.file != nil:
		l.out.dirent(e.dirent)
		l.out.Buf = append(l.out.Buf, e.file.tail...)
	case l.plus:
		l.writePlus(dir, e.dirent)
	default:
		l.out.dirent(e.dirent)
	}
	if len(l.out.Buf) > l.most {
		l.out.Buf = l.out.Buf[:before]
		if before == l.first {
			return true, statusTooSmall
		}
		return true, nil
	}
	return false, nil
}

// writePlus writes an entry with the attributes and handle of what has its name now. It omits
// them if the entry no longer exists, or if the caller may see only its name.
func (l *listing) writePlus(dir *object, d dirent) {
	var child *object
	if l.see {
		child, _ = dir.child(string(d.name)) // nil if it has gone
		defer child.close()
	}
	if child != nil {
		d.fileID = child.attr.Ino
	}
	l.out.dirent(d)
	l.out.openAttr(child)
	l.out.postHandle(child)
}

// lookUp sets the files of entries that the attribute cache has or can have.
func (o *object) lookUp(entries []entry, clock uint64) {
	cache := &o.tree.server.attrs
	for i := range entries {
		entries[i].file = nil
	}
	clock = cache.find(o, clock, entries)
	var missing []*entry
	var files []*cachedFile
	for i := range entries {
		if e := &entries[i]; e.file == nil {
			if f := o.newCachedFile(e); f != nil {
				missing, files = append(missing, e), append(files, f)
			}
		}
	}
	if len(files) == 0 {
		return
	}
	cache.enter(files, clock)
	tails := make([][]byte, len(files))
	for i, e := range missing {
		tails[i] = o.readTail(e, files[i])
	}
	for i, same := range cache.confirm(files, tails) {
		if same {
			missing[i].file = files[i]
		}
	}
}

// newCachedFile returns the file that has the name of e now, without its attributes.
func (o *object) newCachedFile(e *entry) *cachedFile {
	fh, err := nameToHandle(o.fd, string(e.name), 0)
	if err != nil {
		return nil
	}
	wire, err := sealHandle(o.tree.server.handles, o.tree.export.ID, fh)
	if err != nil {
		return nil
	}
	handle := appendHandleKey(nil, fh.Type(), fh.Bytes())
	return &cachedFile{key: fileKey{o.tree, e.fileID}, handle: string(handle), wire: wire}
}

// readTail returns the attributes and the handle of f as an entryplus3 has them, or nil if the
// name of e stands for another file now.
func (o *object) readTail(e *entry, f *cachedFile) []byte {
	var st unix.Statx_t
	err := unix.Statx(o.fd, string(e.name), unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BASIC_STATS, &st)
	if err != nil || st.Ino != e.fileID ||
		unix.Mkdev(st.Dev_major, st.Dev_minor) != o.tree.dev {
		return nil
	}
	tail := encoder{rpc.Encoder{Buf: make([]byte, 0, attrSize+8+maxHandle)}}
	tail.Bool(true)
	tail.attr(&st, o.tree.export.ID)
	tail.Bool(true)
	tail.Opaque(f.wire)
	return tail.Buf
}

// parseDirent reads the first entry in buf, which the kernel has written, and returns the
// entry's length.
func parseDirent(buf []byte) (dirent, int) {
	n := int(binary.NativeEndian.Uint16(buf[direntReclen:]))
	name, _, _ := bytes.Cut(buf[direntName:n], []byte{0})
	return dirent{
		fileID: binary.NativeEndian.Uint64(buf[direntIno:]),
		cookie: binary.NativeEndian.Uint64(buf[direntOff:]),
		name:   name,
	}, n
}
