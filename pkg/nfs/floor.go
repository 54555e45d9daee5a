package nfs

import (
	"math"
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
	spared   int64 // of the inodes, as many stay free
	until    time.Time
	unsynced int64 // bytes that calls took and the file system may not have counted
	trees    int   // guarded by the floors' mutex
}

// intakeHalf is the time in which half of an intake is forgotten.
const intakeHalf = 24 * time.Hour

// An intake is what the clients of an export took of a file system lately. Who
// took much is stopped before those who took little, and does not keep them
// from going on. It is guarded by the floor's mutex. The zero value is nothing.
type intake struct {
	bytes, names float64
	at           time.Time
}

func (i *intake) add(c cost, now time.Time) {
	if !i.at.IsZero() {
		left := math.Exp2(-float64(now.Sub(i.at)) / float64(intakeHalf))
		i.bytes, i.names = i.bytes*left, i.names*left
	}
	i.at = now
	i.bytes += float64(max(0, c.bytes))
	i.names += float64(max(0, c.names))
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
	if time.Now().After(f.until) || !f.hasLocked(t, c) {
		if err := f.askLocked(t, c); err != nil {
			return err
		}
		if !f.hasLocked(t, c) {
			return statusNoSpc
		}
		f.shareLocked(t, c)
	}
	f.bytes -= c.disk
	f.inodes -= c.names
	f.unsynced += c.disk
	return nil
}

// hasLocked reports whether c leaves free what t has to leave.
func (f *floor) hasLocked(t *tree, c cost) bool {
	bytes, inodes := f.keptLocked(t)
	return f.bytes-c.disk >= bytes && (c.names == 0 || f.inodes-c.names >= inodes)
}

// keptLocked is what t has to leave free: MinFree and a hundredth of the inodes,
// and up to as much again if its clients took as much.
func (f *floor) keptLocked(t *tree) (bytes, inodes int64) {
	i := t.intake
	i.add(cost{}, time.Now())
	least := t.export.MinFree
	return least + int64(min(float64(least), i.bytes)), f.spared + int64(min(float64(f.spared), i.names))
}

// kept is keptLocked.
func (f *floor) kept(t *tree) (bytes, inodes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keptLocked(t)
}

// took says what a call of t's clients took in the end.
func (f *floor) took(t *tree, c cost) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.intake.add(c, time.Now())
}

// askLocked asks t's file system for what is free. One that counts late what was
// written has to write it first, if there might be too little for c.
func (f *floor) askLocked(t *tree, c cost) error {
	var err error
	if err = f.statLocked(t); err != nil {
		return err
	}
	kept, _ := f.keptLocked(t)
	if t.lateSpace && f.unsynced > 0 && f.bytes-f.unsynced < kept+c.disk {
		if err := unix.Syncfs(t.root); err != nil {
			return err
		}
		f.unsynced = 0
		if err = f.statLocked(t); err != nil {
			return err
		}
	}
	if t.lateSpace {
		f.bytes -= f.unsynced
	}
	f.until = time.Now().Add(floorAge)
	return nil
}

// shareLocked leaves f what calls may take before it asks again: c at least.
func (f *floor) shareLocked(t *tree, c cost) {
	if t.manyDevices {
		bytes, inodes := f.keptLocked(t)
		f.bytes = bytes + max(c.disk, (f.bytes-bytes)/floorShare)
		f.inodes = inodes + max(c.names, (f.inodes-inodes)/floorShare)
	}
}

// statLocked asks how many bytes and inodes clients can have.
func (f *floor) statLocked(t *tree) error {
	const plenty = 1 << 62 // of what the file system does not count
	var fs unix.Statfs_t
	if err := unix.Fstatfs(t.root, &fs); err != nil {
		return err
	}
	f.bytes, f.inodes, f.spared = plenty, plenty, int64(fs.Files/freeInodes)
	if fs.Blocks > 0 {
		f.bytes = int64(fs.Bavail) * int64(fs.Bsize)
	}
	if fs.Files > 0 {
		f.inodes = int64(fs.Ffree)
	}
	return nil
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
