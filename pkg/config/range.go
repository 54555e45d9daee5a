package config

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// A Range is the IPv4 addresses from First to Last, both included. The zero
// Range is empty.
type Range struct{ First, Last netip.Addr }

// Contains reports whether addr, which may be in IPv6 form, is in r.
func (r Range) Contains(addr netip.Addr) bool {
	addr = addr.Unmap()
	return r != Range{} && r.First.Compare(addr) <= 0 && addr.Compare(r.Last) <= 0
}

// String returns r as it stands in the file, such as 10.0.0.192-10.0.0.254.
func (r Range) String() string {
	if r == (Range{}) {
		return ""
	}
	return r.First.String() + "-" + r.Last.String()
}

func parseRange(s string) (Range, error) {
	low, high, ok := strings.Cut(s, "-")
	first, err1 := netip.ParseAddr(strings.TrimSpace(low))
	last, err2 := netip.ParseAddr(strings.TrimSpace(high))
	if !ok || err1 != nil || err2 != nil || !isHost(first) || !isHost(last) || last.Less(first) {
		return Range{}, fmt.Errorf("%q is no range of IPv4 addresses", s)
	}
	return Range{First: first, Last: last}, nil
}

// isHost reports whether addr can be one machine's IPv4 address.
func isHost(addr netip.Addr) bool { return addr.Is4() && addr.IsGlobalUnicast() }

// UpperQuarter returns the addresses in the upper quarter of network, without
// its broadcast address: .192 to .254 of a /24. In a /30 that is the higher of
// its two addresses. It is the zero Range if network is an IPv6 network or has
// no addresses for hosts beside a broadcast address (/31, /32).
func UpperQuarter(network netip.Prefix) Range {
	if !network.Addr().Is4() || network.Bits() > 30 {
		return Range{}
	}
	network = network.Masked()
	base := ordinal(network.Addr())
	size := uint64(1) << (32 - network.Bits())
	last := base + size - 2
	return Range{First: address(min(base+size/4*3, last)), Last: address(last)}
}

func ordinal(addr netip.Addr) uint64 {
	octets := addr.As4()
	return uint64(binary.BigEndian.Uint32(octets[:]))
}

func address(n uint64) netip.Addr {
	var octets [4]byte
	binary.BigEndian.PutUint32(octets[:], uint32(n))
	return netip.AddrFrom4(octets)
}
