package nfs

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// freeInodes is which part of a file system's inodes stays free where
	// MinFree is set.
	freeInodes = 100

	// floorAge is for how long it is believed what a file system said of its
	// free space: others write there too.
	floorAge = time.Second

	// floorShare is which part of that the clients of one export may use up
	// before it is asked again, where others on the same file system cannot be
	// told from those on another.
	floorShare = 32
)

// A floor knows what is free in a file system, so that calls leave MinFree of
// it. All exports on it share one.
type floor struct {
	mu       sync.Mutex
	bytes    int64 // free, less what calls took since; the file system is asked before they take more
	inodes   int64
	until    time.Time
	unsynced int64 // bytes that calls took and the file system may not have counted
	trees    int   // guarded by the floors' mutex
}

// floors are those in use, by device number. The zero value is empty.
type floors struct {
	mu  sync.Mutex
	all map[uint64]*floor
}

func (fs *floors) enter(dev uint64) *floor {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.all[dev]
	if f == nil {
		if fs.all == nil {
			fs.all = map[uint64]*floor{}
		}
		f = &floor{}
		fs.all[dev] = f
	}
	f.trees++
	return f
}

func (fs *floors) leave(dev uint64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.all[dev]
	if f.trees--; f.trees == 0 {
		delete(fs.all, dev)
	}
}

// reserve returns statusNoSpc if c would go below t's floor.
func (f *floor) reserve(t *tree, c cost) error {
	if f == nil || c.disk <= 0 && c.names <= 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	floor := t.export.MinFree
	if time.Now().After(f.until) || f.bytes-c.disk < floor || f.inodes < c.names {
		if err := f.ask(t, floor+c.disk); err != nil {
			return err
		}
		if f.bytes-c.disk < floor || f.inodes < c.names {
			return statusNoSpc
		}
		f.share(t, c)
	}
	f.bytes -= c.disk
	f.inodes -= c.names
	f.unsynced += c.disk
	return nil
}

// ask asks t's file system for what is free. One that counts late what was
// written has to write it first, if there might be less than wanted.
func (f *floor) ask(t *tree, wanted int64) error {
	var err error
	if f.bytes, f.inodes, err = t.free(); err != nil {
		return err
	}
	if t.lateSpace && f.unsynced > 0 && f.bytes-f.unsynced < wanted {
		if err := unix.Syncfs(t.root); err != nil {
			return err
		}
		f.unsynced = 0
		if f.bytes, f.inodes, err = t.free(); err != nil {
			return err
		}
	}
	if t.lateSpace {
		f.bytes -= f.unsynced
	}
	f.until = time.Now().Add(floorAge)
	return nil
}

// share leaves f what calls may take before it asks again: c at least.
func (f *floor) share(t *tree, c cost) {
	if t.manyDevices {
		f.bytes = t.export.MinFree + max(c.disk, (f.bytes-t.export.MinFree)/floorShare)
		f.inodes = max(c.names, f.inodes/floorShare)
	}
}

// free is how many bytes and inodes clients can have of t's file system.
func (t *tree) free() (bytes, inodes int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(t.root, &fs); err != nil {
		return 0, 0, err
	}
	bytes, inodes = freeOf(fs)
	return bytes, inodes, nil
}

func freeOf(fs unix.Statfs_t) (bytes, inodes int64) {
	const plenty = 1 << 62 // of what the file system does not count
	bytes, inodes = plenty, plenty
	if fs.Blocks > 0 {
		bytes = int64(fs.Bavail) * int64(fs.Bsize)
	}
	if fs.Files > 0 {
		inodes = int64(fs.Ffree) - int64(fs.Files/freeInodes)
	}
	return bytes, inodes
}

// reserveCopy makes sure that there is room for the copy that an overlay makes
// of o when it is first changed, if o may be a file of what it lies over.
func (o *object) reserveCopy() error {
	if !o.tree.copiesUp || !o.is(unix.S_IFREG) || isUpper(o.fh) {
		return nil
	}
	return o.tree.reserve(cost{disk: roundUp(o.attr.Size)})
}

// isUpper reports whether an overlay's handle is of a file that it has not
// copied. Of one that it has, the handle is as before (linux, fs/overlayfs).
func isUpper(fh unix.FileHandle) bool {
	const (
		typeV1         = 0xf8
		atMagic, magic = 4, 0xfb
		atFlags, upper = 6, 0x04
	)
	b := fh.Bytes()
	return fh.Type() == typeV1 && len(b) > atFlags && b[atMagic] == magic && b[atFlags]&upper != 0
}
