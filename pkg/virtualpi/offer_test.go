//go:build linux

package virtualpi

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// offered makes an OFFER from 10.0.0.1; mods come after what all have.
func offered(t *testing.T, mods ...dhcpv4.Modifier) offer {
	t.Helper()
	msg, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 1))),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
	}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return offer{msg: msg, source: netip.MustParseAddr("10.0.0.1")}
}

func address() dhcpv4.Modifier { return dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 50)) }
func mark() dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.OptionVendorSpecificInformation, []byte("\x09\x14\x00\x00\x11Raspberry Pi Boot"))
}
func class(c string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptClassIdentifier(c)) }
func option66(s string) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.OptionTFTPServerName, []byte(s))
}

func TestChoose(t *testing.T) {
	house := offered(t, address())
	whole := offered(t, address(), mark(), class("PXEClient"))
	proxy := offered(t, mark(), class("PXEClient"))
	tests := []struct {
		name       string
		offers     []offer
		from, with int // indexes; -1: none is chosen
		why        string
	}{
		{"one with all", []offer{whole}, 0, 0, ""},
		{"one with all after the house's", []offer{house, whole}, 1, 1, ""},
		{"two with a half each", []offer{proxy, house}, 1, 0, ""},
		{"house only", []offer{house, house}, -1, -1, `2 offers, none with "Raspberry Pi Boot" in option 43`},
		{"no option 60", []offer{offered(t, address(), mark())}, -1, -1, "an option 60 that begins with PXEClient"},
		{"another option 60", []offer{offered(t, address(), mark(), class("MSFT"))}, -1, -1, "an option 60 that begins with PXEClient"},
		{"proxy only", []offer{proxy}, -1, -1, "1 offers, none with an address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, with, ok := choose(tt.offers)
			if ok != (tt.from >= 0) {
				t.Fatalf("choose = %v; want %v", ok, tt.from >= 0)
			}
			if !ok {
				if err := whyNone(tt.offers); !strings.Contains(err.Error(), tt.why) {
					t.Errorf("whyNone = %v; want %q in it", err, tt.why)
				}
				return
			}
			if from != tt.offers[tt.from] || with != tt.offers[tt.with] {
				t.Errorf("choose = %v and %v; want offers %d and %d", from, with, tt.from, tt.with)
			}
		})
	}
}

func TestNewLease(t *testing.T) {
	siaddr := dhcpv4.WithServerIP(net.IPv4(10, 0, 0, 2))
	no := dhcpv4.WithoutOption
	tests := []struct {
		name    string
		model   profile
		mods    []dhcpv4.Modifier
		tftp    string
		wantErr string
	}{
		{name: "66 before siaddr", model: pi4b(), mods: []dhcpv4.Modifier{option66("10.0.0.3"), siaddr}, tftp: "10.0.0.3"},
		{name: "66 before the sender", model: pi3b(), mods: []dhcpv4.Modifier{option66("10.0.0.3")}, tftp: "10.0.0.3"},
		{name: "a Pi 4 takes siaddr", model: pi4b(), mods: []dhcpv4.Modifier{siaddr}, tftp: "10.0.0.2"},
		{name: "a Pi 3 takes the sender", model: pi3b(), mods: []dhcpv4.Modifier{siaddr}, tftp: "10.0.0.1"},
		{name: "a Pi 4 has nothing to take", model: pi4b(), wantErr: "neither option 66 nor siaddr"},
		{name: "a name in 66", model: pi3b(), mods: []dhcpv4.Modifier{option66("nas.lan")}, wantErr: `is "nas.lan"; want a dotted IPv4 address`},
		{name: "a NUL in 66", model: pi4b(), mods: []dhcpv4.Modifier{option66("10.0.0.3\x00")}, wantErr: `is "10.0.0.3\x00"`},
		{name: "IPv6 in 66", model: pi4b(), mods: []dhcpv4.Modifier{option66("fd00::1")}, wantErr: "dotted IPv4"},
		{name: "no mask", model: pi3b(), mods: []dhcpv4.Modifier{no(dhcpv4.OptionSubnetMask)}, wantErr: "option 1 (subnet mask)"},
		{name: "no server identifier", model: pi4b(), mods: []dhcpv4.Modifier{siaddr, no(dhcpv4.OptionServerIdentifier)}, wantErr: "option 54"},
		{name: "a Pi 3 needs no server identifier", model: pi3b(), mods: []dhcpv4.Modifier{no(dhcpv4.OptionServerIdentifier)}, tftp: "10.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := offered(t, append([]dhcpv4.Modifier{address(), mark(), class("PXEClient")}, tt.mods...)...)
			got, err := newLease(tt.model, o, o)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error = %v; want %q in it", err, tt.wantErr)
				}
				return
			}
			want := lease{addr: netip.MustParsePrefix("10.0.0.50/24"), server: netip.MustParseAddr("10.0.0.1"), tftp: netip.MustParseAddr(tt.tftp)}
			if err != nil || got != want {
				t.Errorf("newLease = %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// FuzzOffer feeds what a server may send through all that looks into it.
func FuzzOffer(f *testing.F) {
	msg, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), address(), mark(), class("PXEClient"), option66("10.0.0.1"), dhcpv4.WithNetmask(net.CIDRMask(24, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg.ToBytes())
	d := &dhcpClient{board: &Board{}, xid: msg.TransactionID}
	f.Fuzz(func(t *testing.T, packet []byte) {
		o, ok := d.parse(packet, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1)})
		if !ok {
			return
		}
		_ = o.String()
		if from, with, ok := choose([]offer{o}); ok {
			if got, err := newLease(pi3b(), from, with); err == nil && !got.addr.IsValid() {
				t.Errorf("newLease = %+v", got)
			}
		}
	})
}
