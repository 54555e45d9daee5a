package config

import (
	"net/netip"
	"strings"
	"testing"
)

func TestSubnets(t *testing.T) {
	const good = "192.168.2.0/24 192.168.2.200-192.168.2.230 192.168.2.1"
	for text, want := range map[string]bool{
		good: true,
		"  192.168.2.0/24   192.168.2.200-192.168.2.230 192.168.2.1": true,
		"192.168.2.1/24 192.168.2.200-192.168.2.230 192.168.2.1":     false, // no network
		"192.168.2.0/24 192.168.3.200-192.168.3.230 192.168.2.1":     false,
		"192.168.2.0/24 192.168.2.200-192.168.2.255 192.168.2.1":     false, // with the broadcast address
		"192.168.2.0/24 192.168.2.1-192.168.2.9 192.168.2.1":         false, // with the router
		"192.168.2.0/24 192.168.2.200-192.168.2.230 10.0.0.1":        false,
		"192.168.2.0/31 192.168.2.0-192.168.2.1 192.168.2.1":         false,
		"fd00::/64 fd00::2-fd00::3 fd00::1":                          false,
		"192.168.2.0/24 192.168.2.200-192.168.2.230":                 false,
		"": false,
	} {
		got, ok := parseSubnet(text)
		if ok != want || ok && got.String() != good {
			t.Errorf("parseSubnet(%q) = %v, %v; want %v", text, got, ok, want)
		}
	}
}

func TestCheckSubnets(t *testing.T) {
	own := netip.MustParsePrefix("192.168.1.2/24")
	c := Default()
	for network, want := range map[string]string{"192.168.2.0/24": "", "192.168.0.0/16": "not the interface's own, 192.168.1.0/24"} {
		prefix := netip.MustParsePrefix(network)
		c.DHCP.Subnets = []Subnet{{Network: prefix}}
		if err := c.CheckDHCP(own, Range{}); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("CheckDHCP with %s = %v; want %q", network, err, want)
		}
	}
	c.DHCP.Mode = Proxy
	if err := c.CheckDHCP(own, Range{}); err == nil || !strings.Contains(err.Error(), `want [] with dhcp.mode = "proxy"`) {
		t.Errorf("CheckDHCP of a proxy = %v; want it refused", err)
	}
}
