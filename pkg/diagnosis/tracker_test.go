package diagnosis

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/store"
	"pibootd/pkg/timeline"
)

// TestRootsOfBoardsThatAreOff: the root of a board that was never seen is looked at once, and again
// when its first boot begins; that of one that has booted is not.
func TestRootsOfBoardsThatAreOff(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	events, err := timeline.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- events.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	board := registry.Pi{Serial: pi.Serial(0x3333347a), Name: "hlspi1"}
	looked := 0
	tracker := &Tracker{Timeline: events, Facts: func(board registry.Pi, _ string, boots bool) Facts {
		if boots {
			looked++
		}
		return FactsOf(board)
	}}
	want := func(what string, times int) {
		t.Helper()
		looked = 0
		for range 3 {
			if _, err := tracker.Of(t.Context(), board); err != nil {
				t.Fatal(err)
			}
		}
		if looked != times {
			t.Errorf("%s: its root is looked at %d times in 3 diagnoses; want %d", what, looked, times)
		}
	}
	happens := func(kind timeline.Kind) {
		t.Helper()
		after, err := events.Newest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		events.Record(timeline.Event{At: time.Now(), Board: board.Serial.String(), Kind: kind})
		for _, err := range events.Follow(t.Context(), board.Serial.String(), after) {
			if err != nil {
				t.Fatal(err)
			}
			break // it is stored
		}
	}
	want("never seen", 1)
	want("still never seen", 0)
	happens(timeline.Discover)
	want("boots", 4) // once before the first event is followed
	happens(timeline.WorkerOnline)
	want("works", 0)
}
