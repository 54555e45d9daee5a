package nfs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"pibootd/pkg/nfs/rpc"
)

const (
	maxName   = 255
	maxString = 4096 // of any name or path that is decoded at all
)

// An object is a file of an export, of any type, that a call works on. A nil
// one stands for a file that could not be opened: it may be closed, and has no
// attributes to send.
//
// Nothing of it is kept for the next call, except for listings (see attrCache).
// Kept attributes would be wrong as soon as somebody edits a root on
// this machine, and a file that is kept open takes up space after its removal;
// opening one by its handle costs a fraction of what the network does.
type object struct {
	tree   *tree
	since  *generation // of the calls that may change something; nil: this one will not
	caller identity
	fd     int // O_PATH: good for everything but reading and writing
	wire   []byte
	fh     unix.FileHandle
	attr   unix.Statx_t // when the call opened it
	reply  *rpc.Buffer  // of the call
}

// open returns the object of a wire handle, which the caller closes, for a
// call that changes nothing.
func (c *call) open(wire []byte) (*object, error) { return c.openObject(wire, false) }

// openObject is where every call's right to its export is checked.
func (c *call) openObject(wire []byte, changing bool) (*object, error) {
	id, fh, err := openHandle(c.server.handles, wire)
	if err != nil {
		if c.server.OnBadHandle != nil {
			c.server.OnBadHandle(c.client)
		}
		return nil, err
	}
	t, err := c.use(id)
	if err != nil {
		return nil, err
	}
	o := &object{tree: t, caller: t.identity(c.caller, c.anonymous), fd: -1, wire: wire, fh: fh, reply: c.reply}
	if changing {
		o.since = t.changing.enter()
	}
	o.fd, err = unix.OpenByHandleAt(t.root, fh, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		o.close()
		return nil, err
	}
	o.attr, err = o.stat()
	if err == nil && o.attr.Nlink == 0 { // removed, but somebody on this machine has it open
		err = statusStale
	}
	if err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// openToChange is open for a call that changes the object. With errNotOwn it
// returns the object too.
func (c *call) openToChange(wire []byte) (*object, error) {
	o, err := c.openObject(wire, true)
	if err == nil && (o.tree.export.ReadOnly || o.tree.export.Only != "" && o.isRoot()) {
		err = statusROFS
	}
	if err == nil {
		err = o.checkOwn()
	}
	return o, err
}

// newObject takes over fd, a file of the same tree as o.
func (o *object) newObject(fd int) (*object, error) {
	o.tree.calls.Add(1)
	n := &object{tree: o.tree, caller: o.caller, fd: fd, reply: o.reply}
	var err error
	n.fh, err = nameToHandle(fd, "", unix.AT_EMPTY_PATH)
	if err == nil {
		n.wire, err = sealHandle(o.tree.server.handles, o.tree.export.ID, n.fh)
	}
	if err == nil {
		n.attr, err = n.stat()
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("making a file handle: %w", err)
	}
	return n, nil
}

func (o *object) close() {
	if o == nil {
		return
	}
	if o.fd >= 0 {
		_ = unix.Close(o.fd) // O_PATH: nothing was written to it
	}
	if o.since != nil {
		o.tree.changing.leave(o.since)
	}
	o.tree.calls.Done()
}

// as runs f with the rights of the caller.
func (o *object) as(f func() error) error {
	if o.caller.equal(o.tree.server.self) {
		return f()
	}
	o.reply.Lost = true // should f panic
	err := o.caller.do(o.tree.server.self, f)
	o.reply.Lost = errors.Is(err, errThreadLost)
	return err
}

func (o *object) stat() (unix.Statx_t, error) {
	var st unix.Statx_t
	err := unix.Statx(o.fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BASIC_STATS, &st)
	return st, err
}

func (o *object) is(fileType uint16) bool { return o.attr.Mode&unix.S_IFMT == fileType }

// isRoot reports whether o is the root of its export.
func (o *object) isRoot() bool { return bytes.Equal(o.wire, o.tree.handle) }

// shows reports whether clients see the entry called name.
func (o *object) shows(name string) bool {
	only := o.tree.export.Only
	return only == "" || name == only || name == "." || name == ".." || !o.isRoot()
}

// child opens the entry called name with the rights of the calling thread.
func (o *object) child(name string) (*object, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if !o.shows(name) {
		return nil, statusNoEnt
	}
	fd, err := unix.Openat(o.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return o.newObject(fd)
}

// checkName refuses what is no name of one directory entry.
func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return statusNameTooLong
	case name == "" || strings.ContainsAny(name, "/\x00"):
		return statusInval
	}
	return nil
}

// checkNewName also refuses the two entries that every directory has, with
// the status that their being there calls for.
func checkNewName(name string) error {
	if name == "." || name == ".." {
		return statusExist
	}
	return checkName(name)
}

// permit checks that the caller has the rights in mask (unix.R_OK and so on).
// The owner of a file may always read and write it: its client has checked the
// mode when the file was opened, and the mode may have changed since (RFC 1813
// §4.4).
func (o *object) permit(mask uint32) error {
	if mask&unix.W_OK != 0 {
		if err := o.checkOwn(); err != nil {
			return err
		}
	}
	if o.attr.Uid == o.caller.uid && o.is(unix.S_IFREG) {
		return nil
	}
	return o.as(func() error { return o.access(mask) })
}

// maySearch reports whether the caller may search the directory o.
func (o *object) maySearch() bool {
	return o.as(func() error { return o.access(unix.X_OK) }) == nil
}

// access asks the kernel whether the calling thread has the rights in mask.
func (o *object) access(mask uint32) error {
	return unix.Faccessat2(o.fd, "", mask, unix.AT_EMPTY_PATH|unix.AT_EACCESS)
}

// openData opens a regular file for reading or writing, with the rights of the
// process: the caller's are for permit to check.
func (o *object) openData(flags int) (int, error) {
	switch {
	case o.is(unix.S_IFDIR):
		return -1, statusIsDir
	case !o.is(unix.S_IFREG): // opening a device or FIFO would reach outside the tree
		return -1, statusInval
	}
	return o.reopen(flags)
}

// openToWrite opens a regular file for writing.
func (o *object) openToWrite() (int, error) {
	if err := o.reserveCopy(); err != nil {
		return -1, err
	}
	return o.openData(unix.O_WRONLY)
}

func (o *object) reopen(flags int) (int, error) {
	return unix.OpenByHandleAt(o.tree.root, o.fh, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
}

// sync brings what changed about o, or in it if it is a directory, to the
// disk.
func (o *object) sync() error { return o.tree.checkSync(o.syncFile()) }

func (o *object) syncFile() error {
	if !o.is(unix.S_IFDIR) && !o.is(unix.S_IFREG) {
		return o.tree.syncer.sync(o.tree)
	}
	fd, err := o.reopen(unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fsync(fd)
}
