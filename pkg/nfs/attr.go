package nfs

import (
	"math"

	"golang.org/x/sys/unix"
)

// attrSize is the size of a post_op_attr that contains attributes.
const attrSize = 4 + 84

// File types of RFC 1813 §2.6 (ftype3).
const (
	typeReg  = 1
	typeDir  = 2
	typeBlk  = 3
	typeChr  = 4
	typeLnk  = 5
	typeSock = 6
	typeFIFO = 7
)

// fileTypes maps a mode's type bits to the ftype3.
var fileTypes = map[uint16]uint32{
	unix.S_IFREG:  typeReg,
	unix.S_IFDIR:  typeDir,
	unix.S_IFBLK:  typeBlk,
	unix.S_IFCHR:  typeChr,
	unix.S_IFLNK:  typeLnk,
	unix.S_IFSOCK: typeSock,
	unix.S_IFIFO:  typeFIFO,
}

// attr writes a fattr3. The file system id is the export's, because clients see the tree as one
// file system, even if it consists of several.
func (e *encoder) attr(st *unix.Statx_t, export uint32) {
	e.Uint32(fileTypes[st.Mode&unix.S_IFMT])
	e.Uint32(uint32(st.Mode &^ unix.S_IFMT))
	e.Uint32(st.Nlink)
	e.Uint32(st.Uid)
	e.Uint32(st.Gid)
	e.Uint64(st.Size)
	e.Uint64(st.Blocks * 512)
	e.Uint32(st.Rdev_major)
	e.Uint32(st.Rdev_minor)
	e.Uint64(uint64(export))
	e.Uint64(st.Ino)
	e.time(st.Atime)
	e.time(st.Mtime)
	e.time(st.Ctime)
}

// time writes an nfstime3, whose range is 1970 to 2106.
func (e *encoder) time(t unix.StatxTimestamp) {
	e.Uint32(uint32(max(0, min(t.Sec, math.MaxUint32))))
	e.Uint32(t.Nsec)
}

// postAttr writes o's current attributes as a post_op_attr.
func (e *encoder) postAttr(o *object) {
	if o == nil {
		e.Bool(false)
		return
	}
	st, err := o.stat()
	e.Bool(err == nil)
	if err == nil {
		e.attr(&st, o.tree.export.ID)
	}
}

// openAttr writes o's attributes from when the call opened it, as a post_op_attr. It is for
// objects that the call does not change.
func (e *encoder) openAttr(o *object) {
	e.Bool(o != nil)
	if o != nil {
		e.attr(&o.attr, o.tree.export.ID)
	}
}

// postHandle writes o's handle as a post_op_fh3.
func (e *encoder) postHandle(o *object) {
	e.Bool(o != nil)
	if o != nil {
		e.Opaque(o.wire)
	}
}

// A wcc describes an object before and after a call that may change it, so that a client knows
// whether its cache was valid before (RFC 1813 §2.6, wcc_data). The zero value contains no
// attributes.
type wcc struct {
	before, after *unix.Statx_t
	export        uint32
}

func (e *encoder) wcc(w wcc) {
	e.Bool(w.before != nil)
	if w.before != nil {
		e.Uint64(w.before.Size)
		e.time(w.before.Mtime)
		e.time(w.before.Ctime)
	}
	e.Bool(w.after != nil)
	if w.after != nil {
		e.attr(w.after, w.export)
	}
}

// change runs f, which changes the objects, while no other call changes them, and returns a wcc
// for each. The wcc of a nil object is empty.
func change(f func() error, objects ...*object) ([]wcc, error) {
	unlock := objects[0].tree.lock(objects...)
	defer unlock()
	all := make([]wcc, len(objects))
	for i, o := range objects {
		all[i].export = o.tree.export.ID
		all[i].before = o.statNow()
	}
	err := f()
	for i, o := range objects {
		all[i].after = o.statNow()
	}
	return all, err
}

func (o *object) statNow() *unix.Statx_t {
	st, err := o.stat()
	if err != nil {
		return nil
	}
	return &st
}

// unchanged returns the wcc of an object that a call has not tried to change.
func unchanged(o *object) wcc {
	if o == nil {
		return wcc{}
	}
	return wcc{after: o.statNow(), export: o.tree.export.ID}
}

// changeOne is change for one object. If err is set, changeOne does not run f, and the object
// may be nil.
func changeOne(o *object, err error, f func() error) (wcc, error) {
	if err != nil {
		return unchanged(o), err
	}
	all, err := change(f, o)
	return all[0], err
}

// A sattr contains the attributes that a call sets (sattr3). A nil attribute keeps its value.
type sattr struct {
	mode, uid, gid *uint32
	size           *uint64
	atime, mtime   *unix.Timespec
}

func (d *decoder) sattr() sattr {
	var s sattr
	s.mode, s.uid, s.gid = d.optional(), d.optional(), d.optional()
	if d.Bool() {
		size := d.Uint64()
		s.size = &size
	}
	s.atime, s.mtime = d.setTime(), d.setTime()
	return s
}

func (d *decoder) optional() *uint32 {
	if !d.Bool() {
		return nil
	}
	v := d.Uint32()
	return &v
}

// setTime reads a set_atime or set_mtime.
func (d *decoder) setTime() *unix.Timespec {
	const dontChange, toServerTime, toClientTime = 0, 1, 2
	switch d.Uint32() {
	case dontChange:
		return nil
	case toServerTime:
		return &unix.Timespec{Nsec: unix.UTIME_NOW}
	case toClientTime:
		sec, nsec := d.Uint32(), d.Uint32()
		if nsec >= 1e9 {
			d.Bad = true
		}
		t := unix.NsecToTimespec(int64(sec)*1e9 + int64(nsec))
		return &t
	}
	d.Bad = true
	return nil
}

// times returns the times in s for utimensat.
func (s sattr) times() []unix.Timespec {
	return []unix.Timespec{timeOrKeep(s.atime), timeOrKeep(s.mtime)}
}

// timeOrKeep returns the time for utimensat. UTIME_OMIT keeps the old time.
func timeOrKeep(t *unix.Timespec) unix.Timespec {
	if t == nil {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return *t
}

// modeOr returns the mode in s, or d if s has none.
func (s sattr) modeOr(d uint32) uint32 {
	if s.mode == nil {
		return d
	}
	return *s.mode & 0o7777
}
