//go:build linux

package virtualpi

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"pibootd/pkg/pi"
)

func TestDHCPMessages(t *testing.T) {
	const (
		class  = "505845436c69656e743a417263683a30303030303a554e44493a303032303031"
		guid3  = "007a3433337a3433337a3433337a343333"
		guid4  = "00525069341131c000eb33347a7a343333"
		list3  = "2b3c438081828384858687420103"
		list4  = "01032b3c42438081828384858687"
		arch   = "0000"
		undi   = "010201"
		server = "0a4d0001"
		addr   = "0a4d0032"
	)
	want := lease{addr: netip.MustParsePrefix("10.77.0.50/24"), server: netip.MustParseAddr("10.77.0.1")}
	board := func(model Model) *dhcpClient {
		b := &Board{Model: model, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Serial: testSerial}
		m, err := b.profile()
		if err != nil {
			t.Fatal(err)
		}
		return &dhcpClient{board: b, model: m, xid: m.xid}
	}
	tests := []struct {
		name    string
		message func() (*dhcpv4.DHCPv4, error)
		options map[uint8]string // in hex
	}{
		{"Pi 3 DISCOVER", board(Pi3B).discoverMessage, map[uint8]string{53: "01", 55: list3, 60: class, 93: arch, 94: undi, 97: guid3}},
		{"Pi 4 DISCOVER", board(Pi4B).discoverMessage, map[uint8]string{53: "01", 55: list4, 60: class, 93: arch, 94: undi, 97: guid4}},
		{"Pi 4 REQUEST", func() (*dhcpv4.DHCPv4, error) { return board(Pi4B).requestMessage(want) },
			map[uint8]string{50: addr, 53: "03", 54: server, 55: list4, 93: arch, 94: undi, 97: guid4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.message()
			if err != nil {
				t.Fatal(err)
			}
			options := make(map[uint8]string)
			for code, value := range got.Options {
				options[code] = fmt.Sprintf("%x", value)
			}
			if fmt.Sprint(options) != fmt.Sprint(tt.options) {
				t.Errorf("options = %v; want %v", options, tt.options)
			}
			if got.Flags != 0 || got.HopCount != 0 || !got.ClientIPAddr.IsUnspecified() {
				t.Errorf("flags %#x, hops %d, ciaddr %s; want none", got.Flags, got.HopCount, got.ClientIPAddr)
			}
		})
	}
	if got, want := board(Pi3B).xid.String(), "0x26f30339"; got != want {
		t.Errorf("a Pi 3's xid = %s; want %s", got, want)
	}
}

func TestUnknownModel(t *testing.T) {
	const want = `virtualpi: model "Pi 1" is not imitated; want one of ["2B" "3B" "3B+" "4B" "400" "CM4" "5" "500" "CM5"]`
	if _, err := (&Board{Model: "Pi 1"}).profile(); err == nil || err.Error() != want {
		t.Errorf("error = %v; want %s", err, want)
	}
}
