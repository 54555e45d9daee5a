package fleet

import (
	"fmt"
	"net/netip"

	"pibootd/pkg/config"
	"pibootd/pkg/pi"
)

// subnetOf returns the network behind a relay that an address is in.
func (f *Fleet) subnetOf(addr netip.Addr) (config.Subnet, bool) {
	for _, s := range f.Subnets {
		if addr.IsValid() && s.Network.Contains(addr) {
			return s, true
		}
	}
	return config.Subnet{}, false
}

// addressesFor returns the range for a new board: that of the network from which it has asked for
// an address, through the relay there.
func (f *Fleet) addressesFor(mac pi.MAC) config.Range {
	if s, ok := f.subnetOf(f.Policy.RelayOf(mac)); ok {
		return s.Addresses
	}
	return f.Addresses
}

func checkRemote(s config.Subnet, ip netip.Addr) error {
	if ip == s.Router || ip == s.Network.Addr() || !s.Network.Contains(ip.Next()) {
		return pi.InvalidField("ip", fmt.Errorf("fleet: %s cannot be a board's address: it is the router of %s, that of the network itself, or its broadcast address", ip, s.Network))
	}
	return nil
}
