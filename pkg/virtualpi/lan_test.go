//go:build netns || e2e

package virtualpi

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"pibootd/pkg/netlab"
	"pibootd/pkg/pi"
)

const lanBridge = "br0"

// newLAN returns a bridge that has the address 10.77.0.1/24, in a namespace.
func newLAN(t *testing.T) Socket {
	t.Helper()
	ns, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := ns.Bridge(lanBridge, netip.MustParsePrefix("10.77.0.1/24")); err != nil {
		t.Fatal(err)
	}
	return Socket{Namespace: ns, Bridge: lanBridge}
}

// testBoard is a board whose address and serial number belong together.
func testBoard(model Model) *Board {
	return &Board{Model: model, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Serial: 0x3333347a}
}

// wantNoPort checks that the test board left no interface behind.
func wantNoPort(t *testing.T, s Socket, kind string) {
	t.Helper()
	err := s.Namespace.Do(func() error {
		if i, err := net.InterfaceByName(portName(kind, testBoard(Pi3B).MAC)); err == nil {
			return errors.New(i.Name + " is still there")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
