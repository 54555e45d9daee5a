package nfs

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A committer commits the journal of a file system, in which all changes of inodes and directories
// are in their order. One commit serves all calls that wait for it, of whichever export: each
// waits for a commit that started after its change.
type committer struct {
	file  int // without a name, in the file system
	trees int // guarded by the committers' mutex

	mu      sync.Mutex
	running bool    // somebody commits
	next    *commit // starts when that has ended; nil: nobody waits for it
}

// A commit is one commit of a journal.
type commit struct {
	lead chan struct{} // holds an item for the call that is to commit
	done chan struct{}
	err  error // once done is closed
}

// sync returns once all earlier changes are on the disk.
func (c *committer) sync() error {
	c.mu.Lock()
	mine := c.next
	if mine == nil {
		mine = &commit{lead: make(chan struct{}, 1), done: make(chan struct{})}
		c.next = mine
		if !c.running {
			c.running = true
			mine.lead <- struct{}{}
		}
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
	case <-mine.lead:
		c.commit(mine)
	}
	return mine.err
}

// commit makes the commit that is next, and lets one of those that have come meanwhile make the
// one after it.
func (c *committer) commit(mine *commit) {
	c.mu.Lock()
	c.next = nil
	c.mu.Unlock()
	mine.err = touch(c.file)
	close(mine.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = c.next != nil
	if c.running {
		c.next.lead <- struct{}{}
	}
}

// touch changes the times of a file that has no name, and syncs it. Where one
// journal takes all changes of inodes in their order, that brings the earlier
// ones to the disk as well.
func touch(fd int) error {
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	if err := unix.UtimesNanoAt(fd, "", now, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("touching an unnamed file: %w", err)
	}
	return unix.Fsync(fd)
}

// committers are the committers in use, by device number. The zero value is empty.
type committers struct {
	mu  sync.Mutex
	all map[uint64]*committer
}

// enter returns the committer of the file system with that device number and that directory.
func (cs *committers) enter(dev uint64, dir int) (*committer, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.all[dev]
	if c == nil {
		file, err := unix.Openat(dir, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		if cs.all == nil {
			cs.all = map[uint64]*committer{}
		}
		c = &committer{file: file}
		cs.all[dev] = c
	}
	c.trees++
	return c, nil
}

// leave ends one enter.
func (cs *committers) leave(dev uint64) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.all[dev]
	if c.trees--; c.trees > 0 {
		return nil
	}
	delete(cs.all, dev)
	return unix.Close(c.file)
}

// syncChange brings what a call has changed about o, or in it if it is a directory, to the disk,
// but not what is written in files. In a relaxed export it promises to.
func (o *object) syncChange() error {
	t := o.tree
	if t.export.Relaxed {
		t.syncSoon()
		return nil
	}
	if !t.syncer.inOrder(t) {
		return o.sync()
	}
	return t.checkSync(t.syncer.sync(t))
}

// syncMade is syncChange for a directory in which an entry for child was made.
func (o *object) syncMade(child *object) error {
	if t := o.tree; t.export.Relaxed || t.syncer.inOrder(t) {
		return o.syncChange()
	}
	return errors.Join(child.syncNew(), o.sync())
}

// syncMoved is syncChange for two directories.
func (o *object) syncMoved(to *object) error {
	if t := o.tree; t.export.Relaxed || t.syncer.inOrder(t) {
		return o.syncChange()
	}
	return errors.Join(o.sync(), to.sync())
}

// checkSync makes clients write again what may be lost if a sync has failed.
func (t *tree) checkSync(err error) error {
	if err != nil {
		t.server.newVerifier()
		return fmt.Errorf("syncing: %w", err)
	}
	return nil
}

// relaxedDelay is how long changes in a relaxed export wait for others before they are brought to
// the disk, which has the rest of a second for it.
const relaxedDelay = 500 * time.Millisecond

// A lateSync is a sync that relaxed calls have promised. The zero value is none.
type lateSync struct {
	mu      sync.Mutex
	pending *time.Timer
}

// syncSoon brings all earlier changes in t to the disk within a second.
func (t *tree) syncSoon() {
	t.late.mu.Lock()
	defer t.late.mu.Unlock()
	if t.late.pending == nil {
		t.calls.Add(1)
		t.late.pending = time.AfterFunc(relaxedDelay, t.syncLate)
	}
}

func (t *tree) syncLate() {
	defer t.calls.Done()
	t.late.mu.Lock()
	t.late.pending = nil // what comes now has a sync of its own
	t.late.mu.Unlock()
	if err := t.checkSync(t.syncer.sync(t)); err != nil {
		t.server.log().Error("changes that boards made may be lost by a power cut", "export", t.export.Path, "err", err)
	}
}
