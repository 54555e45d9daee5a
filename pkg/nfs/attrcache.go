package nfs

import (
	"encoding/binary"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An attrCache holds what READDIRPLUS has listed: names, attributes and handles. The next listing
// needs no system call for those that have not changed.
//
// The kernel reports every change of a file or directory on the file systems that are listed,
// whoever makes it and by whichever name, before the call that makes the change returns
// (fanotify(7)). A listing reads these reports before it uses the cache, so what it says is no
// older than the last change that anybody acknowledged. The kernel reports writes through a memory
// mapping only when the file is closed. It does not report reads, which change the time of access,
// nor where the file system puts blocks. Therefore attributes are valid for maxAge at most, as in
// other servers. LOOKUP and GETATTR never use the cache.
//
// The zero value is an empty cache.
type attrCache struct {
	mu      sync.Mutex
	group   int  // descriptor of the fanotify group, if open is set
	open    bool // else the cache is empty
	watched map[*tree]bool
	files   map[fileKey]*cachedFile
	handles map[string]*cachedFile       // by appendHandleKey, linked by next
	pages   map[string]map[pageKey]*page // by appendHandleKey of the directory
	names   int                          // in pages
	clock   uint64                       // counts files entered and changes reported
	changed map[string]uint64            // when the latest changes were reported, by handle
	since   uint64                       // changed has all changes after that
	reports []byte                       // buffer
	used    time.Time
	closer  *time.Timer // closes the group when no listing has used it for maxAge
}

const (
	// maxAge is how long attributes are valid if no change is reported.
	maxAge = time.Minute

	// maxLayeredAge is maxAge for overlays, whose layers a program may change without a report.
	maxLayeredAge = time.Second

	// maxCached bounds the files and names in the cache, to about 16 MB. A full cache starts again.
	maxCached = 80000

	// maxChanged bounds attrCache.changed.
	maxChanged = 1024

	// cacheReports is the size of the buffer for reports, in bytes.
	cacheReports = 16 << 10

	// cacheEvents are the changes that the kernel reports, with the handle of the file or, if
	// its entries have changed, of the directory.
	cacheEvents = unix.FAN_MODIFY | unix.FAN_ATTRIB | unix.FAN_CLOSE_WRITE | unix.FAN_MOVE_SELF | unix.FAN_DELETE_SELF |
		unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO | unix.FAN_ONDIR
)

// A fileKey is what a directory entry says of its file. It names one file until that is removed,
// which the kernel reports.
type fileKey struct {
	tree *tree
	ino  uint64
}

// A cachedFile is a file in the cache. The cache's mutex guards the fields from next on. The tail
// does not change once it is set.
type cachedFile struct {
	key    fileKey
	wire   []byte
	handle string      // as appendHandleKey makes it
	next   *cachedFile // has the same handle, in another tree
	tail   []byte      // attributes and wire handle as an entryplus3 has them; nil: not read yet
	born   uint64      // by the cache's clock
	read   time.Time   // before the attributes were read
	gone   bool        // no longer in the cache
}

// A page holds the entries that one READDIRPLUS has listed. It does not change.
type page struct {
	entries []entry
	eof     bool
	read    time.Time
}

// A pageKey names a page of a directory by the cookie that it follows.
type pageKey struct {
	tree   *tree
	cookie uint64
}

// appendHandleKey appends what identifies a file in reports.
func appendHandleKey(b []byte, kind int32, handle []byte) []byte {
	return append(binary.NativeEndian.AppendUint32(b, uint32(kind)), handle...)
}

// watch makes the kernel report changes in t's file system and returns the cache's clock. It
// reports false if the kernel cannot, for example in a container without CAP_SYS_ADMIN or for
// an overlay before Linux 6.6.
func (c *attrCache) watch(t *tree) (clock uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = time.Now()
	if !c.open && !c.openLocked() {
		return 0, false
	}
	ok, known := c.watched[t]
	if !known {
		const flags = unix.FAN_MARK_ADD | unix.FAN_MARK_FILESYSTEM
		ok = unix.FanotifyMark(c.group, flags, cacheEvents, t.root, "") == nil
		c.watched[t] = ok
	}
	return c.clock, ok
}

func (c *attrCache) openLocked() bool {
	const flags = unix.FAN_CLASS_NOTIF | unix.FAN_REPORT_FID | unix.FAN_NONBLOCK | unix.FAN_CLOEXEC
	group, err := unix.FanotifyInit(flags, unix.O_RDONLY)
	if err != nil {
		return false
	}
	c.group, c.open = group, true
	c.watched, c.reports = map[*tree]bool{}, make([]byte, cacheReports)
	c.emptyLocked()
	c.closer = time.AfterFunc(maxAge, c.closeUnused)
	return true
}

func (c *attrCache) emptyLocked() {
	c.files, c.handles = map[fileKey]*cachedFile{}, map[string]*cachedFile{}
	c.pages, c.names = map[string]map[pageKey]*page{}, 0
	c.changed, c.since = map[string]uint64{}, c.clock
}

// closeUnused closes the group unless a listing has used it lately: reports cost those who write
// to the file system a little.
func (c *attrCache) closeUnused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rest := maxAge - time.Since(c.used); rest > 0 {
		c.closer.Reset(rest)
		return
	}
	_ = unix.Close(c.group) // nothing was written to it
	c.emptyLocked()
	c.open, c.watched, c.reports = false, nil, nil
}

// forgetTree removes what belongs to t.
func (c *attrCache) forgetTree(t *tree) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.watched[t]; known {
		delete(c.watched, t)
		c.emptyLocked() // exports end seldom
	}
}

// forget removes the attributes of the file or directory with that handle.
func (c *attrCache) forget(fh unix.FileHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(appendHandleKey(nil, fh.Type(), fh.Bytes()))
}

func (c *attrCache) forgetLocked(handle []byte) {
	for f := c.handles[string(handle)]; f != nil; f = f.next {
		f.gone = true
		delete(c.files, f.key)
	}
	delete(c.handles, string(handle))
}

// forgetNamesLocked removes the names in the directory with that handle.
func (c *attrCache) forgetNamesLocked(handle []byte) {
	for _, p := range c.pages[string(handle)] {
		c.names -= len(p.entries)
	}
	delete(c.pages, string(handle))
}

func (c *attrCache) removeLocked(f *cachedFile) {
	f.gone = true
	delete(c.files, f.key)
	at := c.handles[f.handle]
	if at == f {
		if f.next == nil {
			delete(c.handles, f.handle)
		} else {
			c.handles[f.handle] = f.next
		}
		return
	}
	for ; at != nil; at = at.next {
		if at.next == f {
			at.next = f.next
			return
		}
	}
}

// list writes the entries of dir after cookie to l, if the cache has all that is needed. If it
// does not, but has the names, list returns them.
func (c *attrCache) list(dir *object, cookie uint64, l *listing) (names *page, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updateLocked()
	var key [maxHandle]byte
	p := c.pages[string(appendHandleKey(key[:0], dir.fh.Type(), dir.fh.Bytes()))][pageKey{dir.tree, cookie}]
	oldest := time.Now().Add(-dir.tree.cacheAge())
	if p == nil || p.read.Before(oldest) {
		return nil, false
	}
	for i := range p.entries {
		if f := p.entries[i].file; f == nil || f.gone || f.read.Before(oldest) {
			return p, false
		}
	}
	for i := range p.entries {
		if full, err := l.write(dir, &p.entries[i]); full || err != nil {
			l.out.Buf = l.out.Buf[:l.first]
			return p, false
		}
	}
	l.eof = p.eof
	return p, true
}

// keep adds the entries of dir after cookie, unless the directory has changed since clock, before
// its names were read.
func (c *attrCache) keep(dir *object, cookie uint64, p *page, clock uint64) {
	key := string(appendHandleKey(nil, dir.fh.Type(), dir.fh.Bytes()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updateLocked()
	if !c.open || clock < c.since || c.changed[key] > clock || !c.roomLocked(len(p.entries)) {
		return
	}
	if c.pages[key] == nil {
		c.pages[key] = map[pageKey]*page{}
	}
	if was := c.pages[key][pageKey{dir.tree, cookie}]; was != nil {
		c.names -= len(was.entries)
	}
	c.pages[key][pageKey{dir.tree, cookie}] = p
	c.names += len(p.entries)
}

// roomLocked reports whether n files or names can be added. If not, it empties the cache.
func (c *attrCache) roomLocked(n int) bool {
	if len(c.files)+c.names+n <= maxCached {
		return true
	}
	c.emptyLocked()
	return false
}

// cacheAge returns for how long the cache is right about files in t.
func (t *tree) cacheAge() time.Duration {
	if t.copiesUp {
		return maxLayeredAge
	}
	return maxAge
}

// find sets the files of those entries of dir that are in the cache and were there at clock,
// which was before the names were read: a file that was removed since may have given its number
// to another. It returns the clock.
func (c *attrCache) find(dir *object, clock uint64, entries []entry) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updateLocked()
	oldest := time.Now().Add(-dir.tree.cacheAge())
	for i := range entries {
		f := c.files[fileKey{dir.tree, entries[i].fileID}]
		if f != nil && f.tail != nil && f.born <= clock && f.read.After(oldest) {
			entries[i].file = f
		}
	}
	return c.clock
}

// enter adds files whose attributes the caller reads next, so that no change after that is
// missed. It leaves out those that have changed since clock, when the caller began to ask for
// their handles.
func (c *attrCache) enter(files []*cachedFile, clock uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updateLocked()
	if !c.open || clock < c.since || !c.roomLocked(len(files)) {
		return
	}
	now := time.Now()
	for _, f := range files {
		if c.changed[f.handle] > clock {
			continue
		}
		if was := c.files[f.key]; was != nil {
			c.removeLocked(was)
		}
		c.clock++
		f.born, f.read, f.next = c.clock, now, c.handles[f.handle]
		c.files[f.key], c.handles[f.handle] = f, f
	}
}

// confirm sets the tails of files that were entered and have not changed since, and reports
// which these are.
func (c *attrCache) confirm(files []*cachedFile, tails [][]byte) (same []bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updateLocked()
	same = make([]bool, len(files))
	for i, f := range files {
		if c.files[f.key] != f {
			continue
		}
		if tails[i] == nil {
			c.removeLocked(f)
			continue
		}
		f.tail, same[i] = tails[i], true
	}
	return same
}

// updateLocked removes the files of which the kernel has reported a change.
func (c *attrCache) updateLocked() {
	for c.open {
		n, err := unix.Read(c.group, c.reports)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			if err != unix.EAGAIN {
				c.emptyLocked() // not expected; without reports nothing is known
			}
			return
		}
		c.applyLocked(c.reports[:n])
		if n < len(c.reports)/2 { // there was room for another
			return
		}
	}
}

// Where what is in a report (fanotify(7)): struct fanotify_event_metadata, followed by a struct
// fanotify_event_info_fid, which contains a struct file_handle.
const (
	reportLen    = 0
	reportMask   = 8
	reportHead   = 24
	reportKind   = reportHead
	reportSize   = reportHead + 4 + 8 // after the header and the file system's id
	reportType   = reportSize + 4
	reportHandle = reportType + 4
)

func (c *attrCache) applyLocked(reports []byte) {
	for len(reports) >= reportHead {
		n := int(binary.NativeEndian.Uint32(reports[reportLen:]))
		if n < reportHead || n > len(reports) {
			break
		}
		report := reports[:n]
		reports = reports[n:]
		handle, ok := reportedHandle(report)
		if !ok { // some reports were lost
			c.emptyLocked()
			continue
		}
		c.forgetLocked(handle)
		c.forgetNamesLocked(handle)
		if len(c.changed) >= maxChanged {
			c.changed, c.since = map[string]uint64{}, c.clock
		}
		c.clock++
		c.changed[string(handle)] = c.clock
	}
}

// reportedHandle returns the handle in a report, as appendHandleKey makes it.
func reportedHandle(report []byte) (handle []byte, ok bool) {
	if len(report) < reportHandle || binary.NativeEndian.Uint64(report[reportMask:])&unix.FAN_Q_OVERFLOW != 0 ||
		report[reportKind] != unix.FAN_EVENT_INFO_TYPE_FID {
		return nil, false
	}
	size := uint64(binary.NativeEndian.Uint32(report[reportSize:]))
	if size > uint64(len(report)-reportHandle) {
		return nil, false
	}
	return report[reportType : reportHandle+int(size)], true
}
