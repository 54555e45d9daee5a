package fleet

import (
	"net/netip"
	"strings"
	"testing"

	"pibootd/pkg/config"
)

func TestAddressesBehindARelay(t *testing.T) {
	addr := netip.MustParseAddr
	f := &Fleet{
		Network: netip.MustParsePrefix("10.0.0.1/24"),
		Subnets: []config.Subnet{{
			Network: netip.MustParsePrefix("10.9.0.0/24"), Router: addr("10.9.0.1"),
			Addresses: config.Range{First: addr("10.9.0.200"), Last: addr("10.9.0.230")},
		}},
	}
	for text, want := range map[string]string{
		"10.0.0.20": "", "10.9.0.20": "", "10.9.0.200": "",
		"10.0.0.1": "this machine's", "10.9.0.1": "the router of 10.9.0.0/24", "10.9.0.0": "the network itself", "10.9.0.255": "broadcast address", "10.8.0.2": "want one of 10.0.0.0/24",
	} {
		if err := f.checkAddress(addr(text)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("checkAddress(%s) = %v; want %q", text, err, want)
		}
	}
	if s, ok := f.subnetOf(addr("10.9.0.1")); !ok || s.Addresses.First != addr("10.9.0.200") {
		t.Errorf("subnetOf the relay = %+v, %v; want its network", s, ok)
	}
	if _, ok := f.subnetOf(netip.Addr{}); ok {
		t.Error("no relay is of a network; want none")
	}
}
