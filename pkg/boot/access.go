package boot

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// A board's files go to its registered address, and to one that its Ethernet
// address is known to have: in proxy mode the house's server may give it another,
// its EEPROM may name one, and it may still have one of the pool. Serial numbers
// are not secret, so a name alone grants no access.

// ownerOf returns the board whose file a client asks for, and the file's name in
// that board's boot directory. Boot code puts the serial number before the names of
// its files, or its Ethernet address with TFTP_PREFIX=2. If a board asks from its
// registered address for another board's directory, that is a name in its own boot
// directory, which hardly ever exists.
func (p *Policy) ownerOf(ctx context.Context, client netip.Addr, name string) (board registry.Pi, file string, ok bool) {
	named, rest, isNamed := p.named(name)
	board, registered := p.Registry.ByIP(client)
	switch {
	case registered && !isNamed:
		return board, name, true
	case registered && named.Serial == board.Serial:
		return board, rest, true
	}
	hosts := p.hostsAt(ctx, client)
	if isNamed && slices.Contains(hosts, named.MAC) {
		p.elsewhere.seen(named.Serial, client)
		return named, rest, true
	}
	if isNamed {
		p.elsewhere.left(named.Serial, client)
		p.Stranger(named, client, "tftp", fmt.Sprintf("%s asked for from %s, registered with %s", named.Serial, client, named.IP))
		return board, name, registered
	}
	for _, mac := range hosts {
		if board, ok := p.Registry.ByMAC(mac); ok {
			p.elsewhere.seen(board.Serial, client)
			return board, name, true
		}
	}
	return registry.Pi{}, "", false
}

func (p *Policy) hostsAt(ctx context.Context, addr netip.Addr) []pi.MAC {
	if p.Hosts == nil {
		return nil
	}
	return p.Hosts(ctx, addr)
}

// askedBy returns the board that a client asked as, according to the last answer
// of ownerOf.
func (p *Policy) askedBy(client netip.Addr, name string) (registry.Pi, bool) {
	named, _, isNamed := p.named(name)
	if isNamed && p.elsewhere.is(named.Serial, client) {
		return named, true
	}
	if board, ok := p.Registry.ByIP(client); ok || isNamed {
		return board, ok
	}
	serial, ok := p.elsewhere.at(client)
	if !ok {
		return registry.Pi{}, false
	}
	return p.Registry.BySerial(serial)
}

// named returns the board whose serial number or Ethernet address a file's name
// begins with, and the rest of the name.
func (p *Policy) named(name string) (board registry.Pi, rest string, ok bool) {
	dir, rest, inDir := strings.Cut(name, "/")
	if !inDir {
		return registry.Pi{}, "", false
	}
	if serial, err := pi.ParseSerial(dir); err == nil && strings.EqualFold(dir, serial.String()) {
		board, ok = p.Registry.BySerial(serial)
	} else if mac, err := pi.ParseMAC(dir); err == nil && strings.EqualFold(dir, mac.Dashed()) {
		board, ok = p.Registry.ByMAC(mac)
	}
	return board, rest, ok
}

// An elsewhere records the last address, other than the registered one, from which
// each board has asked. It has at most one entry for each board.
type elsewhere struct {
	mu    sync.Mutex
	addrs map[pi.Serial]netip.Addr
}

func (e *elsewhere) seen(serial pi.Serial, addr netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.addrs == nil {
		e.addrs = map[pi.Serial]netip.Addr{}
	}
	e.addrs[serial] = addr
}

func (e *elsewhere) left(serial pi.Serial, addr netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.addrs[serial] == addr {
		delete(e.addrs, serial)
	}
}

func (e *elsewhere) is(serial pi.Serial, addr netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.addrs[serial] == addr
}

func (e *elsewhere) at(addr netip.Addr) (pi.Serial, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for serial, a := range e.addrs {
		if a == addr {
			return serial, true
		}
	}
	return 0, false
}
