package fdstore

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Socket says what a socket is bound to. Two that are equal do the same.
type Socket struct {
	Network   string // "tcp4" and "unix", which listen, or "udp4"
	Addr      string // e.g. 10.0.0.1:69, or a path
	Interface string // that it is bound to; "": none
}

// describe says what a socket is bound to; ok: it is one. The zero Socket is one that no
// daemon has made.
func describe(conn syscall.Conn) (s Socket, ok bool) {
	if conn == nil {
		return Socket{}, false
	}
	err := control(conn, func(fd int) error {
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil {
			return err // ENOTSOCK
		}
		ok = true
		s, err = describeSocket(fd, domain)
		return err
	})
	if err != nil {
		return Socket{}, ok
	}
	return s, ok
}

func describeSocket(fd, domain int) (s Socket, err error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return s, err
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || (listens == 0) != (kind == unix.SOCK_DGRAM) {
		return s, fmt.Errorf("it does not listen: %w", err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return s, err
	}
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		s = Socket{Network: "udp4", Addr: netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()}
		if kind == unix.SOCK_STREAM {
			s.Network = "tcp4"
		}
	case *unix.SockaddrUnix:
		return Socket{Network: "unix", Addr: a.Name}, nil
	default:
		return s, fmt.Errorf("its domain is %d; want IPv4 or Unix", domain)
	}
	s.Interface, err = unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE) // ENODEV if the interface is gone
	return s, err
}

// Listener returns the kept socket that listens as want says; nil if there is none.
func (s *Store) Listener(want Socket) net.Listener {
	file := s.Socket(want)
	if file == nil {
		return nil
	}
	defer file.Close()
	// Who connects learns from this call which process listens (unix(7), SO_PEERCRED).
	if err := control(file, func(fd int) error { return unix.Listen(fd, unix.SOMAXCONN) }); err != nil {
		return nil
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil
	}
	return listener
}

// UDP returns the kept socket that receives as want says; nil if there is none.
func (s *Store) UDP(want Socket) *net.UDPConn {
	file := s.Socket(want)
	if file == nil {
		return nil
	}
	defer file.Close()
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		_ = conn.Close()
		return nil
	}
	return udp
}
