//go:build netns

package fleet

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/timeline"
)

// TestAddressInUse: a board gets no address that another host uses, and keeps
// one that it uses itself.
func TestAddressInUse(t *testing.T) {
	f := newFleet(t, t.TempDir())
	addr, stranger := netip.MustParseAddr, pi.MAC{0x52, 0x54, 0, 0, 0, 9}
	users := map[netip.Addr][]pi.MAC{addr("10.9.0.192"): {stranger}, addr("10.9.0.193"): {request.MAC}, addr("10.9.0.50"): {request.MAC, stranger}}
	f.FindUsers = func(_ context.Context, addrs []netip.Addr) (map[netip.Addr][]pi.MAC, error) { return users, nil }
	asked := request
	asked.IP = addr("10.9.0.50")
	const want = "10.9.0.50 is used by the host 52:54:00:00:00:09"
	if _, err := f.Add(t.Context(), asked, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Add = %v; want %q", err, want)
	}
	if added := add(t, f, request); added.Pi.IP != addr("10.9.0.193") {
		t.Errorf("the board got %v; want the first that no other host uses, 10.9.0.193", added.Pi.IP)
	}
	edit := Edit{IP: ptr(addr("10.9.0.50"))}
	if _, err := f.Edit(t.Context(), "hlspi1", edit); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Edit = %v; want %q", err, want)
	}
	edit.Force = true
	if edited, err := f.Edit(t.Context(), "hlspi1", edit); err != nil || edited.Pi.IP != addr("10.9.0.50") {
		t.Errorf("Edit by force = %+v, %v; want the address", edited, err)
	}
	f.FindUsers = func(context.Context, []netip.Addr) (map[netip.Addr][]pi.MAC, error) {
		return nil, errors.New("no network")
	}
	if _, err := f.Edit(t.Context(), "hlspi1", Edit{IP: ptr(addr("10.9.0.51"))}); err != nil {
		t.Errorf("Edit while nobody can tell: %v; want it done", err)
	}
}

// TestConflicts: a stranger is reported once, and again when it comes back.
func TestConflicts(t *testing.T) {
	f := newFleet(t, t.TempDir())
	board := add(t, f, request).Pi
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- f.Timeline.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	stranger := pi.MAC{0x52, 0x54, 0, 0, 0, 9}
	var known []Conflict
	look := func(want int, err error, users ...pi.MAC) {
		t.Helper()
		f.FindUsers = func(context.Context, []netip.Addr) (map[netip.Addr][]pi.MAC, error) {
			return map[netip.Addr][]pi.MAC{board.IP: users}, err
		}
		if known = f.lookForConflicts(t.Context(), f.Registry.All(), known); len(known) != want {
			t.Errorf("%d conflicts are known: %v; want %d", len(known), known, want)
		}
	}
	look(0, nil)
	look(0, nil, board.MAC)
	look(1, nil, board.MAC, stranger)
	look(1, nil, stranger)
	look(1, errors.New("no network"))
	look(0, nil)
	look(1, nil, stranger)
	f.Timeline.Record(timeline.Event{At: time.Now(), Board: board.Serial.String(), Kind: timeline.Changed, Detail: "the end"})
	told, over := 0, 0
	for event, err := range f.Timeline.Follow(t.Context(), board.Serial.String(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Detail == "the end" {
			break
		}
		if event.Kind == timeline.NoConflict {
			over++
		}
		if event.Kind == timeline.Conflict {
			told++
			if event.Detail != "10.9.0.192 is used by 52:54:00:00:00:09, not by hlspi1" || event.MAC != stranger {
				t.Errorf("event = %+v; want the host and the address", event)
			}
		}
	}
	if told != 2 || over != 1 {
		t.Errorf("the conflict was reported %d times, and %d times that it is over; want 2 and 1", told, over)
	}
}
