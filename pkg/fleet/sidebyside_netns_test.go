//go:build netns

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// sideBySide is how many boards TestAddSideBySide adds at a time.
const sideBySide = 20

// A meeting holds those who come until all have come.
type meeting struct {
	coming sync.WaitGroup
	all    chan struct{}
}

func newMeeting(n int) *meeting {
	m := &meeting{all: make(chan struct{})}
	m.coming.Add(n)
	go func() { m.coming.Wait(); close(m.all) }()
	return m
}

// Boards are added side by side: while the network is still asked about all their
// addresses, what they have reserved is refused to others. In the end each has a
// name and an address of its own, a root and exports that work.
func TestAddSideBySide(t *testing.T) {
	f := newFleet(t, t.TempDir())
	add(t, f, request)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	meet := newMeeting(sideBySide)
	proceed := make(chan struct{})
	f.FindUsers = func(ctx context.Context, _ []netip.Addr) (map[netip.Addr][]pi.MAC, error) {
		meet.coming.Done()
		select {
		case <-proceed:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	added, errs := make([]Added, sideBySide), make([]error, sideBySide)
	var adding sync.WaitGroup
	for i := range sideBySide {
		adding.Go(func() { added[i], errs[i] = f.Add(ctx, sideBoard(i), nil) })
	}
	select {
	case <-meet.all:
		f.refusesReserved(t)
	case <-ctx.Done():
		t.Error("the boards are added one after the other")
	}
	close(proceed)
	adding.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	addrs := map[netip.Addr]bool{}
	for i, a := range added {
		addrs[a.Pi.IP] = true
		hostname, err := os.ReadFile(filepath.Join(f.Roots.Path(a.Pi.Serial), "etc/hostname"))
		if err != nil || string(hostname) != sideBoard(i).Name+"\n" || a.Existed || len(a.Proof) != 3 {
			t.Errorf("board %d = %+v, host name %q, %v; want it added, proved and named", i, a, hostname, err)
		}
	}
	if len(addrs) != sideBySide {
		t.Errorf("%d boards have %d addresses", sideBySide, len(addrs))
	}
	for _, e := range f.NFS.Exports() {
		if want := sideBySide + 1; e.Path == "/media" && len(e.Clients) != want {
			t.Errorf("the media share is open to %d boards; want %d", len(e.Clients), want)
		}
	}
}

func sideBoard(i int) Request {
	return Request{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 1, byte(i)}, Serial: pi.Serial(0x20000000 + i), Name: fmt.Sprintf("side%d", i)}
}

// refusesReserved tries to get what boards that are being added have reserved.
func (f *Fleet) refusesReserved(t *testing.T) {
	t.Helper()
	other := Request{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 2, 1}, Serial: 0x30000001}
	name, ip, mac := other, other, other
	name.Name = "side3"
	ip.IP = f.Addresses.First.Next() // the first is that of hlspi1
	mac.MAC = sideBoard(4).MAC
	for field, r := range map[string]Request{"name": name, "ip": ip, "mac": mac} {
		_, err := f.Add(t.Context(), r, nil)
		wantReserved(t, "Add", field, err)
	}
	_, err := f.Edit(t.Context(), "hlspi1", Edit{Name: ptr("side5")})
	wantReserved(t, "Edit", "name", err)
	_, _, err = f.AddMachine(t.Context(), registry.Machine{Name: "side6"})
	wantReserved(t, "AddMachine", "name", err)
}

func wantReserved(t *testing.T, what, field string, err error) {
	t.Helper()
	var refused pi.RequestError
	if !errors.As(err, &refused) || refused.Reason != pi.Conflict || refused.Field != field || !strings.Contains(err.Error(), "is reserved for") {
		t.Errorf("%s = %v; want a conflict about %s", what, err, field)
	}
}

// Changes of one board wait for each other, and give up with their context.
func TestChangesOfOneBoardWait(t *testing.T) {
	f := newFleet(t, t.TempDir())
	add(t, f, request)
	_, end, err := f.begin(t.Context(), "hlspi1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Edit(ctx, "hlspi1", Edit{Name: ptr("late")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Edit beside another change = %v; want it to have waited", err)
	}
	renamed := make(chan error)
	go func() {
		_, err := f.Edit(t.Context(), request.Serial.String(), Edit{Name: ptr("late")})
		renamed <- err
	}()
	end()
	if err := <-renamed; err != nil {
		t.Error(err)
	}
	if _, _, err := f.begin(t.Context(), "hlspi1"); err == nil {
		t.Error("a board is found by its former name")
	}
}
