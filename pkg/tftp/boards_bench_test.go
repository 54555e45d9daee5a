//go:build bench

package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A board reads files as boot code does: lockstep, or windows of RFC 7440.
type board struct {
	addr   netip.Addr
	block  int
	window int
	loss   float64 // of the packets that come, this part is taken for lost
	random *rand.Rand
	sizes  map[string]int
	files  []string // of sizes, in the order in which they are read

	at       int       // of files: the one that is being read
	fd       int       // its socket; -1 where the board waits to boot again
	began    time.Time // the file, or the waiting
	heard    time.Time
	answered bool   // the server has, and fd is connected to it
	last     []byte // what is sent again where nothing is heard
	next     uint16 // block
	got      int    // bytes
	whole    bool   // the last block has come
	granted  int    // window
	inWindow int    // blocks that came in the window so far

	done    bool
	err     error         // why it gave up
	slowest time.Duration // of its files
	bytes   int64
	lost    int
	again   int // boots that were repeated
}

// Of a Pi 4: how long it waits for a packet before it repeats itself, how long it
// gives a file (TFTP_FILE_TIMEOUT), how long it waits before it boots again, and how
// often a board of this benchmark does that.
const (
	patience = 2 * time.Second
	fileTime = 30 * time.Second
	pause    = 5 * time.Second
	attempts = 3
)

func newBoard(i, block, window int, sizes map[string]int) *board {
	return &board{
		addr: boardAddr(i), block: block, window: window, random: rand.New(rand.NewPCG(uint64(i), 1)),
		sizes: sizes, files: slices.Sorted(maps.Keys(sizes)), fd: -1,
	}
}

// A crowd is boards that are switched on at once. One thread moves them all: real
// boards have processors of their own, so these may take little of the server's.
type crowd struct {
	epoll  int
	boards map[int32]*board // by socket
	left   int              // boards that are not done
	now    time.Time
	packet [headerLen + maxBlock]byte
}

const (
	crowdTick     = 50 * time.Millisecond
	receiveBuffer = 4 << 20 // bytes, of a socket
)

// bootAll boots all boards. It is to be called in their namespace.
func bootAll(boards []*board) error {
	c := &crowd{boards: make(map[int32]*board), left: len(boards), now: time.Now()}
	var err error
	if c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(c.epoll)
	for _, b := range boards {
		c.after(b, c.open(b))
	}
	events := make([]unix.EpollEvent, 128)
	for look := c.now; c.left > 0; {
		n, err := unix.EpollWait(c.epoll, events, int(crowdTick/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return err
		}
		c.now = time.Now()
		for _, e := range events[:max(n, 0)] {
			if b := c.boards[e.Fd]; b != nil {
				c.after(b, c.ready(b))
			}
		}
		if c.now.Sub(look) >= crowdTick {
			look = c.now
			for _, b := range boards {
				c.after(b, c.look(b))
			}
		}
	}
	return nil
}

// open asks for the board's next file from a fresh port.
func (c *crowd) open(b *board) error {
	var err error
	if b.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	c.boards[int32(b.fd)] = b
	name := b.files[b.at]
	b.last = fmt.Appendf(nil, "\x00\x01%s\x00octet\x00tsize\x000\x00blksize\x00%d\x00", name, b.block)
	if b.window > 1 {
		b.last = fmt.Appendf(b.last, "windowsize\x00%d\x00", b.window)
	}
	b.began, b.heard, b.answered = c.now, c.now, false
	b.next, b.got, b.whole, b.granted, b.inWindow = 1, 0, false, 1, 0
	return errors.Join(
		unix.Bind(b.fd, &unix.SockaddrInet4{Addr: b.addr.As4()}),
		unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, b.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(b.fd)}),
		b.say())
}

// close ends a file.
func (c *crowd) close(b *board) {
	delete(c.boards, int32(b.fd))
	unix.Close(b.fd)
	b.fd = -1
}

// after counts a board that gave up with err, if it did.
func (c *crowd) after(b *board, err error) {
	if err == nil {
		return
	}
	b.err, b.done = err, true
	if b.fd >= 0 {
		c.close(b)
	}
	c.left--
}

// say sends what the board says last.
func (b *board) say() error {
	if b.answered {
		return transmit(b.fd, b.last)
	}
	return unix.Sendto(b.fd, b.last, 0, &unix.SockaddrInet4{Port: 69, Addr: netip.MustParseAddrPort(speedAddr).Addr().As4()})
}

// look repeats, gives up and boots again, as time goes by.
func (c *crowd) look(b *board) error {
	switch {
	case b.done:
		return nil
	case b.fd < 0:
		if c.now.Sub(b.began) >= pause {
			b.at, b.again = 0, b.again+1
			return c.open(b)
		}
	case c.now.Sub(b.began) > fileTime:
		if b.again+1 == attempts {
			return fmt.Errorf("%s: %d bytes in %v", b.files[b.at], b.got, fileTime)
		}
		c.close(b)
		b.began = c.now
	case c.now.Sub(b.heard) > patience:
		b.heard = c.now
		return b.say()
	}
	return nil
}

// ready takes the packet that has come for a board.
func (c *crowd) ready(b *board) error {
	n, err := c.receive(b)
	if err == unix.EAGAIN || err == unix.EINTR || err == unix.ECONNREFUSED { // no boot code knows ICMP
		return nil
	}
	if err != nil || n < headerLen {
		return err
	}
	if b.loss > 0 && b.random.Float64() < b.loss {
		b.lost++
		return nil
	}
	b.heard = c.now
	if said, err := b.take(c.packet[:n]); err != nil || !said {
		return err
	}
	if err := b.say(); err != nil || !b.whole {
		return err
	}
	c.close(b)
	b.slowest = max(b.slowest, c.now.Sub(b.began))
	b.bytes += int64(b.got)
	if b.at++; b.at == len(b.files) {
		b.done = true
		c.left--
		return nil
	}
	return c.open(b)
}

// receive reads a packet. The first tells the port that the server has chosen.
func (c *crowd) receive(b *board) (int, error) {
	if b.answered {
		return receive(b.fd, c.packet[:])
	}
	n, from, err := unix.Recvfrom(b.fd, c.packet[:], unix.MSG_DONTWAIT)
	if err == nil {
		b.answered, err = true, unix.Connect(b.fd, from)
	}
	return n, err
}

// take has the board understand a packet, and reports whether it says something
// then.
func (b *board) take(packet []byte) (bool, error) {
	name := b.files[b.at]
	number := binary.BigEndian.Uint16(packet[2:])
	switch op := binary.BigEndian.Uint16(packet); {
	case op == opError:
		return false, fmt.Errorf("%s: ERROR %q", name, packet[headerLen:])
	case op == opOAck:
		if strings.Contains(string(packet), "windowsize") {
			b.granted = b.window
		}
		b.acknowledge(0)
		return true, nil
	case op == opData && number == b.next:
		b.got += len(packet) - headerLen
		b.inWindow++
		b.next++
		b.whole = len(packet) < b.block+headerLen
		if size := b.sizes[name]; b.got > size || b.whole && b.got < size {
			return false, fmt.Errorf("%s has %d bytes; want %d", name, b.got, size)
		}
		if b.inWindow < b.granted && !b.whole {
			return false, nil
		}
		b.acknowledge(number)
		return true, nil
	}
	// A repetition, or behind a gap.
	b.acknowledge(b.next - 1)
	return b.granted > 1, nil
}

func (b *board) acknowledge(number uint16) {
	b.inWindow = 0
	b.last = append(b.last[:0], 0, opAck, byte(number>>8), byte(number))
}

// receive reads a datagram without waiting, and without what the runtime does
// around a call that might: the boards are to take little of the processors.
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
