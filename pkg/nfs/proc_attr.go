package nfs

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// getattr implements GETATTR (RFC 1813 §3.3.1).
func (c *call) getattr() error {
	wire := c.in.handle()
	if c.in.Bad {
		return errGarbage
	}
	o, err := c.open(wire)
	defer o.close()
	if c.status(err) {
		c.attr(&o.attr, o.tree.export.ID)
	}
	return nil
}

// setattr implements SETATTR (§3.3.2).
func (c *call) setattr() error {
	wire, want := c.in.handle(), c.in.sattr()
	var guard *unix.StatxTimestamp
	if c.in.Bool() {
		guard = &unix.StatxTimestamp{Sec: int64(c.in.Uint32()), Nsec: c.in.Uint32()}
	}
	if c.in.Bad {
		return errGarbage
	}
	o, err := c.openToChange(wire)
	defer o.close()
	w, err := changeOne(o, err, func() error {
		if guard != nil {
			now, err := o.stat()
			if err != nil {
				return err
			}
			if (now.Ctime.Sec != guard.Sec || now.Ctime.Nsec != guard.Nsec) && c.again == nil {
				return statusNotSync
			}
		}
		return o.set(want)
	})
	if err == nil {
		err = o.syncSet(want)
	}
	c.status(err)
	c.wcc(w)
	return nil
}

// syncSet brings to the disk what SETATTR has set. A new size also changes the file's data.
func (o *object) syncSet(s sattr) error {
	if s.size != nil && !o.tree.export.Relaxed {
		return o.sync()
	}
	return o.syncChange()
}

// set sets o's attributes to those in s, with the rights of the caller. The order matters,
// because changing the owner clears setuid and setgid.
func (o *object) set(s sattr) error {
	if s.size != nil {
		if err := o.truncate(*s.size); err != nil {
			return err
		}
	}
	if err := o.reserveCopy(); err != nil {
		return err
	}
	err := o.as(func() error { return o.setMeta(s) })
	if err == unix.EPERM && s.touches() && o.permit(unix.W_OK) == nil {
		return unix.UtimesNanoAt(o.fd, "", s.times(), unix.AT_EMPTY_PATH)
	}
	return err
}

// touches reports whether s sets nothing but the time of modification, to now, and perhaps the
// size. Linux sends that for O_TRUNC, which everybody may do who may write, and without the size
// if the file is empty. utimensat(2) permits it to the owner only.
func (s sattr) touches() bool {
	return s.mode == nil && s.uid == nil && s.gid == nil && s.atime == nil && s.mtime != nil && s.mtime.Nsec == unix.UTIME_NOW
}

// setMeta sets all attributes but the size, with the rights of the calling thread.
func (o *object) setMeta(s sattr) error {
	if s.uid != nil || s.gid != nil {
		if err := unix.Fchownat(o.fd, "", idOrKeep(s.uid), idOrKeep(s.gid), unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if s.mode != nil && !o.is(unix.S_IFLNK) { // the mode of a symbolic link has no meaning
		if err := unix.Chmod(o.procPath(), s.modeOr(0)); err != nil {
			return err
		}
	}
	if s.atime == nil && s.mtime == nil {
		return nil
	}
	return unix.UtimesNanoAt(o.fd, "", s.times(), unix.AT_EMPTY_PATH)
}

// idOrKeep returns the id for chown, or -1 to keep the old one.
func idOrKeep(id *uint32) int {
	if id == nil {
		return -1
	}
	return int(*id)
}

// procPath returns a path to o itself, whatever its type, for system calls that accept no file
// descriptor of an unopened file.
func (o *object) procPath() string { return "/proc/self/fd/" + strconv.Itoa(o.fd) }

// openToTruncate opens o to change its size to size. An overlay need not copy data that the call
// discards, so clients can empty files even when the file system is at its floor.
func (o *object) openToTruncate(size uint64) (int, error) {
	if size == 0 && o.tree.copiesUp {
		return o.openData(unix.O_WRONLY | unix.O_TRUNC)
	}
	return o.openToWrite()
}

func (o *object) truncate(size uint64) error {
	if size > maxOffset {
		return statusFBig
	}
	if err := o.permit(unix.W_OK); err != nil {
		return err
	}
	if size > o.attr.Size {
		some := cost{bytes: 2 * pageSize, disk: pageSize}
		if err := o.tree.reserve(some); err != nil {
			return err
		}
		defer o.tree.finalize(some, cost{}) // the new part is a hole
	} else {
		defer o.tree.freed()
	}
	fd, err := o.openToTruncate(size)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return o.as(func() error { return unix.Ftruncate(fd, int64(size)) })
}

// Rights of ACCESS (RFC 1813 §3.3.4).
const (
	accessRead    = 0x01
	accessLookup  = 0x02
	accessModify  = 0x04
	accessExtend  = 0x08
	accessDelete  = 0x10
	accessExecute = 0x20
)

// access implements ACCESS.
func (c *call) access() error {
	wire, want := c.in.handle(), c.in.Uint32()
	if c.in.Bad {
		return errGarbage
	}
	o, err := c.open(wire)
	defer o.close()
	var granted uint32
	if err == nil {
		err = o.as(func() error { granted = o.granted(want); return nil })
	}
	ok := c.status(err)
	c.openAttr(o)
	if ok {
		c.Uint32(granted)
	}
	return nil
}

// granted returns the rights in want that the calling thread has.
func (o *object) granted(want uint32) uint32 {
	read, write, execute := uint32(accessRead), uint32(accessModify|accessExtend), uint32(accessExecute)
	if o.is(unix.S_IFDIR) {
		write |= accessDelete
		execute = accessLookup
	}
	if o.tree.export.ReadOnly || o.checkOwn() != nil {
		write = 0
	}
	var granted uint32
	if o.access(unix.R_OK|unix.W_OK) == nil { // the usual case, in one system call
		granted = want & (read | write)
	} else if want&read != 0 && o.access(unix.R_OK) == nil {
		granted = want & read
	} else if want&write != 0 && o.access(unix.W_OK) == nil {
		granted = want & write
	}
	if want&execute != 0 && o.mayExecute() {
		granted |= want & execute
	}
	return granted
}

// mayExecute reports whether the calling thread may execute o, or search it if it is a
// directory. If this machine mounts the file system noexec, which must not affect clients, the
// kernel denies execution of every file, and only the mode decides.
func (o *object) mayExecute() bool {
	if o.is(unix.S_IFREG) && o.attr.Mode&0o111 == 0 {
		return false // even for root, and an ACL cannot grant more than the mode
	}
	if o.access(unix.X_OK) == nil {
		return true
	}
	if !o.tree.noExec || !o.is(unix.S_IFREG) {
		return false
	}
	switch mode := o.attr.Mode; {
	case o.caller.uid == 0:
		return mode&0o111 != 0
	case o.caller.uid == o.attr.Uid:
		return mode&0o100 != 0
	case o.caller.in(o.attr.Gid):
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
