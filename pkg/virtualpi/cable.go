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

// boardInterface is the board's end of its cable, in a namespace of its own.
const boardInterface = "eth0"

// linkTimeout is what a link gets to come up.
const linkTimeout = 5 * time.Second

// A cable joins a board's own namespace to a bridge.
type cable struct {
	board *netlab.Namespace
	pull  func() error // takes it out of the bridge; the board's namespace stays
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
		// The port may be another run's of the same board, so it is not removed
		// by name: what was made here ends with the board's namespace.
		return nil, errors.Join(err, board.Close())
	}
	return c, nil
}

// linkBuffer holds the kernel's messages about links while dozens of boards are
// plugged in at once.
const linkBuffer = 4 << 20

// waitUp waits until the interfaces of n called names pass packets. For a bridge
// whose first port this is, that can take a second: the kernel gathers changes
// of links (net/core/link_watch.c), and a first DISCOVER or its OFFER would be
// lost until then.
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
		for range updates { // until the sender has seen done
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

// portName is what the bridge's end of a board's cable is called: 15 bytes, as
// many as an interface name may have, and different for each board.
func portName(kind string, mac pi.MAC) string {
	return kind + strings.ReplaceAll(mac.String(), ":", "")
}

// portMAC is the bridge's end of a board's cable. It begins with fe, for a bridge
// that is given no address takes the lowest of its ports': that is to stay the
// network card's, or the host would be gone for every board until they ask again.
func portMAC(board pi.MAC) pi.MAC {
	board[0] = 0xfe
	return board
}

// silenceARP has the board answer no ARP request from here on.
func (c *cable) silenceARP() error {
	const never = "8" // arp_ignore: for no local address
	return c.board.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/"+boardInterface+"/arp_ignore", []byte(never), 0o644)
	})
}

func (c *cable) unplug() error {
	return errors.Join(c.pull(), c.board.Close())
}

// configure gives the board its address and, unless router is zero, its default
// route.
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
