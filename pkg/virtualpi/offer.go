//go:build linux

package virtualpi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// bootMark is the text that a Pi expects anywhere in option 43.
const bootMark = "Raspberry Pi Boot"

// An offer is a DHCP message from a server.
type offer struct {
	msg    *dhcpv4.DHCPv4
	source netip.Addr // of the packet
}

func (o offer) String() string {
	return fmt.Sprintf("%s from %s: address %s, 43 %q, 60 %q, 66 %q", o.msg.MessageType(), o.source, o.msg.YourIPAddr,
		o.msg.Options.Get(dhcpv4.OptionVendorSpecificInformation), o.msg.ClassIdentifier(), o.msg.Options.Get(dhcpv4.OptionTFTPServerName))
}

func (o offer) hasMark() bool {
	return strings.Contains(string(o.msg.Options.Get(dhcpv4.OptionVendorSpecificInformation)), bootMark)
}

func (o offer) isPXE() bool { return strings.HasPrefix(o.msg.ClassIdentifier(), "PXEClient") }

func (o offer) hasAddr() bool {
	return o.msg.YourIPAddr.To4() != nil && !o.msg.YourIPAddr.IsUnspecified()
}

// choose returns the first offer that has both an address and boot information. If there is
// none, it returns the first offer of each kind, because a ProxyDHCP server may reply beside the
// network's own server.
func choose(offers []offer) (from, with offer, ok bool) {
	for _, o := range offers {
		boots := o.hasMark() && o.isPXE()
		if boots && o.hasAddr() {
			return o, o, true
		}
		if boots && with.msg == nil {
			with = o
		}
		if o.hasAddr() && from.msg == nil {
			from = o
		}
	}
	return from, with, from.msg != nil && with.msg != nil
}

// whyNone explains why choose found no offer.
func whyNone(offers []offer) error {
	var mark, both bool
	for _, o := range offers {
		mark = mark || o.hasMark()
		both = both || o.hasMark() && o.isPXE()
	}
	switch {
	case !mark:
		return fmt.Errorf("%d offers, none with %q in option 43", len(offers), bootMark)
	case !both:
		return fmt.Errorf("%d offers, none with %q in option 43 and an option 60 that begins with PXEClient", len(offers), bootMark)
	}
	return fmt.Errorf("%d offers, none with an address", len(offers))
}

// newLease makes a lease from the two offers as the model's boot code does.
func newLease(m profile, from, with offer) (lease, error) {
	addr, _ := netip.AddrFromSlice(from.msg.YourIPAddr.To4())
	ones, bits := from.msg.SubnetMask().Size()
	if bits != 32 || ones == 0 {
		return lease{}, fmt.Errorf("the OFFER of %s from %s has no usable option 1 (subnet mask)", addr, from.source)
	}
	tftp, err := tftpServer(m, with)
	if err != nil {
		return lease{}, err
	}
	got := lease{addr: netip.PrefixFrom(addr, ones), server: from.source, tftp: tftp}
	if id, ok := ipv4Addr(from.msg.ServerIdentifier()); ok {
		got.server = id
	} else if m.requests {
		return lease{}, fmt.Errorf("the OFFER of %s from %s has no option 54 (server identifier)", addr, from.source)
	}
	if routers := from.msg.Router(); len(routers) > 0 {
		got.router, _ = ipv4Addr(routers[0])
	}
	return got, nil
}

// tftpServer returns the TFTP server. Option 66 must be a dotted IPv4 address, because boot code
// does not resolve names, and some of it fails on a NUL (raspberrypi/firmware#871). Without
// option 66, a Pi 3 uses the sender of the OFFER, and later models use siaddr.
func tftpServer(m profile, o offer) (netip.Addr, error) {
	if name := o.msg.Options.Get(dhcpv4.OptionTFTPServerName); len(name) > 0 {
		addr, err := netip.ParseAddr(string(name))
		if err != nil || !addr.Is4() {
			return netip.Addr{}, fmt.Errorf("option 66 from %s is %q; want a dotted IPv4 address and no NUL after it", o.source, name)
		}
		return addr, nil
	}
	if m.trustsSource {
		return o.source, nil
	}
	addr, ok := ipv4Addr(o.msg.ServerIPAddr)
	if !ok {
		return netip.Addr{}, errors.New("the OFFER names no TFTP server: neither option 66 nor siaddr")
	}
	return addr, nil
}

func ipv4Addr(ip net.IP) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(ip.To4())
	return addr, ok && !addr.IsUnspecified()
}
