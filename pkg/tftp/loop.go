package tftp

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A loop moves transfers on whose clients have answered, or should have. In a
// boot storm nearly every packet waits for an ACK, and to wake a goroutine for
// each costs more than the packet itself: one loop per processor serves them all
// with two system calls a packet. Nothing in it waits for a disk, see chunks.
type loop struct {
	*poller // woken when there is something in added or filled
	now     time.Time
	in      [headerLen + defaultBlock]byte // what a client sends
	out     []byte                         // a packet being made

	transfers map[int32]*transfer // by socket

	mu     sync.Mutex
	ended  bool
	added  []*transfer
	filled []*transfer // whose next chunk has been read
}

// Of a loop: how many sockets it looks at in one go, and how often at its
// clocks.
const (
	maxEvents = 128
	maxTick   = 50 * time.Millisecond
	minTick   = time.Millisecond
)

func newLoop() (*loop, error) {
	p, err := newPoller()
	return &loop{poller: p, transfers: map[int32]*transfer{}}, err
}

// add has the loop make a transfer that is ready to send, and reports false if
// the loop has ended.
func (l *loop) add(t *transfer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.added = append(l.added, t)
	l.wake()
	return true
}

// chunkRead tells the loop that a transfer's next chunk has come from the disk.
func (l *loop) chunkRead(t *transfer) {
	l.mu.Lock()
	l.filled = append(l.filled, t)
	l.mu.Unlock()
	l.wake()
}

// run moves transfers until ctx ends or waiting for them fails, and then ends
// them. Whoever ends ctx has to wake it.
func (l *loop) run(ctx context.Context, tick time.Duration) (err error) {
	defer func() { l.endAll(cmp.Or(err, context.Cause(ctx))) }()
	tick = max(minTick, min(tick, maxTick))
	events := make([]unix.EpollEvent, maxEvents)
	for look := time.Now(); ctx.Err() == nil; {
		ready, err := l.wait(events, int(tick/time.Millisecond))
		if err != nil {
			return err
		}
		l.now = time.Now()
		for _, e := range ready {
			l.ready(int(e.Fd))
		}
		if l.now.Sub(look) >= tick {
			look = l.now
			l.checkClocks()
		}
	}
	return nil
}

// ready serves a descriptor that has something to read.
func (l *loop) ready(fd int) {
	if l.woken(fd) {
		l.drainInbox()
		return
	}
	t := l.transfers[int32(fd)]
	if t == nil {
		return
	}
	n, err := t.socket.receive(l.in[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil {
		l.end(t, fmt.Errorf("waiting for an ACK: %w", err))
		return
	}
	l.after(t, t.received(l, l.in[:n]))
}

// drainInbox starts the transfers that were added, and resumes those that waited
// for their file.
func (l *loop) drainInbox() {
	l.mu.Lock()
	added, filled := l.added, l.filled
	l.added, l.filled = nil, nil
	l.mu.Unlock()
	for _, t := range added {
		l.transfers[int32(t.socket.fd)] = t
		err := l.watch(t.socket.fd)
		if err == nil {
			err = t.begin(l)
		}
		l.after(t, err)
	}
	for _, t := range filled {
		if l.transfers[int32(t.socket.fd)] == t {
			l.after(t, t.resume(l))
		}
	}
}

// after ends a transfer that is complete or has failed.
func (l *loop) after(t *transfer, err error) {
	if err != nil || t.complete() {
		l.end(t, err)
	}
}

func (l *loop) checkClocks() {
	for _, t := range l.transfers {
		switch cause := t.stopped.Load(); {
		case cause != nil:
			l.end(t, *cause)
		case l.now.After(t.end):
			l.end(t, errTooLong)
		case l.now.After(t.deadline) && !t.starved:
			l.after(t, t.onTimeout(l))
		}
	}
}

func (l *loop) end(t *transfer, err error) {
	delete(l.transfers, int32(t.socket.fd))
	t.finish(err)
}

func (l *loop) endAll(err error) {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.drainInbox()
	for _, t := range l.transfers {
		l.end(t, err)
	}
}
