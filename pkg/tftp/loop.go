package tftp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A loop moves transfers on whose clients have answered, or should have. In a
// boot storm nearly every packet waits for an ACK, and to wake a goroutine for
// each costs more than the packet itself: one loop per processor serves them all
// with two system calls a packet. Nothing in it waits for a disk, see chunks.
type loop struct {
	epoll int
	wake  int // an eventfd: there is something in added or filled
	now   time.Time
	in    [headerLen + defaultBlock]byte // what a client sends
	out   []byte                         // a packet being made

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
	l := &loop{transfers: map[int32]*transfer{}, wake: -1}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("tftp: making an epoll descriptor: %w", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = l.watch(l.wake)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tftp: making an event descriptor: %w", err), l.close())
	}
	return l, nil
}

func (l *loop) watch(fd int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (l *loop) close() error {
	err := unix.Close(l.epoll)
	if l.wake >= 0 {
		err = errors.Join(err, unix.Close(l.wake))
	}
	return err
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
	l.tell()
	return true
}

// chunkRead tells the loop that a transfer's next chunk has come from the disk.
func (l *loop) chunkRead(t *transfer) {
	l.mu.Lock()
	l.filled = append(l.filled, t)
	l.mu.Unlock()
	l.tell()
}

func (l *loop) tell() {
	// It fails only where the counter is full: then the loop knows already.
	_, _ = unix.Write(l.wake, binary.NativeEndian.AppendUint64(nil, 1))
}

// run moves transfers until ctx ends, and then ends them.
func (l *loop) run(ctx context.Context, tick time.Duration) error {
	stop := context.AfterFunc(ctx, l.tell)
	defer stop()
	tick = max(minTick, min(tick, maxTick))
	events := make([]unix.EpollEvent, maxEvents)
	for look := time.Now(); ; {
		n, err := unix.EpollWait(l.epoll, events, int(tick/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("tftp: waiting for packets: %w", err)
		}
		l.now = time.Now()
		for _, e := range events[:max(n, 0)] {
			l.ready(int(e.Fd))
		}
		if ctx.Err() != nil {
			l.endAll(context.Cause(ctx))
			return nil
		}
		if l.now.Sub(look) >= tick {
			look = l.now
			l.checkClocks()
		}
	}
}

// ready serves a descriptor that has something to read.
func (l *loop) ready(fd int) {
	if fd == l.wake {
		var counter [8]byte
		_, _ = unix.Read(l.wake, counter[:])
		l.takeNews()
		return
	}
	t := l.transfers[int32(fd)]
	if t == nil {
		return
	}
	n, err := receive(fd, l.in[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil {
		l.end(t, fmt.Errorf("waiting for an ACK: %w", err))
		return
	}
	l.after(t, t.received(l, l.in[:n]))
}

// takeNews begins the transfers that were added, and goes on with those that
// waited for their file.
func (l *loop) takeNews() {
	l.mu.Lock()
	added, filled := l.added, l.filled
	l.added, l.filled = nil, nil
	l.mu.Unlock()
	for _, t := range added {
		l.transfers[int32(t.fd)] = t
		err := l.watch(t.fd)
		if err == nil {
			err = t.begin(l)
		}
		l.after(t, err)
	}
	for _, t := range filled {
		if l.transfers[int32(t.fd)] == t {
			l.after(t, t.resume(l))
		}
	}
}

// after ends a transfer that is complete or cannot go on.
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
			l.after(t, t.silent(l))
		}
	}
}

func (l *loop) end(t *transfer, err error) {
	delete(l.transfers, int32(t.fd))
	t.finish(err)
}

func (l *loop) endAll(err error) {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.takeNews()
	for _, t := range l.transfers {
		l.end(t, err)
	}
}

// receive reads a datagram without waiting, and without what the runtime does
// around a call that might.
func receive(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// transmit sends a datagram without waiting.
func transmit(fd int, p []byte) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
