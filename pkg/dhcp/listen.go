package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// receiveBuffer holds the DISCOVERs of a few thousand boards that come up at
// once after a power cut.
const receiveBuffer = 4 << 20

// A Conn is what a server hears and speaks on: a port of one interface, and the
// interface itself for frames to clients that have no address.
type Conn struct {
	*net.UDPConn
	index   int          // of the interface
	network netip.Prefix // the server's own address there, and the network's size
	link    *link        // nil where there are no Ethernet addresses, as is neigh
	neigh   *neighbours
}

// Close closes all of it.
func (c *Conn) Close() error {
	errs := []error{c.UDPConn.Close()}
	if c.link != nil {
		errs = append(errs, c.link.file.Close())
	}
	if c.neigh != nil {
		errs = append(errs, c.neigh.close())
	}
	return errors.Join(errs...)
}

// Listen opens what Serve answers on: all broadcasts and unicasts to port on
// iface alone. The caller closes it. addr is the server's own address; iface
// must have it.
//
// port is 67, except for tests and for PXE's port 4011, where clients are answered
// on the port they ask from. Else they are answered on port 68, or on port+1 if
// port is not 67.
//
// It is an error if another DHCP server has the port, even one that is willing
// to share it: of two servers on one socket, each would lose clients at random.
func Listen(iface string, addr netip.Addr, port int) (*Conn, error) {
	card, network, err := checkAddr(iface, addr)
	if err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return bindToDevice(c, iface) }}
	// The address is 0.0.0.0, for a socket bound to one address hears no broadcasts.
	conn, err := config.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("dhcp: port %d of %s is taken by another DHCP server on this host: %w; find it with ss -lunp", port, iface, err)
	}
	if err != nil {
		return nil, fmt.Errorf("dhcp: listening on %s: %w", iface, err)
	}
	return newConn(conn.(*net.UDPConn), card, network)
}

// Adopt is Listen on a socket that an earlier Listen has opened. It closes conn if it
// fails.
func Adopt(conn *net.UDPConn, iface string, addr netip.Addr) (*Conn, error) {
	card, network, err := checkAddr(iface, addr)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return newConn(conn, card, network)
}

func newConn(conn *net.UDPConn, card *net.Interface, network netip.Prefix) (_ *Conn, err error) {
	c := &Conn{UDPConn: conn, index: card.Index, network: network}
	if c.link, err = openLink(card); err == nil && c.link != nil {
		c.neigh, err = openNeighbours(card.Index)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// checkAddr returns the interface that must have addr, and its network.
func checkAddr(iface string, addr netip.Addr) (*net.Interface, netip.Prefix, error) {
	card, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, netip.Prefix{}, fmt.Errorf("dhcp: interface %q: %w", iface, err)
	}
	has, err := card.Addrs()
	if err != nil {
		return nil, netip.Prefix{}, fmt.Errorf("dhcp: addresses of %s: %w", iface, err)
	}
	for _, a := range has {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == addr {
			return card, prefix, nil
		}
	}
	return nil, netip.Prefix{}, fmt.Errorf("dhcp: interface %s has the addresses %v; want %v, the server's own", iface, has, addr)
}

// bindToDevice prepares a socket before it is bound, which is what makes its
// port that of one interface.
func bindToDevice(c syscall.RawConn, iface string) error {
	var sockErr error
	err := c.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, iface)
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			// Without CAP_NET_ADMIN: as much as the host allows.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
	})
	if err != nil {
		return err
	}
	return sockErr
}
