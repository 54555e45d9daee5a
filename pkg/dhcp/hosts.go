package dhcp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
	"pibootd/pkg/pi"
)

// Hosts returns the Ethernet addresses that are known to have addr: that of the
// client to which p has leased it, and that of the host which this machine finds
// there by ARP on the network of c. Where it has not found one yet it looks,
// which takes a moment if there is one and half a second if not. p may be nil.
// It is safe for concurrent use until c is closed.
func Hosts(ctx context.Context, p *Pool, c *Conn, addr netip.Addr) ([]pi.MAC, error) {
	var hosts []pi.MAC
	if mac, ok := p.holder(addr, time.Now()); ok {
		hosts = append(hosts, mac)
	}
	if c.neigh == nil || !c.network.Contains(addr) || addr == c.network.Addr() {
		return hosts, nil
	}
	mac, ok, err := c.neigh.find(ctx, addr)
	if ok && !slices.Contains(hosts, mac) {
		hosts = append(hosts, mac)
	}
	return hosts, err
}

// findTime is how long a host has to answer where the table has no entry of it:
// it has just sent something and is awake.
const findTime = 500 * time.Millisecond

// find returns the host that the kernel's table has for addr. If it has none, find
// makes the kernel ask, as if there were a packet to send: in a large network the
// kernel forgets hosts that were silent for a minute.
func (n *neighbours) find(ctx context.Context, addr netip.Addr) (mac pi.MAC, ok bool, err error) {
	mac, ok, err = n.lookup(addr)
	if ok || err != nil {
		return mac, ok, err
	}
	if err := n.ask(addr); err != nil {
		return pi.MAC{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	for wait := time.Millisecond; pause.For(ctx, wait); wait *= 2 {
		mac, ok, err = n.lookup(addr)
		if ok || err != nil {
			return mac, ok, err
		}
	}
	return pi.MAC{}, false, nil
}

// lookup returns the host that the kernel's table has for addr now.
func (n *neighbours) lookup(addr netip.Addr) (mac pi.MAC, ok bool, err error) {
	req := n.request(unix.RTM_GETNEIGH, 0, 0, 0)
	req.AddData(nl.NewRtAttr(unix.NDA_DST, addr.AsSlice()))
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err == unix.ENOENT {
		return pi.MAC{}, false, nil
	}
	if err != nil {
		return pi.MAC{}, false, fmt.Errorf("dhcp: looking who has %v: %w", addr, err)
	}
	for _, answer := range answers {
		if len(answer) < unix.SizeofNdMsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(answer[unix.SizeofNdMsg:])
		if err != nil {
			return pi.MAC{}, false, fmt.Errorf("dhcp: looking who has %v: %w", addr, err)
		}
		for _, attr := range attrs { // an entry that is no longer good has none
			if attr.Attr.Type == unix.NDA_LLADDR && len(attr.Value) == len(mac) {
				return pi.MAC(attr.Value), true, nil
			}
		}
	}
	return pi.MAC{}, false, nil
}

// ask has the kernel find out who has addr.
func (n *neighbours) ask(addr netip.Addr) error {
	req := n.request(unix.RTM_NEWNEIGH, unix.NLM_F_ACK|unix.NLM_F_CREATE, unix.NUD_NONE, unix.NTF_USE)
	req.AddData(nl.NewRtAttr(unix.NDA_DST, addr.AsSlice()))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("dhcp: asking who has %v: %w", addr, err)
	}
	return nil
}
