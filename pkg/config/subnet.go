package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A Subnet is a network of boards behind a router, whose DHCP relay asks pibootd.
type Subnet struct {
	Network   netip.Prefix // masked
	Addresses Range        // of its boards
	Router    netip.Addr
}

// String returns s as it stands in the file.
func (s Subnet) String() string { return fmt.Sprintf("%s %s %s", s.Network, s.Addresses, s.Router) }

// hosts are the addresses of s that machines can have.
func (s Subnet) hosts() Range {
	return Range{First: s.Network.Addr().Next(), Last: UpperQuarter(s.Network).Last}
}

func parseSubnet(text string) (Subnet, bool) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return Subnet{}, false
	}
	network, err1 := netip.ParsePrefix(fields[0])
	addresses, err2 := parseRange(fields[1])
	router, err3 := netip.ParseAddr(fields[2])
	s := Subnet{network, addresses, router}
	if errors.Join(err1, err2, err3) != nil || !network.Addr().Is4() || network != network.Masked() || network.Bits() > 30 {
		return Subnet{}, false
	}
	hosts := s.hosts()
	return s, hosts.Contains(router) && hosts.Contains(addresses.First) && hosts.Contains(addresses.Last) && !addresses.Contains(router)
}

type subnets struct{ to *[]Subnet }

// maxSubnets is far more than one machine serves.
const maxSubnets = 64

func (v subnets) read(n *unstable.Node) bool {
	list, ok := stringsOf(n)
	if !ok || len(list) > maxSubnets {
		return false
	}
	var got []Subnet
	for _, text := range list {
		s, ok := parseSubnet(text)
		if !ok {
			return false
		}
		for _, other := range got {
			if s.Network.Overlaps(other.Network) {
				return false
			}
		}
		got = append(got, s)
	}
	*v.to = got
	return true
}

func (v subnets) want() string {
	return `a list of "NETWORK FIRST-LAST ROUTER" without overlaps, e.g. ["192.168.2.0/24 192.168.2.200-192.168.2.230 192.168.2.1"]`
}

func (v subnets) text() string {
	var list []string
	for _, s := range *v.to {
		list = append(list, s.String())
	}
	return quoteList(list)
}

// checkSubnets reports subnets that cannot be served, or are this machine's own network.
func (c *Config) checkSubnets(own netip.Prefix) error {
	var problems []error
	if len(c.DHCP.Subnets) > 0 && c.DHCP.Mode == Proxy {
		problems = append(problems, errors.New("dhcp.subnets: there are some; want [] with dhcp.mode = \"proxy\", where another server gives addresses"))
	}
	for _, s := range c.DHCP.Subnets {
		if s.Network.Overlaps(own) {
			problems = append(problems, fmt.Errorf("dhcp.subnets: %s; want networks behind a relay, not the interface's own, %s", s.Network, own.Masked()))
		}
	}
	return errors.Join(problems...)
}
