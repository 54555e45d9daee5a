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

// socketBuffer is how many bytes of packets may wait in a socket that carries
// many transfers.
const socketBuffer = 4 << 20

// A socket carries transfers to many clients. All but sendTo is for the loop
// that has it.
type socket struct {
	fd int
	mu sync.Mutex // held by sendTo and close
}

// newSocket returns a socket on local; port 0 is one of its own.
func newSocket(local netip.AddrPort) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tftp: opening a socket: %w", err)
	}
	s := &socket{fd: fd}
	s.setBuffers()
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1); err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: local.Addr().As4(), Port: int(local.Port())})
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("tftp: opening a socket on %v: %w", local, err)
	}
	return s, nil
}

// setBuffers has the socket hold socketBuffer each way, or as much as net.core
// allows to those who are not root.
func (s *socket) setBuffers() {
	for _, option := range []struct{ forced, limited int }{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, option.forced, socketBuffer) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, option.limited, socketBuffer)
		}
	}
}

// receive is recvmmsg(2) without waiting; it reads nothing where nothing has come.
func (s *socket) receive(messages []mmsghdr) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN || errno == unix.EINTR || isOfClient(errno) { // which unreachable reports
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("tftp: reading packets: %w", errno)
	}
	return int(n), nil
}

// sendAll sends messages without waiting for answers, and returns how many it
// has sent; err is why the next cannot be. What there is no room for is lost, as
// on a full network.
func (s *socket) sendAll(messages []mmsghdr) (sent int, err error) {
	var before error
	for sent < len(messages) {
		n, err := s.send(messages[sent:])
		sent += n
		switch {
		case err == nil || err == unix.EINTR:
		case err == unix.EAGAIN || err == unix.ENOBUFS:
			if before == err {
				return len(messages), nil
			}
			s.waitForRoom()
		case before == err:
			return sent, err
		}
		before = err // may be an earlier packet's: such an error is returned once
	}
	return sent, nil
}

// send is sendmmsg(2) without waiting. err is the first message's.
func (s *socket) send(messages []mmsghdr) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// sendTo sends a packet beside the loop's batches, without waiting. Any
// goroutine may call it.
func (s *socket) sendTo(client netip.AddrPort, packet []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return unix.Sendto(s.fd, packet, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, &unix.SockaddrInet4{Addr: client.Addr().As4(), Port: int(client.Port())})
}

// waitForRoom waits some milliseconds for packets to leave the socket.
func (s *socket) waitForRoom() {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, 5)
}

// isOfClient reports whether errno says something of a packet that was sent
// earlier to some client, and not of the call that returned it.
func isOfClient(errno error) bool {
	return errno == unix.ECONNREFUSED || errno == unix.EHOSTUNREACH || errno == unix.ENETUNREACH || errno == unix.EMSGSIZE
}

// unreachable returns the address and port of a client whose host has said that
// nobody listens there (IP_RECVERR of ip(7)); ok is false where none has.
func (s *socket) unreachable() (client peer, ok bool) {
	var control [256]byte
	for {
		_, n, _, to, err := unix.Recvmsg(s.fd, nil, control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return peer{}, false
		}
		addr, isInet4 := to.(*unix.SockaddrInet4)
		if isInet4 && isRefusal(control[:n]) {
			return peer{addr: addr.Addr, port: uint16(addr.Port)}, true
		}
	}
}

// isRefusal reports whether these control messages tell of a closed port.
func isRefusal(control []byte) bool {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR && len(m.Data) >= 4 {
			return unix.Errno(binary.NativeEndian.Uint32(m.Data)) == unix.ECONNREFUSED // of struct sock_extended_err
		}
	}
	return false
}

func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd != closed {
		_ = unix.Close(s.fd) // nothing is buffered in it that anybody waits for
		s.fd = closed
	}
}

// A route asks the kernel about ways to clients. It is for one goroutine.
type route struct{ fd int }

func newRoute(local netip.Addr) (*route, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tftp: opening a socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: local.As4()}); err != nil {
		return nil, errors.Join(fmt.Errorf("tftp: opening a socket on %v: %w", local, err), unix.Close(fd))
	}
	return &route{fd}, nil
}

// mtu returns the largest IPv4 packet that reaches client without fragments, in bytes.
func (r *route) mtu(client netip.AddrPort) (int, error) {
	if err := unix.Connect(r.fd, &unix.SockaddrInet4{Addr: client.Addr().As4(), Port: int(client.Port())}); err != nil {
		return 0, fmt.Errorf("looking for the way to %v: %w", client, err)
	}
	mtu, err := unix.GetsockoptInt(r.fd, unix.IPPROTO_IP, unix.IP_MTU)
	if err != nil {
		return 0, fmt.Errorf("reading the MTU of the way to %v: %w", client, err)
	}
	return mtu, nil
}

func (r *route) close() { _ = unix.Close(r.fd) }

// An alarm is an eventfd(2) that ends a loop's waiting.
type alarm struct {
	mu sync.Mutex
	fd int
}

func newAlarm() (*alarm, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("tftp: making an event descriptor: %w", err)
	}
	return &alarm{fd: fd}, nil
}

// ring ends the loop's waiting, now or when it waits next. Any goroutine may
// call it, also when the alarm is closed: then there is nobody to wake.
func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fd == closed {
		return
	}
	// It fails only where the counter is full: then the loop knows already.
	_, _ = unix.Write(a.fd, binary.NativeEndian.AppendUint64(nil, 1))
}

// reset has the alarm be silent until it rings again.
func (a *alarm) reset() {
	var counter [8]byte
	_, _ = unix.Read(a.fd, counter[:])
}

func (a *alarm) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fd != closed {
		_ = unix.Close(a.fd)
		a.fd = closed
	}
}
