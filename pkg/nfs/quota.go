package nfs

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pageSize is the least space that a file or an entry uses, in bytes.
	pageSize = 4096

	// impliedNames is MaxNames for an export that has only MaxBytes, because the server can
	// limit only what it can count.
	impliedNames = 1_000_000

	// walkPatience is how long a call waits for a walk. A longer walk continues
	// without the call, and the client retries seconds later (NFS3ERR_JUKEBOX).
	walkPatience = 200 * time.Millisecond

	// walkPause times the duration of a walk must pass before the next, so that
	// a client that fills and empties its export all day costs little.
	walkPause = 20

	// An export is walked again after fullAge if it is at its limit, else after
	// countAge, even if its clients have removed nothing: something on this
	// machine may have changed its files.
	fullAge  = 10 * time.Second
	countAge = 15 * time.Minute

	// limitEvery is how often at most an export at its limit is reported.
	limitEvery = time.Minute
)

// A LimitEvent reports that the server refused calls because an export is at a limit.
type LimitEvent struct {
	Export string // the export's path
	Reason string // for people
}

// A cost is what a call adds to an export.
type cost struct {
	bytes, names int64 // below the export
	disk         int64 // bytes that the file system may need for the call
}

// usage is how many bytes of a quota a file uses: its size, without the holes of
// a sparse file and without blocks that the file system has preallocated.
func usage(st *unix.Statx_t) int64 {
	used := int64(st.Blocks * 512)
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		used = min(used, roundUp(st.Size))
	}
	return used
}

func roundUp(n uint64) int64 {
	return int64((min(n, maxOffset-pageSize) + pageSize - 1) &^ (pageSize - 1))
}

// grown returns by how much usage has grown. It is unknown if attributes could not be read.
func (w wcc) grown() (n int64, known bool) {
	if w.before == nil || w.after == nil {
		return 0, false
	}
	return usage(w.after) - usage(w.before), true
}

// A quota is an upper bound of what lies below an export that has MaxBytes or MaxNames: the
// result of a walk, plus what all calls have added since. The next walk accounts for what they
// removed. So the bound holds even if something changes a file behind the server's back or
// during a walk. The zero value has no walk yet. A quota outlives its tree if the export is
// changed.
type quota struct {
	mu    sync.Mutex
	known bool          // a walk has finished
	found cost          // by the last walk
	at    time.Time     // end of the last walk
	added cost          // since the last walk started
	less  bool          // something may have been removed since
	next  time.Time     // earliest start of the next walk
	walk  chan struct{} // closed when the current walk ends; nil: no walk

	reported time.Time // last call of OnLimit

	// A walk holds renames for writing, because it would miss a file that moves from a directory
	// not yet walked to one already walked.
	renames sync.RWMutex
}

func (t *tree) limited() bool { return t.export.MaxBytes > 0 || t.export.MaxNames > 0 }

func (t *tree) maxNames() int64 {
	if t.export.MaxNames > 0 {
		return t.export.MaxNames
	}
	return impliedNames
}

// sharesQuota reports whether the quota of old is valid for t. A walk stops when it exceeds the
// limits, so its result is valid for these limits only.
func (t *tree) sharesQuota(old *tree) bool {
	a, b := t.export, old.export
	return a.ID == b.ID && a.Dir == b.Dir && a.Only == b.Only && a.MaxBytes == b.MaxBytes && a.MaxNames == b.MaxNames
}

// fits reports whether c is within the limits of the export.
func (t *tree) fits(c cost) bool {
	return (t.export.MaxBytes <= 0 || c.bytes <= t.export.MaxBytes) && c.names <= t.maxNames()
}

// reserve reserves c, which a call is about to add, or returns why it does not
// fit. The call then reports with finalize what it has added.
func (t *tree) reserve(c cost) error {
	err := t.floor.reserve(t, c)
	if err == nil && t.limited() && (c.bytes > 0 || c.names > 0) {
		err = t.quota.reserve(t, c)
	}
	if err == statusDQuot || err == statusNoSpc {
		t.reportLimit(err)
	}
	return err
}

// reportLimit reports that the export is at a limit, unless it was reported just before.
func (t *tree) reportLimit(err error) {
	q := t.quota
	q.mu.Lock()
	soon := time.Since(q.reported) < limitEvery
	if !soon {
		q.reported = time.Now()
	}
	reason := fmt.Sprintf("its file system has no more than the %d MB free that are kept for others", t.export.MinFree/1e6)
	if err == statusDQuot {
		reason = fmt.Sprintf("it holds %d MB and %d names; %s allowed",
			(q.found.bytes+q.added.bytes)/1e6, q.found.names+q.added.names, t.allowance())
	}
	q.mu.Unlock()
	if soon {
		return
	}
	t.server.log().Warn("export at its limit", "export", t.export.Path, "err", reason)
	if t.server.OnLimit != nil {
		t.server.OnLimit(LimitEvent{Export: t.export.Path, Reason: reason})
	}
}

// allowance returns the limits in words.
func (t *tree) allowance() string {
	if t.export.MaxBytes <= 0 {
		return fmt.Sprintf("%d names are", t.maxNames())
	}
	return fmt.Sprintf("%d MB and %d names are", t.export.MaxBytes/1e6, t.maxNames())
}

// finalize replaces a reservation with what the call has actually added.
func (t *tree) finalize(reserved, actual cost) {
	t.floor.took(t, actual)
	if !t.limited() {
		return
	}
	q := t.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	q.added.bytes += max(0, actual.bytes) - reserved.bytes
	q.added.names += max(0, actual.names) - reserved.names
	q.less = q.less || actual.bytes < 0 || actual.names < 0
}

// finalizeGrown corrects the reservation for one object.
func (t *tree) finalizeGrown(reserved cost, w wcc) {
	actual := cost{}
	n, known := w.grown()
	switch {
	case t.lateBlocks || !known:
		actual.bytes = reserved.bytes
		t.freed()
	default:
		actual.bytes = n
	}
	t.finalize(reserved, actual)
}

// freed records that less may lie below t than the quota has counted.
func (t *tree) freed() {
	if t.limited() {
		t.quota.mu.Lock()
		t.quota.less = true
		t.quota.mu.Unlock()
	}
}

// reserve is tree.reserve for the limits of the export.
func (q *quota) reserve(t *tree, c cost) error {
	walk, err := q.try(t, c)
	if walk == nil {
		return err
	}
	patience := time.NewTimer(walkPatience)
	defer patience.Stop()
	select {
	case <-walk:
	case <-patience.C:
		return statusJukebox
	}
	_, err = q.try(t, c)
	return err
}

// try reserves c. If it cannot, it returns the reason and the walk that may change that.
func (q *quota) try(t *tree, c cost) (walk <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	sum := cost{bytes: q.found.bytes + q.added.bytes + c.bytes, names: q.found.names + q.added.names + c.names}
	age := time.Since(q.at)
	if q.known && t.fits(sum) {
		q.added.bytes, q.added.names = q.added.bytes+c.bytes, q.added.names+c.names
		if age > countAge {
			q.startLocked(t)
		}
		return nil, nil
	}
	if q.known && !q.less && age < fullAge {
		return nil, statusDQuot
	}
	q.startLocked(t)
	return q.walk, statusJukebox
}

// startLocked starts a walk unless one is running or the last one has just ended.
func (q *quota) startLocked(t *tree) {
	if q.walk != nil || time.Now().Before(q.next) {
		return
	}
	done := make(chan struct{})
	q.walk, q.less = done, false
	began := q.added
	t.walks.Go(func() {
		defer close(done)
		start := time.Now()
		found, err := q.count(t)
		q.mu.Lock()
		defer q.mu.Unlock()
		q.walk, q.next = nil, time.Now().Add(walkPause*time.Since(start))
		if err != nil {
			q.less = true
			if !errors.Is(err, errWalkStopped) {
				t.server.log().Error("counting what lies below an export", "export", t.export.Path, "err", err)
			}
			return
		}
		q.known, q.found, q.at = true, found, time.Now()
		q.added.bytes, q.added.names = q.added.bytes-began.bytes, q.added.names-began.names
	})
}

// count waits for its turn and walks t.
func (q *quota) count(t *tree) (cost, error) {
	select {
	case t.server.walking <- struct{}{}:
		defer func() { <-t.server.walking }()
	case <-t.stop:
		return cost{}, errWalkStopped
	}
	q.renames.Lock()
	defer q.renames.Unlock()
	return t.count()
}

// startRename prevents walks while a call moves an object, until the caller calls end.
func (t *tree) startRename() (end func(), err error) {
	if !t.limited() {
		return func() {}, nil
	}
	q := t.quota
	if q.renames.TryRLock() {
		return q.renames.RUnlock, nil
	}
	q.mu.Lock()
	walk := q.walk
	q.mu.Unlock()
	if walk != nil {
		patience := time.NewTimer(walkPatience)
		defer patience.Stop()
		select {
		case <-walk:
		case <-patience.C:
		}
	}
	if q.renames.TryRLock() {
		return q.renames.RUnlock, nil
	}
	return func() {}, statusJukebox
}

// used returns the current bound of what lies below t.
func (q *quota) used(t *tree) cost {
	q.mu.Lock()
	if !q.known || q.less || time.Since(q.at) > fullAge {
		q.startLocked(t)
	}
	walk := q.walk
	q.mu.Unlock()
	if walk != nil {
		patience := time.NewTimer(walkPatience)
		defer patience.Stop()
		select {
		case <-walk:
		case <-patience.C:
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return cost{bytes: q.found.bytes + q.added.bytes, names: q.found.names + q.added.names}
}

// Recount makes the server count the export at path again for its MaxBytes and MaxNames, because
// something below it was removed on this machine. It does nothing if the export does not exist.
func (s *Server) Recount(path string) {
	t := s.exports.at(path)
	if t == nil || !t.limited() {
		return
	}
	t.quota.mu.Lock()
	defer t.quota.mu.Unlock()
	t.quota.less, t.quota.next = true, time.Time{}
}
