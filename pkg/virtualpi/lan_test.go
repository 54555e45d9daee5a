//go:build netns || e2e

package virtualpi

import (
	"errors"
	"net"
	"testing"

	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
)

// newLAN returns a bridge that has the address 10.77.0.1/24, in a namespace.
func newLAN(t *testing.T) Socket {
	t.Helper()
	return Socket{Namespace: netlabtest.NewBridge(t, "10.77.0.1/24"), Bridge: netlabtest.Bridge}
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
