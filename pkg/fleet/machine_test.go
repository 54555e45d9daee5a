package fleet

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"pibootd/pkg/registry"
	"pibootd/pkg/store"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// What a machine's worker does is on a timeline of its own, by its name, and a
// machine that is removed is cut off.
func TestMachine(t *testing.T) {
	known, events := openRegistry(t)
	var cut []string
	f := New(Fleet{Registry: known, Timeline: events, Disconnect: func(worker string) error { cut = append(cut, worker); return nil }})

	m, token, err := f.AddMachine(t.Context(), registry.Machine{Name: "desk-pc"})
	if err != nil || m.Name != "desk-pc" || !known.CheckMachineToken("desk-pc", token) {
		t.Fatalf("AddMachine = %+v, %q, %v; want desk-pc, which its token lets in", m, token, err)
	}
	if _, token, err := f.AddMachine(t.Context(), m); err == nil || token != "" {
		t.Errorf("added again: %q, %v; want an error and no token", token, err)
	}
	f.WorkerEvent(queue.WorkerEvent{Worker: "desk-pc", Online: true, Hello: transcode.Hello{Protocol: transcode.Protocol}})
	f.UnitEvent(queue.UnitEvent{Worker: "desk-pc", Event: queue.EventClaimed, Job: 1, Unit: "probe", Attempt: 1})
	f.WorkerEvent(queue.WorkerEvent{Worker: "desk-pc"})
	if _, err := f.RemoveMachine(t.Context(), "desk-pc"); err != nil || !slices.Equal(cut, []string{"desk-pc"}) || known.CheckMachineToken("desk-pc", token) {
		t.Errorf("RemoveMachine = %v, cut off %q; want desk-pc disconnected and refused from then on", err, cut)
	}
	if _, err := f.RemoveMachine(t.Context(), "desk-pc"); !errors.Is(err, registry.ErrNoMachine) || len(cut) != 1 {
		t.Errorf("removed again: %v, cut off %q; want an error alone", err, cut)
	}

	want := []timeline.Kind{timeline.Added, timeline.WorkerOnline, timeline.Claimed, timeline.WorkerOffline, timeline.Removed}
	var got []timeline.Kind
	for e, err := range events.Follow(t.Context(), "desk-pc", 0) {
		if err != nil || e.Name != "desk-pc" {
			t.Fatalf("event %+v, %v; want one of desk-pc", e, err)
		}
		if got = append(got, e.Kind); len(got) == len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %v; want %v", got, want)
	}
}

// openRegistry opens the registry and the timeline of a new database. The timeline runs
// until the test ends.
func openRegistry(t *testing.T) (*registry.Registry, *timeline.Log) {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	known, registryErr := registry.Open(t.Context(), s)
	events, timelineErr := timeline.Open(t.Context(), s)
	if err := errors.Join(registryErr, timelineErr); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- events.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ran, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return known, events
}
