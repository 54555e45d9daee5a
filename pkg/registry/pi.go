package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pibootd/pkg/pi"
)

// A Pi is a registered board and its settings. The slices in its Settings are
// shared with the registry: do not modify them.
type Pi struct {
	ID     int64      `json:"id"` // assigned by Add, never reused
	Serial pi.Serial  `json:"serial"`
	MAC    pi.MAC     `json:"mac"`
	Name   string     `json:"name"` // its host name
	IP     netip.Addr `json:"ip"`
	Root
	Settings Settings  `json:"settings"`
	Added    time.Time `json:"added"`
}

// A Root is the origin of a board's root.
type Root struct {
	Template string  `json:"template"`
	Version  int     `json:"version"` // from 1
	Arch     pi.Arch `json:"arch"`
	Clone    string  `json:"clone,omitempty"` // one of rootfs's clone methods; "" if unknown
}

// validate reports every error of p itself.
func (p Pi) validate() error {
	return errors.Join(
		p.checkIdentity(),
		pi.InvalidField("name", p.checkName()),
		p.Root.check(),
		p.Settings.check(),
	)
}

func (p Pi) checkIdentity() error {
	var problems []error
	if p.Serial == 0 {
		problems = append(problems, pi.InvalidField("serial", errors.New("serial number is missing; want the last 8 hex digits of /proc/cpuinfo's Serial")))
	}
	// ParseMAC knows which addresses can belong to a board.
	if _, err := pi.ParseMAC(p.MAC.String()); err != nil {
		problems = append(problems, pi.InvalidField("mac", err))
	} else if p.Serial != 0 {
		problems = append(problems, pi.InvalidField("", pi.CheckPair(p.MAC, p.Serial))) // one of the two
	}
	// A global unicast address is not a multicast, loopback, link-local or
	// broadcast address.
	if !p.IP.Is4() || !p.IP.IsGlobalUnicast() {
		problems = append(problems, pi.InvalidField("ip", fmt.Errorf("ip %s is not an address for a board; want a unicast IPv4 address, e.g. 192.168.1.200", p.IP)))
	}
	return errors.Join(problems...)
}

// checkName allows lower case only, because host names that differ only in case are
// the same name.
func (p Pi) checkName() error {
	if !pi.IsLabel(p.Name) {
		return fmt.Errorf("name %q is not a host name; want 1 to %d of a-z, 0-9 and -, neither first nor last a -", p.Name, pi.MaxLabel)
	}
	if serial, err := pi.ParseSerial(p.Name); err == nil && serial != p.Serial {
		return fmt.Errorf("name %q reads as another board's serial number; want a name that is none", p.Name)
	}
	if mac, err := pi.ParseMAC(p.Name); err == nil && mac != p.MAC {
		return fmt.Errorf("name %q reads as another board's Ethernet address; want a name that is none", p.Name)
	}
	return nil
}

func (r Root) check() error {
	var problems []error
	if r.Template == "" || r.Version < 1 {
		problems = append(problems, pi.InvalidField("template", fmt.Errorf("template %q version %d does not exist; want a name and a version from 1", r.Template, r.Version)))
	}
	known := []pi.Arch{pi.ARM64, pi.ARMv7, pi.ARMv6, pi.AMD64}
	if !slices.Contains(known, r.Arch) {
		problems = append(problems, fmt.Errorf("architecture %q has no worker; want one of %q", r.Arch, known))
	}
	return errors.Join(problems...)
}
