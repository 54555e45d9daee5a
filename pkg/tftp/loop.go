package tftp

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A loop moves transfers on whose clients have answered, or should have. In a
// boot storm nearly every packet waits for an ACK, and to wake a goroutine for
// each costs more than the packet itself. So a loop has few sockets, each with
// many transfers, and reads and sends their packets in batches: the more boards
// there are, the less each packet costs. Nothing in it waits for a disk, see
// chunks.
type loop struct {
	load    int    // transfers it has been given; the listener's
	alarm   *alarm // rings when there is something in added or filled
	sockets [socketsPerLoop]*socket
	polled  []unix.PollFd // the alarm and the sockets
	now     time.Time
	in      inbox
	out     [socketsPerLoop]outbox

	transfers map[peer]*transfer

	mu     sync.Mutex
	ended  bool
	added  []*transfer
	filled []*transfer // whose next chunk has been read
}

// socketsPerLoop is how many ports a loop sends from. A client that uses its
// own port again gets another of ours, so that what it said late in its last
// transfer is not taken for a word in this one.
const socketsPerLoop = 2

// How often a loop looks at its clocks.
const (
	maxTick = 50 * time.Millisecond
	minTick = time.Millisecond
)

// newLoop returns a loop that sends from local.
func newLoop(local netip.Addr) (*loop, error) {
	l := &loop{transfers: make(map[peer]*transfer)}
	var err error
	if l.alarm, err = newAlarm(); err != nil {
		return nil, err
	}
	l.watch(l.alarm.fd)
	for i := range l.sockets {
		if l.sockets[i], err = newSocket(netip.AddrPortFrom(local, 0)); err != nil {
			l.close()
			return nil, err
		}
		l.watch(l.sockets[i].fd)
	}
	return l, nil
}

// watch makes wait report what can be read from fd.
func (l *loop) watch(fd int) {
	l.polled = append(l.polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
}

// close closes what newLoop opened. The loop must have ended.
func (l *loop) close() {
	l.alarm.close()
	for _, s := range l.sockets {
		if s != nil {
			s.close()
		}
	}
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
	l.alarm.ring()
	return true
}

// chunkRead tells the loop that a transfer's next chunk has come from the disk.
func (l *loop) chunkRead(t *transfer) {
	l.mu.Lock()
	l.filled = append(l.filled, t)
	l.mu.Unlock()
	l.alarm.ring()
}

// run moves transfers until ctx ends or waiting for them fails, and then ends
// them. Whoever ends ctx has to ring the alarm.
func (l *loop) run(ctx context.Context, tick time.Duration) (err error) {
	defer func() { l.endAll(cmp.Or(err, context.Cause(ctx))) }()
	tick = max(minTick, min(tick, maxTick))
	for look := time.Now(); ctx.Err() == nil; {
		if err := l.wait(tick); err != nil {
			return err
		}
		l.now = time.Now()
		if l.polled[0].Revents != 0 {
			l.alarm.reset()
			l.drainInbox()
		}
		for i := range l.sockets {
			if err := l.ready(i, l.polled[1+i].Revents); err != nil {
				return err
			}
		}
		if l.now.Sub(look) >= tick {
			look = l.now
			l.checkClocks()
		}
		l.sendAll()
	}
	return nil
}

// wait waits for packets or the alarm; where transfers run, no longer than a tick.
func (l *loop) wait(tick time.Duration) error {
	milliseconds := -1
	if len(l.transfers) > 0 {
		milliseconds = int(tick / time.Millisecond)
	}
	_, err := unix.Poll(l.polled, milliseconds)
	if err == unix.EINTR {
		for i := range l.polled {
			l.polled[i].Revents = 0
		}
		return nil
	}
	if err == nil && l.polled[0].Revents&unix.POLLNVAL != 0 {
		err = unix.EBADF
	}
	if err != nil {
		return fmt.Errorf("tftp: waiting for packets: %w", err)
	}
	return nil
}

// ready serves a socket of which poll(2) has reported events.
func (l *loop) ready(socket int, events int16) error {
	if events&unix.POLLERR != 0 {
		l.endUnreachable(socket)
	}
	if events == 0 {
		return nil
	}
	n, err := l.in.receive(l.sockets[socket])
	if err != nil {
		return err
	}
	for i := range n {
		client, packet := l.in.at(i)
		client.socket = uint16(socket)
		if t := l.transfers[client]; t != nil {
			l.after(t, t.received(l, packet))
		}
	}
	return nil
}

// endUnreachable ends the transfers of clients that have closed their ports.
func (l *loop) endUnreachable(socket int) {
	for {
		client, ok := l.sockets[socket].unreachable()
		if !ok {
			return
		}
		client.socket = uint16(socket)
		if t := l.transfers[client]; t != nil {
			l.end(t, fmt.Errorf("waiting for an ACK: %w", syscall.ECONNREFUSED))
		}
	}
}

// drainInbox starts the transfers that were added, and resumes those that waited
// for their file.
func (l *loop) drainInbox() {
	l.mu.Lock()
	added, filled := l.added, l.filled
	l.added, l.filled = nil, nil
	l.mu.Unlock()
	for _, t := range added {
		if before := l.transfers[t.peer]; before != nil {
			l.end(before, errReplaced)
		}
		l.transfers[t.peer] = t
		t.begin(l)
	}
	for _, t := range filled {
		if l.transfers[t.peer] == t {
			l.after(t, t.resume(l))
		}
	}
}

// put adds a packet to what is sent when all that has come is answered.
func (l *loop) put(t *transfer, header [headerLen]byte, data []byte) {
	out := &l.out[t.peer.socket]
	if out.full() {
		l.send(t.peer.socket)
	}
	out.add(t, header, data)
}

func (l *loop) sendAll() {
	for i := range l.out {
		l.send(uint16(i))
	}
}

// send empties an outbox.
func (l *loop) send(socket uint16) {
	s, out := l.sockets[socket], &l.out[socket]
	defer out.clear()
	for at := 0; at < out.n; at++ {
		sent, err := s.sendAll(out.messages[at:out.n])
		at += sent
		if err != nil && out.windows[at].count > 1 && !out.whole {
			out.whole = true // neither the network card nor the kernel can cut
			_, err = s.sendAll(out.apart(at))
		}
		if err != nil {
			l.fail(out.windows[at].of, err)
		}
	}
}

// fail ends a transfer whose packets cannot be sent.
func (l *loop) fail(t *transfer, err error) {
	l.end(t, fmt.Errorf("sending block %d: %w", t.next-1, err))
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

// end ends a transfer, unless it has ended.
func (l *loop) end(t *transfer, err error) {
	if l.transfers[t.peer] != t {
		return
	}
	delete(l.transfers, t.peer)
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
