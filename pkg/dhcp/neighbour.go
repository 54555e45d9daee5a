package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
)

const (
	// pinOwner marks the entries that are ours, in the field where routing
	// daemons leave their number (rtnetlink(7), rt_protos): so those of a
	// server that was killed are found at the next start.
	pinOwner = 167
	// pinTime is longer than any boot code loads files.
	pinTime = 5 * time.Minute
	// pinCheck is far below the 30 s that boot code gives a file.
	pinCheck = time.Second

	ndaProtocol = 12 // NDA_PROTOCOL of linux/neighbour.h
)

// neighbours pins entries of the kernel's ARP table, for clients that stop
// answering ARP while they load files, and reads it.
type neighbours struct {
	index  int
	handle *nl.SocketHandle

	mu   sync.Mutex
	pins map[pi.MAC]pinned
}

type pinned struct {
	addr  netip.Addr
	until time.Time
}

func openNeighbours(index int) (*neighbours, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("dhcp: opening netlink: %w", err)
	}
	return &neighbours{index: index, handle: &nl.SocketHandle{Socket: socket}, pins: map[pi.MAC]pinned{}}, nil
}

func (n *neighbours) close() error {
	n.handle.Close()
	return nil
}

// pin has the kernel send what is for addr to mac without asking, until unpin
// or for pinTime.
func (n *neighbours) pin(addr netip.Addr, mac pi.MAC, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.set(addr, mac); err != nil {
		return err
	}
	n.pins[mac] = pinned{addr, now.Add(pinTime)}
	return nil
}

func (n *neighbours) set(addr netip.Addr, mac pi.MAC) error {
	req := n.request(unix.RTM_NEWNEIGH, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE, unix.NUD_PERMANENT, 0)
	req.AddData(nl.NewRtAttr(unix.NDA_DST, addr.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.NDA_LLADDR, mac[:]))
	req.AddData(nl.NewRtAttr(ndaProtocol, []byte{pinOwner}))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("pinning %v to %v: %w", addr, mac, err)
	}
	return nil
}

// unpin lets the kernel ask again who has mac's address.
func (n *neighbours) unpin(mac pi.MAC) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.pins[mac]
	if !ok {
		return nil
	}
	delete(n.pins, mac)
	return n.remove(p.addr)
}

// renew unpins what was pinned long enough, and pins the others again: the
// kernel forgets even permanent entries when the interface changes its own
// address, as a bridge does when a port comes or goes.
func (n *neighbours) renew(now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for mac, p := range n.pins {
		if now.Before(p.until) {
			errs = append(errs, n.set(p.addr, mac))
			continue
		}
		delete(n.pins, mac)
		errs = append(errs, n.remove(p.addr))
	}
	return errors.Join(errs...)
}

func (n *neighbours) remove(addr netip.Addr) error {
	req := n.request(unix.RTM_DELNEIGH, unix.NLM_F_ACK, 0, 0)
	req.AddData(nl.NewRtAttr(unix.NDA_DST, addr.AsSlice()))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("unpinning %v: %w", addr, err)
	}
	return nil
}

// removeAll removes every entry that is ours, whichever run made it.
func (n *neighbours) removeAll() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.pins)
	answers, err := n.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP, 0, 0).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return fmt.Errorf("listing neighbours: %w", err)
	}
	for _, answer := range answers {
		addr, ok := n.ours(answer)
		if !ok {
			continue
		}
		if err := n.remove(addr); err != nil {
			return err
		}
	}
	return nil
}

// ours returns the address of an RTM_NEWNEIGH message that is about one of our
// entries.
func (n *neighbours) ours(message []byte) (addr netip.Addr, ok bool) {
	if len(message) < unix.SizeofNdMsg {
		return netip.Addr{}, false
	}
	if index := nl.NativeEndian().Uint32(message[4:]); int(index) != n.index {
		return netip.Addr{}, false
	}
	attrs, err := nl.ParseRouteAttr(message[unix.SizeofNdMsg:])
	if err != nil {
		return netip.Addr{}, false
	}
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.NDA_DST:
			addr, _ = netip.AddrFromSlice(attr.Value)
		case ndaProtocol:
			ok = len(attr.Value) == 1 && attr.Value[0] == pinOwner
		}
	}
	return addr, ok && addr.Is4()
}

func (n *neighbours) request(kind, flags int, state uint16, ndFlags uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: n.handle}
	req.AddData(&ndmsg{index: uint32(n.index), state: state, flags: ndFlags})
	return req
}

// An ndmsg is struct ndmsg of linux/neighbour.h, for IPv4.
type ndmsg struct {
	index uint32
	state uint16
	flags uint8
}

// Len implements nl.NetlinkRequestData.
func (*ndmsg) Len() int { return unix.SizeofNdMsg }

// Serialize implements nl.NetlinkRequestData.
func (m *ndmsg) Serialize() []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = unix.AF_INET
	nl.NativeEndian().PutUint32(b[4:], m.index)
	nl.NativeEndian().PutUint16(b[8:], m.state)
	b[10] = m.flags
	return b
}
