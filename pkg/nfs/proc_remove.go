package nfs

import "golang.org/x/sys/unix"

// remove implements REMOVE (RFC 1813 §3.3.12).
func (c *call) remove() error {
	wire, name := c.in.handle(), c.in.name()
	if name == "." || name == ".." {
		return c.unlink(wire, name, removal{wrong: statusIsDir})
	}
	return c.unlink(wire, name, removal{wrong: checkName(name)})
}

// rmdir implements RMDIR (§3.3.13), which has its own errors for "." and "..".
func (c *call) rmdir() error {
	wire, name := c.in.handle(), c.in.name()
	r := removal{
		flags: unix.AT_REMOVEDIR, wrong: checkName(name),
		elsewhere: func(dir *object) error { return dir.mayDropStream(name) },
	}
	switch name {
	case ".":
		r.wrong = statusInval
	case "..":
		r.wrong = statusExist
	}
	return c.unlink(wire, name, r)
}

// A removal describes how to remove a directory entry.
type removal struct {
	flags     int
	wrong     error                   // error of the name; nil: none
	elsewhere func(dir *object) error // as in maker
}

// unlink executes a call that removes the entry called name.
func (c *call) unlink(wire []byte, name string, r removal) error {
	if c.in.Bad {
		return errGarbage
	}
	dir, others, err := c.openParent(wire, r.elsewhere)
	defer dir.close()
	if r.wrong != nil && (err == nil || others) {
		err = r.wrong
	}
	w, err := changeOne(dir, err, func() error {
		as := dir.as
		if others {
			as = dir.caller.anywhere
		}
		return as(func() error { return unix.Unlinkat(dir.fd, name, r.flags) })
	})
	if c.again != nil && err == unix.ENOENT {
		err = nil
	}
	if err == nil {
		dir.tree.freed()
		dir.tree.writers.dropDeleted()
		err = dir.syncChange()
	}
	c.status(err)
	c.wcc(w)
	return nil
}

// rename implements RENAME (§3.3.14).
func (c *call) rename() error {
	fromWire, fromName := c.in.handle(), c.in.name()
	toWire, toName := c.in.handle(), c.in.name()
	if c.in.Bad {
		return errGarbage
	}
	from, err := c.openToChange(fromWire)
	defer from.close()
	var to *object
	if err == nil {
		to, err = c.openToChange(toWire)
	}
	defer to.close()
	if err == nil {
		err = checkRename(from, fromName, to, toName)
	}
	w := []wcc{unchanged(from), unchanged(to)}
	if err == nil {
		w, err = from.rename(fromName, to, toName)
	}
	if c.again != nil && err == unix.ENOENT && !from.has(fromName) && to.has(toName) {
		err = nil
	}
	if err == nil {
		to.tree.writers.dropDeleted()
		err = from.syncMoved(to)
	}
	c.status(err)
	c.wcc(w[0])
	c.wcc(w[1])
	return nil
}

// rename renames an entry of from, and returns the changes of both directories. A rename within
// a directory reserves no space for the entry, because a client that has a file open removes it
// by such a rename, even when the export is full. A rename to another directory reserves space,
// because it may enlarge that directory, which does not shrink again.
func (o *object) rename(name string, to *object, toName string) ([]wcc, error) {
	need := cost{}
	if to.attr.Ino != o.attr.Ino {
		need = cost{bytes: pageSize, disk: pageSize}
	}
	end, err := o.tree.startRename()
	defer end()
	if err == nil {
		err = o.reserveMove(name, need)
	}
	if err != nil {
		return []wcc{unchanged(o), unchanged(to)}, err
	}
	w, err := change(func() error {
		return o.as(func() error { return unix.Renameat(o.fd, name, to.fd, toName) })
	}, o, to)
	o.tree.finalizeGrown(need, w[1])
	o.tree.freed() // the object that was at toName
	return w, err
}

// reserveMove is reserve for a call that moves the entry called name.
func (o *object) reserveMove(name string, need cost) error {
	if !o.tree.copiesUp || o.tree.export.MinFree <= 0 {
		return o.tree.reserve(need)
	}
	moved, err := o.lookup(name)
	if err != nil {
		return nil // the call itself fails with the reason
	}
	defer moved.close()
	if err := moved.reserveCopy(); err != nil {
		return err
	}
	return o.tree.reserve(need)
}

func checkRename(from *object, fromName string, to *object, toName string) error {
	for _, name := range []string{fromName, toName} {
		if name == "." || name == ".." {
			return statusInval
		}
		if err := checkName(name); err != nil {
			return err
		}
	}
	if from.tree != to.tree {
		return statusXDev
	}
	return nil
}

// link implements LINK (§3.3.15).
func (c *call) link() error {
	fileWire, dirWire, name := c.in.handle(), c.in.handle(), c.in.name()
	if c.in.Bad {
		return errGarbage
	}
	file, err := c.openToChange(fileWire)
	defer file.close()
	var dir *object
	if err == nil {
		dir, err = c.openToChange(dirWire)
	}
	defer dir.close()
	if err == nil && file.tree != dir.tree {
		err = statusXDev
	}
	if err == nil {
		err = checkNewName(name)
	}
	w, err := changeOne(dir, err, func() error { return file.linkAs(dir, name) })
	if dir != nil {
		dir.tree.finalizeGrown(cost{}, w)
	}
	if c.again != nil && err == unix.EEXIST && file.isLinkedAs(dir, name) {
		err = nil
	}
	if err == nil {
		err = dir.syncMade(file)
	}
	c.status(err)
	c.postAttr(file)
	c.wcc(w)
	return nil
}

// linkAs makes a link to o. The link counts as a file of its own until the next walk, because a
// walk that is running may already have passed the new name, and may find the old name removed.
func (o *object) linkAs(dir *object, name string) error {
	err := o.mayLink(dir)
	if err == nil {
		err = o.reserveCopy()
	}
	if err == nil {
		err = o.tree.reserve(entryCost())
	}
	if err != nil {
		return err
	}
	err = dir.as(func() error {
		return unix.Linkat(unix.AT_FDCWD, o.procPath(), dir.fd, name, unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		o.tree.finalize(entryCost(), cost{})
		return err
	}
	o.tree.finalize(entryCost(), costOf(o))
	o.tree.freed()
	return nil
}

// mayLink returns an error if no link to o may be made in dir. If the export maps all users to
// one, a caller may link only to files of that user. The kernel has the same rule
// (fs.protected_hardlinks), if it is enabled.
func (o *object) mayLink(dir *object) error {
	if o.tree.export.Squash == AllSquash && o.attr.Uid != o.caller.uid {
		return statusPerm
	}
	return dir.mayHoldLinks()
}

// has reports whether the directory o has an entry called name.
func (o *object) has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(o.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// isLinkedAs reports whether the entry called name is o.
func (o *object) isLinkedAs(dir *object, name string) bool {
	var a, b unix.Stat_t
	return unix.Fstatat(dir.fd, name, &a, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		unix.Fstatat(o.fd, "", &b, unix.AT_EMPTY_PATH) == nil && a.Ino == b.Ino && a.Dev == b.Dev
}
