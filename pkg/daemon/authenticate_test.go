package daemon

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/store"
)

// Boards come to the queue by their serial numbers and other machines by their
// names, each with its own token alone.
func TestAuthenticate(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	known, err := registry.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	board := registry.Pi{
		Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "hlspi1", IP: netip.MustParseAddr("10.0.0.11"),
		Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64}, Settings: registry.Settings{Weight: 0.25, Labels: []string{"row1"}},
	}
	if _, err := known.Add(t.Context(), board, "board's"); err != nil {
		t.Fatal(err)
	}
	if _, err := known.AddMachine(t.Context(), registry.Machine{Name: "desk-pc", Weight: 0.5, Labels: []string{"fast"}}, "machine's"); err != nil {
		t.Fatal(err)
	}
	d := &daemon{state: &stateDir{registry: known}}
	for _, tt := range []struct {
		worker, token string
		want          bool
	}{
		{"3333347a", "board's", true}, {"3333347a", "machine's", false}, {"hlspi1", "board's", false}, {"10000001", "board's", false},
		{"desk-pc", "machine's", true}, {"desk-pc", "board's", false}, {"desk-pc", "", false}, {"laptop", "machine's", false}, {"", "", false},
	} {
		if got := d.authenticate(tt.worker, tt.token); got != tt.want {
			t.Errorf("authenticate(%q, %q) = %v; want %v", tt.worker, tt.token, got, tt.want)
		}
	}
	for worker, want := range map[string]float64{"3333347a": 0.25, "desk-pc": 0.5, "10000001": 1, "laptop": 1} {
		if got := d.weight(worker); got != want {
			t.Errorf("weight(%q) = %v; want %v", worker, got, want)
		}
	}
	for worker, want := range map[string][]string{"3333347a": {"row1"}, "desk-pc": {"fast"}, "hlspi1": nil, "10000001": nil, "laptop": nil} {
		if got := d.labels(worker); !slices.Equal(got, want) {
			t.Errorf("labels(%q) = %q; want %q", worker, got, want)
		}
	}
}
