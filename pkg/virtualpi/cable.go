//go:build linux

package virtualpi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"pibootd/pkg/netlab"
	"pibootd/pkg/pi"
)

// boardInterface is the board's end of its cable, in the board's own namespace.
const boardInterface = "eth0"

// linkTimeout is how long a link may take to come up.
const linkTimeout = 5 * time.Second

// A cable connects a board's own namespace to a bridge.
type cable struct {
	board *netlab.Namespace
	pull  func() error // removes the port from the bridge; the board's namespace remains
}

func plugIn(s Socket, mac pi.MAC) (*cable, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	board, err := netlab.New()
	if err != nil {
		return nil, err
	}
	port := portName("rom", mac)
	c := &cable{
		board: board,
		pull:  sync.OnceValue(func() error { return s.Namespace.Delete(port) }),
	}
	err = netlab.Connect(
		netlab.End{Namespace: board, Name: boardInterface, MAC: mac},
		netlab.End{Namespace: s.Namespace, Name: port, MAC: portMAC(mac)})
	if err == nil {
		err = s.Namespace.Attach(port, s.Bridge)
	}
	if err == nil {
		err = errors.Join(waitUp(s.Namespace, port, s.Bridge), waitUp(board, boardInterface))
	}
	if err != nil {
		// Do not remove the port by name, because it may belong to another run with the same
		// board. Closing the board's namespace removes what this call has made.
		return nil, errors.Join(err, board.Close())
	}
	return c, nil
}

// linkBuffer is large enough for the kernel's messages about links while dozens of boards are
// plugged in at once.
const linkBuffer = 4 << 20

// waitUp waits until the interfaces of n called names pass packets. For the first port of a
// bridge that can take a second, because the kernel batches link changes
// (net/core/link_watch.c). Until then a first DISCOVER or its OFFER would be lost.
func waitUp(n *netlab.Namespace, names ...string) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	err := n.Do(func() error {
		return netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
			ListExisting: true, ReceiveBufferSize: linkBuffer, ReceiveBufferForceSize: true,
		})
	})
	if err != nil {
		close(done)
		return fmt.Errorf("watching interfaces: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // until the sender sees that done is closed
		}
	}()
	timeout := time.After(linkTimeout)
	for down := slices.Clone(names); len(down) > 0; {
		select {
		case <-timeout:
			return fmt.Errorf("no link on %s within %v; is it down?", strings.Join(down, ", "), linkTimeout)
		case u, ok := <-updates:
			if !ok {
				return errors.New("watching interfaces: the kernel ended it")
			}
			if u.Link.Attrs().OperState == netlink.OperUp {
				down = slices.DeleteFunc(down, func(name string) bool { return name == u.Link.Attrs().Name })
			}
		}
	}
	return nil
}

func (s Socket) check() error {
	is, err := s.Namespace.IsBridge(s.Bridge)
	if err != nil {
		return err
	}
	if !is {
		return fmt.Errorf("%q is not a bridge; want the bridge that pibootd serves", s.Bridge)
	}
	return nil
}

// portName returns the name of the bridge's end of a board's cable. It has 15 bytes, the maximum
// for an interface name, and is different for each board.
func portName(kind string, mac pi.MAC) string {
	return kind + strings.ReplaceAll(mac.String(), ":", "")
}

// portMAC returns the address of the bridge's end of a board's cable. It starts with fe, because
// a bridge without an address of its own uses the lowest address of its ports. If that were not
// the network card's, no board could reach the host until its next ARP request.
func portMAC(board pi.MAC) pi.MAC {
	board[0] = 0xfe
	return board
}

// silenceARP stops the board from answering ARP requests.
func (c *cable) silenceARP() error {
	const never = "8" // arp_ignore: do not reply for any local address
	return c.board.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/"+boardInterface+"/arp_ignore", []byte(never), 0o644)
	})
}

func (c *cable) unplug() error {
	return errors.Join(c.pull(), c.board.Close())
}

// configure sets the board's address and, unless router is zero, its default route.
func (c *cable) configure(addr netip.Prefix, router netip.Addr) error {
	if err := c.board.AddAddr(boardInterface, addr); err != nil {
		return err
	}
	if !router.IsValid() {
		return nil
	}
	return c.board.Do(func() error {
		if err := netlink.RouteAdd(&netlink.Route{Gw: net.IP(router.AsSlice())}); err != nil {
			return fmt.Errorf("adding the router %s that DHCP gave for %s: %w", router, addr, err)
		}
		return nil
	})
}
