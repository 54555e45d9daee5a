package nfs

import "golang.org/x/sys/unix"

// lookup implements LOOKUP (RFC 1813 §3.3.3). ".." of the root is the root, because it is the
// root of a mount, see tree.mount.
func (c *call) lookup() error {
	wire, name := c.in.handle(), c.in.name()
	if c.in.Bad {
		return errGarbage
	}
	dir, err := c.open(wire)
	defer dir.close()
	var child *object
	if err == nil {
		child, err = dir.lookup(name)
	}
	defer child.close()
	if c.status(err) {
		c.Opaque(child.wire)
		c.openAttr(child)
	}
	c.openAttr(dir)
	return nil
}

// lookup opens the entry called name with the rights of the caller.
func (o *object) lookup(name string) (child *object, err error) {
	if !o.is(unix.S_IFDIR) {
		return nil, statusNotDir
	}
	err = o.as(func() (err error) { child, err = o.child(name); return err })
	return child, err
}

// readlink implements READLINK (§3.3.5).
func (c *call) readlink() error {
	wire := c.in.handle()
	if c.in.Bad {
		return errGarbage
	}
	o, err := c.open(wire)
	defer o.close()
	var target string
	if err == nil {
		target, err = o.readlink()
	}
	ok := c.status(err)
	c.postAttr(o)
	if ok {
		c.String(target)
	}
	return nil
}

func (o *object) readlink() (string, error) {
	if !o.is(unix.S_IFLNK) {
		return "", statusInval
	}
	buf := make([]byte, maxString)
	n, err := unix.Readlinkat(o.fd, "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
