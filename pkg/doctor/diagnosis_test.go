package doctor

import (
	"testing"

	"pibootd/pkg/config"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/fleet"
)

// No finding calls a server good that a board is in trouble with.
func TestServersOfBoardsInTrouble(t *testing.T) {
	for code, want := range map[diagnosis.Code]Level{diagnosis.OtherServer: Warning, diagnosis.OtherAddress: Warning, diagnosis.OK: OK, diagnosis.NoTFTP: OK} {
		for mode, inMode := range map[config.DHCPMode]Level{config.Reservation: want, config.Proxy: OK} {
			d := &Doctor{DHCP: mode, Fleet: &fleet.Fleet{}}
			found := []Finding{{Subject: "dhcp", Level: OK, Text: "10.0.0.254 offers 10.0.0.57" + asItShould}}
			d.blameServers(found, []diagnosis.Code{diagnosis.OK, code})
			if found[0].Level != inMode || (found[0].Todo != "") != (inMode != OK) {
				t.Errorf("a board with %s in mode %s: %+v; want %s", code, mode, found[0], inMode)
			}
		}
	}
}
