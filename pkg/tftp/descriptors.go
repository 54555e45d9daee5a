package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Raw descriptors are numbers, and a number that was closed soon belongs to
// another part of the process. So each is held by one of the types below, which
// know when it is closed and touch it no more.

// closed stands for a descriptor that is.
const closed = -1

// A socket is that of one transfer, connected to its client. One goroutine at a
// time has it.
type socket struct{ fd int }

// dialClient returns a socket of its own for a transfer, from local to the client.
func dialClient(local netip.Addr, client netip.AddrPort) (socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return socket{closed}, fmt.Errorf("opening a socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: local.As4()})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: client.Addr().As4(), Port: int(client.Port())})
	}
	if err != nil {
		return socket{closed}, errors.Join(fmt.Errorf("connecting a socket to %v: %w", client, err), unix.Close(fd))
	}
	return socket{fd}, nil
}

// send sends a datagram without waiting.
func (s *socket) send(p []byte) error { return transmit(s.fd, p) }

// receive reads a datagram without waiting.
func (s *socket) receive(p []byte) (int, error) { return receive(s.fd, p) }

// pathMTU returns the largest IPv4 packet that the socket sends without
// fragments.
func (s *socket) pathMTU() (int, error) {
	mtu, err := unix.GetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU)
	if err != nil {
		return 0, fmt.Errorf("reading the path's MTU: %w", err)
	}
	return mtu, nil
}

func (s *socket) close() {
	if s.fd == closed {
		return
	}
	_ = unix.Close(s.fd) // nothing is buffered in it that anybody waits for
	s.fd = closed
}

// A poller waits for sockets to have something to read, and for others to wake
// it. All but wake is for the goroutine that made it.
type poller struct {
	epoll int

	mu    sync.Mutex
	event int // an eventfd
}

func newPoller() (*poller, error) {
	p := &poller{event: closed}
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("tftp: making an epoll descriptor: %w", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = p.watch(p.event)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tftp: making an event descriptor: %w", err), p.close())
	}
	return p, nil
}

// watch makes wait report fd until it is closed.
func (p *poller) watch(fd int) error {
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// wait is epoll_wait(2); it returns nothing where a signal ended it.
func (p *poller) wait(events []unix.EpollEvent, milliseconds int) ([]unix.EpollEvent, error) {
	n, err := unix.EpollWait(p.epoll, events, milliseconds)
	if err != nil && err != unix.EINTR {
		return nil, fmt.Errorf("tftp: waiting for packets: %w", err)
	}
	return events[:max(n, 0)], nil
}

// wake has wait return, now or when it is called next. Any goroutine may call
// it, also when p is closed: then there is nobody to wake.
func (p *poller) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.event == closed {
		return
	}
	// It fails only where the counter is full: then the loop knows already.
	_, _ = unix.Write(p.event, binary.NativeEndian.AppendUint64(nil, 1))
}

// woken reports whether wait returned fd because of a call of wake, and resets it.
func (p *poller) woken(fd int) bool {
	if fd != p.event {
		return false
	}
	var counter [8]byte
	_, _ = unix.Read(p.event, counter[:])
	return true
}

func (p *poller) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, fd := range []*int{&p.epoll, &p.event} {
		if *fd != closed {
			errs = append(errs, unix.Close(*fd))
			*fd = closed
		}
	}
	return errors.Join(errs...)
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
