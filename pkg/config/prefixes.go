package config

import (
	"net/netip"

	"github.com/pelletier/go-toml/v2/unstable"
)

// prefixes are networks, or single addresses.
type prefixes struct{ to *[]netip.Prefix }

func (p prefixes) read(n *unstable.Node) bool {
	texts, ok := stringsOf(n)
	var list []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if addr, single := netip.ParseAddr(text); single == nil && addr.Zone() == "" {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		ok = ok && err == nil && prefix == prefix.Masked()
		list = append(list, prefix)
	}
	*p.to = list
	return ok
}

func (prefixes) want() string {
	return `a list of addresses and networks, for example ["192.168.1.20", "10.1.0.0/24"]`
}

func (p prefixes) text() string {
	var list []string
	for _, prefix := range *p.to {
		if prefix.IsSingleIP() {
			list = append(list, prefix.Addr().String())
		} else {
			list = append(list, prefix.String())
		}
	}
	return quoteList(list)
}
