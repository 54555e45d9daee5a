package config

import (
	"net/netip"
	"testing"
)

func TestUpperQuarter(t *testing.T) {
	for network, want := range map[string]string{
		"10.0.0.0/24":       "10.0.0.192-10.0.0.254",
		"10.0.0.7/24":       "10.0.0.192-10.0.0.254",
		"192.168.4.1/22":    "192.168.7.0-192.168.7.254",
		"10.1.2.3/8":        "10.192.0.0-10.255.255.254",
		"10.0.0.0/28":       "10.0.0.12-10.0.0.14",
		"10.0.0.0/29":       "10.0.0.6-10.0.0.6",
		"10.0.0.0/30":       "10.0.0.2-10.0.0.2",
		"10.0.0.0/31":       "",
		"10.0.0.1/32":       "",
		"fd00::1/64":        "",
		"::ffff:1.2.3.4/24": "",
	} {
		if got := UpperQuarter(netip.MustParsePrefix(network)).String(); got != want {
			t.Errorf("UpperQuarter(%s) = %s; want %s", network, got, want)
		}
	}
	if got := UpperQuarter(netip.Prefix{}); got != (Range{}) {
		t.Errorf("UpperQuarter of nothing = %v; want nothing", got)
	}
}

func TestRangeContains(t *testing.T) {
	r := Range{addr("10.0.0.9"), addr("10.0.0.11")}
	for in, want := range map[string]bool{
		"10.0.0.8": false, "10.0.0.9": true, "10.0.0.11": true, "10.0.0.12": false, "::ffff:10.0.0.10": true, "fd00::1": false,
	} {
		if got := r.Contains(addr(in)); got != want {
			t.Errorf("Contains(%s) = %v; want %v", in, got, want)
		}
	}
	if (Range{}).Contains(netip.Addr{}) || r.Contains(netip.Addr{}) {
		t.Error("Contains(no address) = true; want false")
	}
}
