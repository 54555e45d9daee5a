package nfs

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// freeInodes is the reciprocal of the fraction of inodes that stay free if MinFree is set:
	// one in freeInodes.
	freeInodes = 100

	// floorAge is how long a file system's report of its free space is valid, because other
	// programs write there too.
	floorAge = time.Second

	// floorShare is the reciprocal of the share of the free space that the clients of one export
	// may use before the server asks the file system again. It applies where the server cannot
	// tell which exports are on the same file system.
	floorShare = 32
)

// A floor tracks the free space of a file system, so that calls leave MinFree of it. All exports
// on the file system share one. Its mutex is held while the file system is asked, because calls that
// want space have to wait for the answer.
type floor struct {
	mu       sync.Mutex
	bytes    int64 // free, less what calls have taken since; the server asks the file system before they take more
	inodes   int64
	spared   int64 // the number of inodes that must stay free
	until    time.Time
	unsynced int64 // bytes that calls took and the file system may not have counted yet
	trees    int   // guarded by the floors' mutex
}

// intakeHalf is the half-life of an intake.
const intakeHalf = 24 * time.Hour

// An intake is what the clients of an export have recently taken of a file system. The server
// refuses calls of clients that took much before those of clients that took little, so that the
// former cannot stop the latter. The floor's mutex guards an intake. The zero value is an empty
// intake.
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

// floors are the floors in use, by device number. The zero value is empty.
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

// reserve returns statusNoSpc if c would take more than t's floor permits.
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

// hasLocked reports whether t's share stays free after c.
func (f *floor) hasLocked(t *tree, c cost) bool {
	bytes, inodes := f.keptLocked(t)
	return f.bytes-c.disk >= bytes && (c.names == 0 || f.inodes-c.names >= inodes)
}

// keptLocked returns the share that t must leave free: MinFree and a hundredth of the inodes,
// and as much again at most, depending on how much its clients took.
func (f *floor) keptLocked(t *tree) (bytes, inodes int64) {
	i := t.intake
	i.add(cost{}, time.Now())
	least := t.export.MinFree
	return least + int64(min(float64(least), i.bytes)), f.spared + int64(min(float64(f.spared), i.names))
}

// kept is keptLocked for callers that do not hold the mutex.
func (f *floor) kept(t *tree) (bytes, inodes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keptLocked(t)
}

// took records what a call of t's clients has actually taken.
func (f *floor) took(t *tree, c cost) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.intake.add(c, time.Now())
}

// askLocked asks t's file system for its free space. If the file system counts written data late
// and the space might be too small for c, askLocked syncs the file system first.
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

// shareLocked limits what calls may take before the server asks again, to c at least.
func (f *floor) shareLocked(t *tree, c cost) {
	if t.manyDevices {
		bytes, inodes := f.keptLocked(t)
		f.bytes = bytes + max(c.disk, (f.bytes-bytes)/floorShare)
		f.inodes = inodes + max(c.names, (f.inodes-inodes)/floorShare)
	}
}

// statLocked asks how many bytes and inodes are available to clients.
func (f *floor) statLocked(t *tree) error {
	const plenty = 1 << 62 // for what the file system does not count
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

// reserveCopy reserves space for the copy that an overlay makes of o on the first change, if o
// may be a file of the layer below.
func (o *object) reserveCopy() error {
	if !o.tree.copiesUp || !o.is(unix.S_IFREG) || isUpper(o.fh) {
		return nil
	}
	return o.tree.reserve(cost{disk: roundUp(o.attr.Size)})
}

// isUpper reports whether an overlay's handle names a file that exists in the upper layer only.
// A file that the overlay has copied up keeps its lower handle (linux, fs/overlayfs).
func isUpper(fh unix.FileHandle) bool {
	const (
		typeV1         = 0xf8
		atMagic, magic = 4, 0xfb
		atFlags, upper = 6, 0x04
	)
	b := fh.Bytes()
	return fh.Type() == typeV1 && len(b) > atFlags && b[atMagic] == magic && b[atFlags]&upper != 0
}
