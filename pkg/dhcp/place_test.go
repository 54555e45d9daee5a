package dhcp

import (
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func TestPlaceOf(t *testing.T) {
	addr := netip.MustParseAddr
	s := &Server{Addr: netip.MustParsePrefix("10.0.0.1/24"), Router: addr("10.0.0.254"), Subnets: []Subnet{
		{Prefix: netip.MustParsePrefix("10.9.0.0/24"), Router: addr("10.9.0.1")},
		{Prefix: netip.MustParsePrefix("10.8.0.0/16"), Router: addr("10.8.0.1")},
	}}
	for _, test := range []struct {
		relay, client string
		router        string // of the place; "" if it is not served
	}{
		{"", "", "10.0.0.254"},
		{"", "10.0.0.20", "10.0.0.254"},
		{"10.0.0.7", "", "10.0.0.254"},
		{"10.9.0.1", "", "10.9.0.1"},
		{"10.9.0.2", "10.8.0.9", "10.9.0.1"}, // the relay knows better
		{"", "10.8.7.9", "10.8.0.1"},         // renews without the relay
		{"10.7.0.1", "", ""},
		{"10.7.0.1", "10.0.0.20", ""},
	} {
		req := &request{packet: &dhcpv4.DHCPv4{}}
		if test.relay != "" {
			req.relay = addr(test.relay)
		}
		if test.client != "" {
			req.packet.ClientIPAddr = ipOf(addr(test.client))
		}
		got, ok := s.placeOf(req)
		if ok != (test.router != "") || ok && got.router != addr(test.router) {
			t.Errorf("placeOf relay %q, client %q = %+v, %v; want the network of router %q", test.relay, test.client, got, ok, test.router)
		}
	}
}

func TestHostsOfAPlace(t *testing.T) {
	s := &Server{Addr: netip.MustParsePrefix("10.0.0.1/24")}
	own := place{network: s.Addr}
	far := place{network: netip.MustParsePrefix("10.9.0.0/24"), router: netip.MustParseAddr("10.9.0.1"), remote: true}
	for text, want := range map[string][2]bool{
		"10.0.0.20": {true, false}, "10.0.0.1": {false, false}, "10.0.0.0": {false, false}, "10.0.0.255": {false, false},
		"10.9.0.20": {false, true}, "10.9.0.1": {false, false}, "10.9.0.0": {false, false}, "10.9.0.255": {false, false},
	} {
		addr := netip.MustParseAddr(text)
		if got := [2]bool{own.isHost(s, addr), far.isHost(s, addr)}; got != want {
			t.Errorf("%s is a host of the own and of the far network: %v; want %v", text, got, want)
		}
	}
}
