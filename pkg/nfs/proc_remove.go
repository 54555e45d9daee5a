package nfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// remove is REMOVE (RFC 1813 §3.3.12).
func (c *call) remove() error {
	wire, name := c.in.handle(), c.in.name()
	if name == "." || name == ".." {
		return c.unlink(wire, name, 0, statusIsDir)
	}
	return c.unlink(wire, name, 0, checkName(name))
}

// rmdir is RMDIR (§3.3.13), which has its own answers to "." and "..".
func (c *call) rmdir() error {
	wire, name := c.in.handle(), c.in.name()
	switch name {
	case ".":
		return c.unlink(wire, name, unix.AT_REMOVEDIR, statusInval)
	case "..":
		return c.unlink(wire, name, unix.AT_REMOVEDIR, statusExist)
	}
	return c.unlink(wire, name, unix.AT_REMOVEDIR, checkName(name))
}

// unlink answers a call that removes the entry called name, or refuses it for
// what is wrong with that name.
func (c *call) unlink(wire []byte, name string, flags int, wrong error) error {
	if c.in.bad {
		return errGarbage
	}
	dir, err := c.openToChange(wire)
	defer dir.close()
	if err == nil {
		err = wrong
	}
	w, err := changeOne(dir, err, func() error {
		return dir.as(func() error { return unix.Unlinkat(dir.fd, name, flags) })
	})
	if c.again != nil && err == unix.ENOENT {
		err = nil
	}
	if err == nil {
		dir.tree.writers.dropDeleted()
		err = dir.sync()
	}
	c.status(err)
	c.wcc(w)
	return nil
}

// rename is RENAME (§3.3.14).
func (c *call) rename() error {
	fromWire, fromName := c.in.handle(), c.in.name()
	toWire, toName := c.in.handle(), c.in.name()
	if c.in.bad {
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
		w, err = change(func() error {
			return from.as(func() error { return unix.Renameat(from.fd, fromName, to.fd, toName) })
		}, from, to)
	}
	if c.again != nil && err == unix.ENOENT && !from.has(fromName) && to.has(toName) {
		err = nil
	}
	if err == nil {
		to.tree.writers.dropDeleted()
		err = errors.Join(from.sync(), to.sync())
	}
	c.status(err)
	c.wcc(w[0])
	c.wcc(w[1])
	return nil
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

// link is LINK (§3.3.15).
func (c *call) link() error {
	fileWire, dirWire, name := c.in.handle(), c.in.handle(), c.in.name()
	if c.in.bad {
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
	w, err := changeOne(dir, err, func() error {
		return dir.as(func() error {
			return unix.Linkat(unix.AT_FDCWD, file.procPath(), dir.fd, name, unix.AT_SYMLINK_FOLLOW)
		})
	})
	if c.again != nil && err == unix.EEXIST && file.isLinkedAs(dir, name) {
		err = nil
	}
	if err == nil {
		err = errors.Join(file.syncNew(), dir.sync())
	}
	c.status(err)
	c.postAttr(file)
	c.wcc(w)
	return nil
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
