package nfs

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Modes of a CREATE, which differ if the file exists (createmode3).
const (
	unchecked = 0
	guarded   = 1
	exclusive = 2
)

// newFile holds the arguments of CREATE.
type newFile struct {
	how      uint32
	want     sattr
	verifier [8]byte // only if how is exclusive
}

func (d *decoder) newFile() newFile {
	f := newFile{how: d.Uint32()}
	switch f.how {
	case unchecked, guarded:
		f.want = d.sattr()
	case exclusive:
		copy(f.verifier[:], d.Take(len(f.verifier)))
	default:
		d.Bad = true
	}
	return f
}

// create implements CREATE (RFC 1813 §3.3.8).
func (c *call) create() error {
	wire, name := c.in.handle(), c.in.name()
	f := c.in.newFile()
	return c.make(wire, name, maker{
		want: f.want,
		make: func(dir *object) (*object, error) { return dir.create(name, f) },
		taken: func(dir *object) (*object, error) {
			if f.how == guarded {
				return nil, statusExist
			}
			return dir.existing(name, f)
		},
		// This includes an exclusive CREATE, because the process may have been killed before it
		// stored the verifier.
		same: func(child *object) bool { return child.is(unix.S_IFREG) && (f.how == guarded || child.attr.Size == 0) },
	})
}

// mkdir implements MKDIR (§3.3.9).
func (c *call) mkdir() error {
	wire, name, want := c.in.handle(), c.in.name(), c.in.sattr()
	return c.make(wire, name, maker{
		want:      want,
		elsewhere: func(dir *object) error { return dir.mayHoldStream(name) },
		make: func(dir *object) (*object, error) {
			if err := unix.Mkdirat(dir.fd, name, want.modeOr(0o700)); err != nil {
				return nil, err
			}
			return dir.child(name)
		},
		same: func(child *object) bool { return child.is(unix.S_IFDIR) },
	})
}

// symlink implements SYMLINK (§3.3.10).
func (c *call) symlink() error {
	wire, name, want, target := c.in.handle(), c.in.name(), c.in.sattr(), c.in.name()
	return c.make(wire, name, maker{
		want: want,
		make: func(dir *object) (*object, error) {
			if err := dir.mayHoldLinks(); err != nil {
				return nil, err
			}
			if target == "" || strings.Contains(target, "\x00") {
				return nil, statusInval
			}
			if err := unix.Symlinkat(target, dir.fd, name); err != nil {
				return nil, err
			}
			return dir.child(name)
		},
		same: func(child *object) bool { got, err := child.readlink(); return err == nil && got == target },
	})
}

// mknod implements MKNOD (§3.3.11).
func (c *call) mknod() error {
	wire, name, kind := c.in.handle(), c.in.name(), c.in.Uint32()
	var want sattr
	var device uint64
	mode := uint32(0)
	switch kind {
	case typeChr, typeBlk:
		want = c.in.sattr()
		device = unix.Mkdev(c.in.Uint32(), c.in.Uint32())
		mode = unix.S_IFCHR
		if kind == typeBlk {
			mode = unix.S_IFBLK
		}
	case typeSock:
		want, mode = c.in.sattr(), unix.S_IFSOCK
	case typeFIFO:
		want, mode = c.in.sattr(), unix.S_IFIFO
	}
	return c.make(wire, name, maker{
		want: want,
		make: func(dir *object) (*object, error) {
			if mode == 0 {
				return nil, statusBadType
			}
			if err := dir.mayHoldLinks(); err != nil {
				return nil, err
			}
			if err := unix.Mknodat(dir.fd, name, mode|want.modeOr(0o600), int(device)); err != nil {
				return nil, err
			}
			return dir.child(name)
		},
		same: func(child *object) bool {
			return child.is(uint16(mode)) && unix.Mkdev(child.attr.Rdev_major, child.attr.Rdev_minor) == device
		},
	})
}

// A maker creates a directory entry.
type maker struct {
	// make creates the entry with the mode in want, on a thread that has the caller's rights and
	// no umask.
	make func(dir *object) (*object, error)
	want sattr // make sets the mode, the others are set afterwards

	// elsewhere returns an error if the entry may not be made in a directory that belongs to
	// somebody else. It applies to exports with StreamDirs; nil forbids it.
	elsewhere func(dir *object) error

	// taken returns the object to use if the entry already exists. The calling thread has the
	// rights of the process. If taken is nil, an existing entry is an error.
	taken func(dir *object) (*object, error)

	// same reports whether an entry that a killed process has made is the one that this call
	// creates. If same is nil, the call does not adopt an existing entry.
	same func(child *object) bool
}

// make executes a call that creates the entry called name.
func (c *call) make(wire []byte, name string, m maker) error {
	if c.in.Bad {
		return errGarbage
	}
	dir, others, err := c.openParent(wire, m.elsewhere)
	defer dir.close()
	if err == nil {
		err = checkNewName(name)
	}
	var child *object
	w, err := changeOne(dir, err, func() (err error) {
		child, err = m.run(dir, others)
		if c.again != nil && m.same != nil && statusOf(err) == statusExist {
			child, err = m.adopt(dir, name, *c.again)
		}
		return err
	})
	defer child.close()
	if dir != nil {
		dir.tree.finalizeGrown(cost{}, w)
	}
	if err == nil {
		err = dir.syncMade(child)
	}
	if c.status(err) {
		c.postHandle(child)
		c.postAttr(child)
	}
	c.wcc(w)
	return nil
}

// openParent is openToChange for the directory in which the call creates or removes an entry.
// If elsewhere is not nil and returns no error, the directory may belong to somebody else: others
// is then true.
func (c *call) openParent(wire []byte, elsewhere func(dir *object) error) (dir *object, others bool, err error) {
	dir, err = c.openToChange(wire)
	if elsewhere != nil && errors.Is(err, errNotOwn) {
		return dir, true, elsewhere(dir)
	}
	return dir, false, err
}

func (m maker) run(dir *object, others bool) (child *object, err error) {
	create := dir.caller.create
	if others {
		create = dir.caller.anywhere
	}
	if err := dir.tree.reserve(entryCost()); err != nil {
		return nil, err
	}
	err = create(func() (err error) {
		if child, err = m.make(dir); err != nil {
			return err
		}
		return child.setMeta(dir.initial(m.want))
	})
	dir.tree.finalize(entryCost(), costOf(child))
	if errors.Is(err, unix.EEXIST) && m.taken != nil {
		return m.taken(dir)
	}
	return child, err
}

// entryCost returns the maximum cost of a new entry: one block for its directory, and one for
// itself.
func entryCost() cost { return cost{bytes: 2 * pageSize, names: 1, disk: 2 * pageSize} }

// costOf returns the cost of a new object without that of its directory entry; nil costs
// nothing.
func costOf(made *object) cost {
	if made == nil {
		return cost{}
	}
	return cost{bytes: usage(&made.attr), names: 1}
}

// adopt returns the entry called name if it was created at since or later and m.same accepts it,
// because then a process that was killed has made it for this same call. Otherwise it returns
// statusExist.
func (m maker) adopt(dir *object, name string, since unix.StatxTimestamp) (*object, error) {
	child, err := dir.lookup(name)
	if err != nil {
		return nil, err
	}
	if !child.bornSince(since) || !m.same(child) {
		child.close()
		return nil, statusExist
	}
	return child, child.as(func() error { return child.setMeta(dir.initial(m.want)) })
}

// bornSince reports whether o was created at t or later. It returns false if the file system
// does not store the time of creation.
func (o *object) bornSince(t unix.StatxTimestamp) bool {
	var st unix.Statx_t
	err := unix.Statx(o.fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return false
	}
	return st.Btime.Sec > t.Sec || st.Btime.Sec == t.Sec && st.Btime.Nsec >= t.Nsec
}

// initial returns the attributes of a new file that are still to be set. Its mode and size are
// already right, and its owner is the caller. Only root can choose another owner.
func (o *object) initial(want sattr) sattr {
	want.mode, want.size = nil, nil
	if o.caller.uid != 0 {
		want.uid, want.gid = nil, nil
	}
	return want
}

// syncNew writes a new object to the disk, except its directory entry, which the sync of the
// directory writes.
func (o *object) syncNew() error {
	if o.is(unix.S_IFREG) || o.is(unix.S_IFDIR) {
		return o.sync()
	}
	return o.tree.syncer.syncNew(o.tree)
}

// create creates a regular file, with the rights of the calling thread.
func (o *object) create(name string, f newFile) (*object, error) {
	flags := unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(o.fd, name, flags, f.want.modeOr(0o600))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := f.prepare(fd); err != nil {
		return nil, errors.Join(err, unix.Unlinkat(o.fd, name, 0)) // a failed CREATE leaves no file
	}
	return o.child(name)
}

// prepare sets the size of a new file, or stores the verifier of an exclusive CREATE in the
// file, so that the verifier survives a restart.
func (f newFile) prepare(fd int) error {
	switch {
	case f.how == exclusive:
		atime, mtime := f.stamps()
		ts := []unix.Timespec{unix.NsecToTimespec(atime * 1e9), unix.NsecToTimespec(mtime * 1e9)}
		return unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH)
	case f.want.size != nil && *f.want.size > maxOffset:
		return statusFBig
	case f.want.size != nil:
		return unix.Ftruncate(fd, int64(*f.want.size))
	}
	return nil
}

// stamps returns the times of access and modification that store the verifier, in seconds. The
// top bit of each is dropped, because not every file system can store it.
func (f newFile) stamps() (atime, mtime int64) {
	const mask = 1<<31 - 1
	return int64(binary.BigEndian.Uint32(f.verifier[:4]) & mask), int64(binary.BigEndian.Uint32(f.verifier[4:]) & mask)
}

// existing opens the file that already has the name in a CREATE.
func (o *object) existing(name string, f newFile) (*object, error) {
	child, err := o.lookup(name)
	if err != nil {
		return nil, err
	}
	if err := child.reuse(f); err != nil {
		child.close()
		return nil, err
	}
	return child, nil
}

// reuse checks that an existing file satisfies the CREATE, and sets its size if the call asks
// for one. It sets no other attribute.
func (o *object) reuse(f newFile) error {
	if f.how == exclusive {
		atime, mtime := f.stamps()
		if !o.is(unix.S_IFREG) || o.attr.Size != 0 || o.attr.Atime.Sec != atime || o.attr.Mtime.Sec != mtime {
			return statusExist
		}
		return nil
	}
	switch {
	case o.is(unix.S_IFDIR):
		return statusIsDir
	case !o.is(unix.S_IFREG):
		return statusExist
	case f.want.size == nil:
		return nil
	}
	return o.truncate(*f.want.size)
}
