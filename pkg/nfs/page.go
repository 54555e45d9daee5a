package nfs

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A directory is quiescent if it has not changed for quietTime. The next change of its entries
// then also changes its times, whoever makes the change. So what is known about its names holds
// until its times change.
//
// Attributes of its files can change without that. Those in a page are valid for pageTime,
// because a program on this machine may change them, and only until a client changes anything in
// the tree. Clients cache attributes for longer (Linux for at least 3 s), and the server never
// answers GETATTR and LOOKUP, which clients send before they open a file, from a page.
const (
	// quietTime exceeds the resolution of any file system's times: ext4 with inodes of 128 bytes
	// stores whole seconds.
	quietTime = 2 * time.Second
	pageTime  = time.Second
)

// quiescent reports whether the directory o is quiescent.
func (o *object) quiescent() bool {
	changed := time.Unix(o.attr.Ctime.Sec, int64(o.attr.Ctime.Nsec))
	return time.Since(changed) > quietTime
}

// moved reports whether the directory o, which was quiescent, has changed since
// the call opened it.
func (o *object) moved() bool {
	now, err := o.stat()
	return err != nil || now.Ctime != o.attr.Ctime || now.Mtime != o.attr.Mtime
}

// maySearch reports whether the caller may search the directory o.
func (o *object) maySearch() bool {
	return o.as(func() error { return o.access(unix.X_OK) }) == nil
}

// An entry is a directory entry with its wire handle, which is nil if it is unknown.
type entry struct {
	dirent
	wire []byte
}

// A page holds the entries that one READDIRPLUS found in a quiescent directory. It does not
// change once it is in the cache.
type page struct {
	ctime, mtime unix.StatxTimestamp // of the directory
	entries      []entry
	eof          bool

	out     []byte    // the entries as they were sent
	filled  time.Time // before the first attributes were read
	changes uint64    // of the tree, at that time
}

func newPage(dir *object) *page {
	return &page{
		ctime: dir.attr.Ctime, mtime: dir.attr.Mtime,
		filled: time.Now(), changes: dir.tree.changes.Load(),
	}
}

// current reports whether the attributes in p are still valid.
func (p *page) current(dir *object) bool {
	return p.changes == dir.tree.changes.Load() && time.Since(p.filled) < pageTime
}

// size returns the approximate size of p in bytes.
func (p *page) size() int {
	const ofEntry = 160 // including its name and handle
	return cap(p.out) + ofEntry*len(p.entries)
}

// maxPages bounds the size of the cache in bytes, which is enough for about 100,000 names. Each
// of the two halves of a pageCache uses at most half of it.
const maxPages = 16 << 20

// A pageCache holds the most recently used pages. The zero value is empty.
type pageCache struct {
	mu         sync.Mutex
	young, old map[pageKey]*page // when young is full, it replaces old
	size       int               // of young
}

// A pageKey is a directory's wire handle and the cookie that the page follows.
type pageKey struct {
	dir    string
	cookie uint64
}

// find returns the page of dir after cookie, if dir has not changed since.
func (c *pageCache) find(dir *object, cookie uint64) *page {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.young[pageKey{string(dir.wire), cookie}]
	if p == nil {
		p = c.old[pageKey{string(dir.wire), cookie}]
		if p != nil {
			c.keepLocked(pageKey{string(dir.wire), cookie}, p)
		}
	}
	if p == nil || p.ctime != dir.attr.Ctime || p.mtime != dir.attr.Mtime {
		return nil
	}
	return p
}

func (c *pageCache) keep(dir *object, cookie uint64, p *page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keepLocked(pageKey{string(dir.wire), cookie}, p)
}

func (c *pageCache) keepLocked(key pageKey, p *page) {
	if c.young == nil || c.size+p.size() > maxPages/2 {
		c.old, c.young, c.size = c.young, map[pageKey]*page{}, 0
	}
	if was := c.young[key]; was != nil {
		c.size -= was.size()
	}
	c.young[key] = p
	c.size += p.size()
}
