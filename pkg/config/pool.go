package config

import (
	"errors"
	"fmt"
	"net/netip"
)

// maxPool bounds the pool, which is kept in memory.
const maxPool = 1 << 16

// checkPool reports what is wrong with the pool whatever the network is.
func (r *reader) checkPool(c *Config) {
	line := max(r.lines["dhcp.mode"], r.lines["dhcp.pool"])
	pool := c.DHCP.Pool
	switch {
	case pool == (Range{}) && c.DHCP.Mode == Pool:
		r.problem(line, "dhcp.pool: \"\"; want the addresses that mode \"pool\" leases, %s", addresses{}.want())
	case pool == (Range{}):
	case c.DHCP.Mode != Pool:
		r.problem(line, "dhcp.pool: %s; want \"\", or dhcp.mode = \"pool\"", quote(pool.String()))
	case pool.size() > maxPool:
		r.problem(line, "dhcp.pool: %s; want at most %d addresses", quote(pool.String()), maxPool)
	case pool.overlaps(c.DHCP.Addresses):
		r.problem(line, "dhcp.pool: %s; want none of dhcp.addresses, %s, which are the boards'", quote(pool.String()), c.DHCP.Addresses)
	}
}

// CheckDHCP reports whether the addresses that c hands out are right for the
// network that own, the machine's address with its mask, is of: those of the
// boards, which addresses are, and the pool.
func (c *Config) CheckDHCP(own netip.Prefix, addresses Range) error {
	if err := c.checkSubnets(own); err != nil || c.DHCP.Mode != Pool {
		return err
	}
	pool := c.DHCP.Pool
	hosts := Range{First: own.Masked().Addr().Next(), Last: UpperQuarter(own).Last}
	var problems []error
	if !hosts.Contains(pool.First) || !hosts.Contains(pool.Last) {
		problems = append(problems, fmt.Errorf("dhcp.pool: %s; want addresses of the interface's network, %s", pool, hosts))
	}
	if pool.Contains(own.Addr()) {
		problems = append(problems, fmt.Errorf("dhcp.pool: %s; want a range without %s, this machine's own address", pool, own.Addr()))
	}
	if pool.overlaps(addresses) {
		problems = append(problems, fmt.Errorf("dhcp.pool: %s; want none of the boards' addresses, %s (dhcp.addresses)", pool, addresses))
	}
	return errors.Join(problems...)
}

func (r Range) overlaps(other Range) bool {
	return r != Range{} && other != Range{} && r.First.Compare(other.Last) <= 0 && other.First.Compare(r.Last) <= 0
}

// size is how many addresses r has.
func (r Range) size() uint64 {
	if r == (Range{}) {
		return 0
	}
	return ordinal(r.Last) - ordinal(r.First) + 1
}
