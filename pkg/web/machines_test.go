package web

import (
	"strings"
	"testing"

	"pibootd/pkg/timeline"
)

func TestMachines(t *testing.T) {
	d := start(t)
	ctx := t.Context()
	if machines, err := d.client.Machines(ctx); err != nil || machines == nil || len(machines) != 0 {
		t.Errorf("Machines = %+v, %v; want an empty list", machines, err)
	}
	added, err := d.client.AddMachine(ctx, NewMachine{Name: "desk-pc", Labels: []string{"fast"}, Weight: 0.5})
	if err != nil || added.Name != "desk-pc" || added.Labels[0] != "fast" || added.Weight != 0.5 || len(added.Token) != 64 {
		t.Fatalf("AddMachine = %+v, %v; want desk-pc with a token", added, err)
	}
	for event, err := range d.client.Follow(ctx, "desk-pc", 0) {
		if err != nil || event.Kind != timeline.Added || event.Name != "desk-pc" {
			t.Errorf("event %+v, %v; want that it was added", event, err)
		}
		break
	}
	for name, want := range map[string]string{"desk-pc": "remove-worker desk-pc", "hlspi1": "the board with serial 3333347a", "a.b": "not a host name"} {
		if _, err := d.client.AddMachine(ctx, NewMachine{Name: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("AddMachine(%s) = %v; want an error about %q", name, err, want)
		}
	}
	if m, err := d.client.Machine(ctx, "desk-pc"); err != nil || m.Online || !m.LastSeen.IsZero() || !m.Added.Equal(added.Added) {
		t.Errorf("Machine = %+v, %v; want desk-pc, never seen", m, err)
	}
	if _, err := d.client.Drain(ctx, "desk-pc", true); err != nil {
		t.Errorf("Drain = %v", err)
	}
	if removed, err := d.client.RemoveMachine(ctx, "desk-pc"); err != nil || removed.Name != "desk-pc" {
		t.Errorf("RemoveMachine = %+v, %v", removed, err)
	}
	for what, call := range map[string]func() error{
		"Machine":       func() error { _, err := d.client.Machine(ctx, "desk-pc"); return err },
		"RemoveMachine": func() error { _, err := d.client.RemoveMachine(ctx, "desk-pc"); return err },
		"Drain":         func() error { _, err := d.client.Drain(ctx, "desk-pc", true); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "list-workers") {
			t.Errorf("%s of one that was removed = %v; want an error that names list-workers", what, err)
		}
	}
}

func TestAddress(t *testing.T) {
	for network, want := range map[string]string{"10.0.0.1/24": "10.0.0.1:8080", "": ""} {
		if got := (Info{Network: network, HTTPPort: 8080}).address(); got != want {
			t.Errorf("the address in %q is %q; want %q", network, got, want)
		}
	}
}
