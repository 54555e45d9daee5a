package main

import (
	"strings"
	"testing"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

func TestFindDiscovered(t *testing.T) {
	four := registry.Discovered{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2}, Serial: 0x10000002}
	three := registry.Discovered{MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}} // its boot code tells no serial
	found := []registry.Discovered{four, three}
	for ref, want := range map[string]registry.Discovered{
		"10000002": four, "0x10000002": four, "dc:a6:32:00:00:02": four, "DC-A6-32-00-00-02": four, "b8:27:eb:33:34:7a": three,
	} {
		if got, err := findDiscovered(found, ref); err != nil || got != want {
			t.Errorf("findDiscovered(%s) = %+v, %v; want %+v", ref, got, err, want)
		}
	}
	for ref, want := range map[string]string{
		"3333347a": "no unregistered board 3333347a", "hlspi1": "want a serial number", "00000000": "want a serial number", "dc:a6:32:00:00:03": "of 2 that have",
	} {
		if got, err := findDiscovered(found, ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("findDiscovered(%s) = %+v, %v; want an error with %q", ref, got, err, want)
		}
	}
	if got := serialEnd(three.MAC); got != "; they end in 33347a" {
		t.Errorf("serialEnd = %q; want its last six digits", got)
	}
}
