package registry

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/config"
	"pibootd/pkg/pi"
)

// A Pi is a registered board and its settings. The slices of
// its Settings are shared with the registry: read them, never change them in
// place.
type Pi struct {
	ID     int64      `json:"id"` // given by Add, never used twice
	Serial pi.Serial  `json:"serial"`
	MAC    pi.MAC     `json:"mac"`
	Name   string     `json:"name"` // its host name
	IP     netip.Addr `json:"ip"`
	Root
	Settings Settings  `json:"settings"`
	Added    time.Time `json:"added"`
}

// A Root is what a board's root was cloned from.
type Root struct {
	Template string  `json:"template"`
	Version  int     `json:"version"` // from 1
	Arch     pi.Arch `json:"arch"`
	Clone    string  `json:"clone,omitempty"` // how, one of rootfs's ways; "" where it was not noted
}

// Settings are a board's differences from the others.
type Settings struct {
	MuxID    int      `json:"mux_id,omitzero"`    // muxid= on its kernel command line; 0 gives none
	HWDecode bool     `json:"hw_decode,omitzero"` // muxhwdec=1 on its kernel command line
	Volatile bool     `json:"volatile,omitzero"`  // what it changes of its root stays in its memory
	GPUMem   int      `json:"gpu_mem,omitzero"`   // MB; 0 takes the configuration's
	Args     []string `json:"args,omitempty"`     // further kernel arguments, k or k=v
	Config   []string `json:"config,omitempty"`   // further lines of its config.txt, key=value; see MergeConfig
	BootMenu string   `json:"boot_menu,omitzero"` // form of DHCP option 43: one of BootMenus
	Labels   []string `json:"labels,omitempty"`   // by which its user names groups of boards
	Weight   float64  `json:"weight,omitzero"`    // share of its time that it transcodes in; 0 means 1, all of it
}

// BootMenus are the forms in which DHCP can tell a board that it has found its
// boot server: the one that all known boards accept, the one that dnsmasq sends,
// and the words "Raspberry Pi Boot" alone.
var BootMenus = []string{"", "dnsmasq", "raw"}

// Limits of what a board can be given.
const (
	maxMuxID  = 65535
	minGPUMem = 16
	maxGPUMem = 512
	minWeight = 0.01
	// 32-bit kernels take 1024 bytes of command line and cut the rest off
	// silently; half of it is left to what pibootd itself puts there.
	maxArgsBytes = 512
)

// validate reports everything that is wrong with p on its own.
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
	// ParseMAC knows which addresses are those of one board.
	if _, err := pi.ParseMAC(p.MAC.String()); err != nil {
		problems = append(problems, pi.InvalidField("mac", err))
	} else if p.Serial != 0 {
		problems = append(problems, pi.InvalidField("", pi.CheckPair(p.MAC, p.Serial))) // one of the two
	}
	// A global unicast address is no group, loopback, link-local or broadcast.
	if !p.IP.Is4() || !p.IP.IsGlobalUnicast() {
		problems = append(problems, pi.InvalidField("ip", fmt.Errorf("ip %s is not an address for a board; want a unicast IPv4 address, e.g. 192.168.1.200", p.IP)))
	}
	return errors.Join(problems...)
}

// checkName wants lower case only, as host names that differ in case alone
// are one name.
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

// Share returns the share of its time that a board transcodes in.
func (s Settings) Share() float64 { return cmp.Or(s.Weight, 1) }

func (s Settings) clone() Settings {
	s.Args, s.Config, s.Labels = slices.Clone(s.Args), slices.Clone(s.Config), slices.Clone(s.Labels)
	return s
}

func (s Settings) check() error {
	var problems []error
	wrong := func(field, format string, args ...any) {
		problems = append(problems, pi.InvalidField(field, fmt.Errorf(format, args...)))
	}
	if s.MuxID < 0 || s.MuxID > maxMuxID {
		wrong("mux_id", "muxer id %d; want 1 to %d, or 0 for none", s.MuxID, maxMuxID)
	}
	if s.GPUMem != 0 && (s.GPUMem < minGPUMem || s.GPUMem > maxGPUMem) {
		wrong("gpu_mem", "gpu_mem %d MB; want %d to %d, or 0 for the configuration's", s.GPUMem, minGPUMem, maxGPUMem)
	}
	if s.Weight != 0 && !(s.Weight >= minWeight && s.Weight <= 1) {
		wrong("weight", "weight %v; want %v to 1, the share of its time that it transcodes in", s.Weight, minWeight)
	}
	if !slices.Contains(BootMenus, s.BootMenu) {
		wrong("boot_menu", "boot menu %q; want one of %q", s.BootMenu, BootMenus)
	}
	problems = append(problems, pi.InvalidField("labels", pi.CheckLabels(s.Labels)))
	for _, arg := range s.Args {
		problems = append(problems, pi.InvalidField("args", config.CheckArg(arg)))
	}
	if n := len(strings.Join(s.Args, " ")); n > maxArgsBytes {
		wrong("args", "kernel arguments of %d bytes; want at most %d together", n, maxArgsBytes)
	}
	for _, line := range s.Config {
		problems = append(problems, pi.InvalidField("config", checkConfigLine(line)))
	}
	if len(s.Config) > maxConfigLines {
		wrong("config", "%d lines for config.txt; want at most %d", len(s.Config), maxConfigLines)
	}
	return errors.Join(problems...)
}
