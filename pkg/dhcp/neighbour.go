package dhcp

import (
	"errors"
	"fmt"
	"maps"
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
	write  func(addr netip.Addr, mac pi.MAC, pinned bool) error // put; another in tests

	mu   sync.Mutex // guards pins; the kernel is not called under it
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
	n := &neighbours{index: index, handle: &nl.SocketHandle{Socket: socket}, pins: map[pi.MAC]pinned{}}
	n.write = n.put
	return n, nil
}

func (n *neighbours) close() error {
	n.handle.Close()
	return nil
}

// pin has the kernel send what is for addr to mac without asking, until unpin
// or for pinTime.
func (n *neighbours) pin(addr netip.Addr, mac pi.MAC, now time.Time) error {
	p := pinned{addr, now.Add(pinTime)}
	n.mu.Lock()
	old, had := n.pins[mac]
	n.pins[mac] = p
	n.mu.Unlock()
	var errs []error
	if had && old.addr != addr {
		errs = append(errs, n.apply(old.addr))
	}
	err := n.apply(addr)
	if err != nil {
		n.forget(mac, p)
	}
	return errors.Join(append(errs, err)...)
}

// forget drops a pin that could not be written.
func (n *neighbours) forget(mac pi.MAC, p pinned) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pins[mac] == p {
		delete(n.pins, mac)
	}
}

// unpin lets the kernel ask again who has mac's address.
func (n *neighbours) unpin(mac pi.MAC) error {
	n.mu.Lock()
	p, ok := n.pins[mac]
	delete(n.pins, mac)
	n.mu.Unlock()
	if !ok {
		return nil
	}
	return n.apply(p.addr)
}

// renew unpins what was pinned long enough, and pins the others again: the
// kernel forgets even permanent entries when the interface changes its own
// address, as a bridge does when a port comes or goes.
func (n *neighbours) renew(now time.Time) error {
	n.mu.Lock()
	pins := maps.Clone(n.pins)
	maps.DeleteFunc(n.pins, func(_ pi.MAC, p pinned) bool { return !now.Before(p.until) })
	n.mu.Unlock()
	var errs []error
	for _, p := range pins {
		errs = append(errs, n.apply(p.addr))
	}
	return errors.Join(errs...)
}

// apply makes the kernel's entry for addr what pins say. Because the kernel is
// called without the lock, pins may change meanwhile: apply then writes again,
// so that of several calls at once the one that writes last writes what stands.
func (n *neighbours) apply(addr netip.Addr) error {
	mac, pinned := n.pinOf(addr)
	for {
		if err := n.write(addr, mac, pinned); err != nil {
			return err
		}
		mac2, pinned2 := n.pinOf(addr)
		if mac2 == mac && pinned2 == pinned {
			return nil
		}
		mac, pinned = mac2, pinned2
	}
}

// pinOf returns the client to which addr is pinned: the one pinned last.
func (n *neighbours) pinOf(addr netip.Addr) (mac pi.MAC, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var until time.Time
	for m, p := range n.pins {
		if p.addr == addr && (!ok || p.until.After(until)) {
			mac, until, ok = m, p.until, true
		}
	}
	return mac, ok
}

// put writes a permanent entry for addr into the kernel's table, or removes
// the entry.
func (n *neighbours) put(addr netip.Addr, mac pi.MAC, pinned bool) error {
	if pinned {
		return n.set(addr, mac)
	}
	return n.remove(addr)
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
	clear(n.pins)
	n.mu.Unlock()
	answers, err := n.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP, 0, 0).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return fmt.Errorf("listing neighbours: %w", err)
	}
	for _, answer := range answers {
		addr, ok := n.ours(answer)
		if !ok {
			continue
		}
		if err := n.apply(addr); err != nil {
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
