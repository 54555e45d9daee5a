package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"pibootd/pkg/pi"
)

// maxUsers bounds how many hosts are reported for one address.
const maxUsers = 8

// FindUsers asks by ARP which hosts of an interface's network use addresses, of
// which server is this machine's own. It takes 0.3 s and root. What nobody uses
// is not in the result.
func FindUsers(ctx context.Context, iface string, server netip.Addr, addrs []netip.Addr) (map[netip.Addr][]pi.MAC, error) {
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("dhcp: looking who uses addresses: interface %q: %w", iface, err)
	}
	l, err := openLink(dev)
	if err != nil {
		return nil, err
	}
	if l == nil || len(addrs) == 0 {
		return nil, nil // no Ethernet, no other hosts
	}
	defer l.file.Close()
	stop := context.AfterFunc(ctx, func() { _ = l.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	users := map[netip.Addr][]pi.MAC{}
	for range probes {
		for _, addr := range addrs {
			// Not a probe: a board that is just probing its own address would
			// take that for another host's claim (RFC 5227 §2.1.1) and decline.
			if err := l.ask(addr, server); err != nil {
				return nil, fmt.Errorf("dhcp: looking who uses %v: %w", addr, err)
			}
		}
		if err := l.collectUsers(addrs, users); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return users, nil
}

// collectUsers collects ARP replies for addrs during one of the rounds that make up
// probeWait.
func (l *link) collectUsers(addrs []netip.Addr, users map[netip.Addr][]pi.MAC) error {
	if err := l.file.SetReadDeadline(time.Now().Add(probeWait / probes)); err != nil {
		return fmt.Errorf("dhcp: looking who uses addresses: %w", err)
	}
	for buf := make([]byte, headerEthernet+arpLen); ; {
		n, err := l.file.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dhcp: reading ARP: %w", err)
		}
		addr, mac, ok := heard(buf[:n])
		if known := users[addr]; ok && mac != l.mac && slices.Contains(addrs, addr) && len(known) < maxUsers && !slices.Contains(known, mac) {
			users[addr] = append(known, mac)
		}
	}
}
