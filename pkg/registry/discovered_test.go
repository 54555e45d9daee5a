package registry

import (
	"path/filepath"
	"testing"
	"time"

	"pibootd/pkg/pi"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestDiscoverIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	r := open(t, openStore(t, file))
	mac := board(1).MAC
	discover(t, r, Discovered{MAC: mac, Serial: 0x10000001, Model: pi.Pi4, LastSeen: noon})
	discover(t, r, Discovered{MAC: mac, LastSeen: noon.Add(2 * time.Minute)})
	for _, r := range []*Registry{r, open(t, openStore(t, file))} {
		got := r.Discovered()
		if len(got) != 1 || got[0].Serial != 0x10000001 || got[0].Model != pi.Pi4 ||
			!got[0].FirstSeen.Equal(noon) || !got[0].LastSeen.Equal(noon.Add(2*time.Minute)) {
			t.Errorf("Discovered = %+v; want one board, seen at noon and two minutes later", got)
		}
	}
}

func TestDiscoverIsNoFloodOfWrites(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	at := noon
	discover(t, r, Discovered{MAC: board(1).MAC, LastSeen: at})
	if n := count(t, s, "discovered"); n != 1 {
		t.Fatalf("%d boards stored after the first; want it at once", n)
	}
	for i := range 50 { // half a second, each with a new board
		at = at.Add(10 * time.Millisecond)
		discover(t, r, Discovered{MAC: board(i + 2).MAC, LastSeen: at})
	}
	if n := count(t, s, "discovered"); n != 1 {
		t.Errorf("%d boards stored within a second; want 1", n)
	}
	if n := len(r.Discovered()); n != 51 {
		t.Errorf("%d boards discovered; want 51 at once", n)
	}
	discover(t, r, Discovered{MAC: board(1).MAC, LastSeen: noon.Add(time.Second)})
	if n := count(t, s, "discovered"); n != 51 {
		t.Errorf("%d boards stored after a second; want 51", n)
	}
	if due := r.due(); len(due) != 0 {
		t.Errorf("a board seen again a second later is written again: %v", due)
	}
}

func TestDiscoverIsBounded(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	const boards = maxDiscovered + 40
	for i := range boards {
		discover(t, r, Discovered{MAC: board(i).MAC, LastSeen: noon.Add(time.Duration(i) * time.Second)})
	}
	got := r.Discovered()
	if len(got) != maxDiscovered || got[0].MAC != board(boards-1).MAC || got[maxDiscovered-1].MAC != board(40).MAC {
		t.Errorf("%d boards, %v to %v; want the last %d", len(got), got[0], got[len(got)-1], maxDiscovered)
	}
	if n := count(t, s, "discovered"); n != maxDiscovered {
		t.Errorf("%d boards stored; want %d", n, maxDiscovered)
	}
}

func TestRegisteredIsNotDiscovered(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	discover(t, r, Discovered{MAC: board(1).MAC, LastSeen: noon})
	add(t, r, board(1), "secret")
	discover(t, r, Discovered{MAC: board(1).MAC, LastSeen: noon.Add(time.Hour)})
	if got := r.Discovered(); len(got) != 0 || count(t, s, "discovered") != 0 {
		t.Errorf("Discovered = %v, %d stored; want none: the board is registered", got, count(t, s, "discovered"))
	}
	if err := r.Discover(t.Context(), Discovered{LastSeen: noon}); err == nil {
		t.Error("Discover without an address = nil; want an error")
	}
}

// A clock that is set back, as after a boot without a battery, must not stop the
// writes.
func TestDiscoverAfterClockWasSetBack(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	discover(t, r, Discovered{MAC: board(1).MAC, LastSeen: noon})
	discover(t, r, Discovered{MAC: board(2).MAC, LastSeen: noon.Add(-24 * time.Hour)})
	if n := count(t, s, "discovered"); n != 2 {
		t.Errorf("%d boards stored; want 2", n)
	}
}

func discover(t *testing.T, r *Registry, d Discovered) {
	t.Helper()
	if err := r.Discover(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}
