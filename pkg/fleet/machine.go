package fleet

import (
	"context"
	"time"

	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// AddMachine registers a machine that is no board and returns it with the token
// of its worker, which nobody can tell a second time.
func (f *Fleet) AddMachine(ctx context.Context, m registry.Machine) (added registry.Machine, token string, err error) {
	if err := f.changes.checkName(m.Name); err != nil {
		return registry.Machine{}, "", err
	}
	if token, err = newToken(); err != nil {
		return registry.Machine{}, "", err
	}
	if added, err = f.Registry.AddMachine(ctx, m, token); err != nil {
		return registry.Machine{}, "", err
	}
	f.recordMachine(added.Name, timeline.Added)
	return added, token, nil
}

// RemoveMachine removes a machine: the queue refuses its worker from then on, and
// its connection to the queue is ended.
func (f *Fleet) RemoveMachine(ctx context.Context, name string) (registry.Machine, error) {
	m, err := f.Registry.RemoveMachine(ctx, name)
	if err != nil {
		return registry.Machine{}, err
	}
	f.recordMachine(m.Name, timeline.Removed)
	return m, f.Disconnect(m.Name)
}

func (f *Fleet) recordMachine(name string, kind timeline.Kind) {
	f.Timeline.Record(timeline.Event{At: time.Now(), Board: name, Name: name, Kind: kind})
}
