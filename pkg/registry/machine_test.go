package registry

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMachineIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	r := open(t, openStore(t, file))
	labels := []string{"fast", "office"}
	want := addMachine(t, r, Machine{Name: "desk-pc", Labels: labels, Weight: 0.5}, "secret")
	labels[0] = "slow" // the caller's slice
	plain := addMachine(t, r, Machine{Name: "a"}, "other")
	for what, r := range map[string]*Registry{"at once": r, "from the store": open(t, openStore(t, file))} {
		got, ok := r.MachineByName("desk-pc")
		if diff := cmp.Diff(want, got); !ok || diff != "" || got.Labels[0] != "fast" || got.Settings().Share() != 0.5 {
			t.Errorf("%s: desk-pc differs (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff([]Machine{plain, want}, r.Machines()); diff != "" {
			t.Errorf("%s: machines differ (-want +got):\n%s", what, diff)
		}
		for _, tt := range []struct {
			name, token string
			want        bool
		}{
			{"desk-pc", "secret", true}, {"desk-pc", "other", false}, {"desk-pc", "", false}, {"a", "other", true},
			{"desk", "secret", false}, {"", "", false}, {"Desk-pc", "secret", false},
		} {
			if got := r.CheckMachineToken(tt.name, tt.token); got != tt.want {
				t.Errorf("%s: CheckMachineToken(%q, %q) = %v; want %v", what, tt.name, tt.token, got, tt.want)
			}
		}
	}
}

func TestMachineTokenIsNotStored(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	addMachine(t, open(t, s), Machine{Name: "desk-pc"}, "secret")
	var token string
	if err := s.QueryRow(t.Context(), "SELECT token FROM machines").Scan(&token); err != nil || strings.Contains(token, "secret") || len(token) != 64 {
		t.Errorf("the store has the token as %q, %v; want its SHA-256 in hex", token, err)
	}
}

func TestRemoveMachine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	r := open(t, openStore(t, file))
	addMachine(t, r, Machine{Name: "desk-pc"}, "secret")
	if got, err := r.RemoveMachine(t.Context(), "desk-pc"); err != nil || got.Name != "desk-pc" {
		t.Errorf("removed %+v, %v; want desk-pc", got, err)
	}
	if _, err := r.RemoveMachine(t.Context(), "desk-pc"); !errors.Is(err, ErrNoMachine) {
		t.Errorf("removed again: %v; want ErrNoMachine", err)
	}
	for what, r := range map[string]*Registry{"at once": r, "from the store": open(t, openStore(t, file))} {
		if got := r.Machines(); len(got) != 0 || r.CheckMachineToken("desk-pc", "secret") {
			t.Errorf("%s: %+v is there; want nothing, and its token refused", what, got)
		}
	}
	addMachine(t, r, Machine{Name: "desk-pc"}, "new")
	if r.CheckMachineToken("desk-pc", "secret") || !r.CheckMachineToken("desk-pc", "new") {
		t.Error("added again it has its old token; want the new one")
	}
}

func TestAddMachineRefuses(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	r := open(t, s)
	add(t, r, board(1), "secret")
	addMachine(t, r, Machine{Name: "desk-pc"}, "secret")
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprintf("l%d", i)
	}
	for _, tt := range []struct {
		m    Machine
		want string
	}{
		{Machine{}, "not a host name"},
		{Machine{Name: "Desk"}, "not a host name"},
		{Machine{Name: "a.b"}, "not a host name"},
		{Machine{Name: "*"}, "not a host name"},
		{Machine{Name: "a b"}, "not a host name"},
		{Machine{Name: "-a"}, "not a host name"},
		{Machine{Name: strings.Repeat("a", 64)}, "not a host name"},
		{Machine{Name: "3333347a"}, "serial number"},
		{Machine{Name: "b8-27-eb-33-34-7a"}, "Ethernet address"},
		{Machine{Name: "muxer-2"}, "older pool"},
		{Machine{Name: "pi1"}, "the board with serial 10000001"},
		{Machine{Name: "desk-pc"}, "pibootd remove-worker desk-pc"},
		{Machine{Name: "pc", Weight: 2}, "weight 2"},
		{Machine{Name: "pc", Labels: []string{"A"}}, `label "A"`},
		{Machine{Name: "pc", Labels: many}, "17 labels"},
	} {
		if _, err := r.AddMachine(t.Context(), tt.m, "secret"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("AddMachine(%+v): %v; want an error about %q", tt.m, err, tt.want)
		}
	}
	if _, err := r.AddMachine(t.Context(), Machine{Name: "pc"}, ""); err == nil {
		t.Error("a machine without a token was added")
	}
	if got := r.Machines(); len(got) != 1 || count(t, s, "machines") != 1 {
		t.Errorf("machines %+v after what was refused; want desk-pc alone", got)
	}
}

// A name belongs to one machine or one board, whichever was added first.
func TestBoardCannotTakeAMachinesName(t *testing.T) {
	r := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	addMachine(t, r, Machine{Name: "desk-pc"}, "secret")
	p := board(1)
	p.Name = "desk-pc"
	const want = "name desk-pc belongs to a worker"
	if err := r.Check(p); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Check: %v; want %q", err, want)
	}
	if _, err := r.Add(t.Context(), p, "secret"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Add: %v; want %q", err, want)
	}
	add(t, r, board(1), "secret")
	_, err := r.Update(t.Context(), board(1).Serial, func(p *Pi) { p.Name = "desk-pc" })
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Update: %v; want %q", err, want)
	}
	if !slices.ContainsFunc(r.All(), func(p Pi) bool { return p.Name == "pi1" }) {
		t.Error("the board has lost its own name")
	}
}

func TestMachinesAreBounded(t *testing.T) {
	r := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	for i := range maxMachines {
		r.machines[fmt.Sprintf("pc%d", i)] = machine{}
	}
	if _, err := r.AddMachine(t.Context(), Machine{Name: "one-more"}, "secret"); err == nil || !strings.Contains(err.Error(), "remove one first") {
		t.Errorf("one more than %d: %v; want it refused", maxMachines, err)
	}
}

func addMachine(t *testing.T, r *Registry, m Machine, token string) Machine {
	t.Helper()
	m, err := r.AddMachine(t.Context(), m, token)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Changes of a machine's settings are stored; other changes have no effect.
func TestUpdateMachine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	r := open(t, openStore(t, file))
	want := addMachine(t, r, Machine{Name: "desk-pc", Labels: []string{"fast"}, Weight: 0.5}, "secret")
	want.Labels, want.Weight = []string{"office"}, 1
	got, err := r.UpdateMachine(t.Context(), "Desk-PC", func(m *Machine) { m.Name, m.Labels, m.Weight = "other", []string{"office"}, 1 })
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("UpdateMachine: %v (-want +got):\n%s", err, diff)
	}
	if _, err := r.UpdateMachine(t.Context(), "desk-pc", func(m *Machine) { m.Weight = 2 }); err == nil || !strings.Contains(err.Error(), "want") {
		t.Errorf("UpdateMachine to a weight of 2 = %v; want an error that says what is wanted", err)
	}
	if _, err := r.UpdateMachine(t.Context(), "nobody", func(*Machine) {}); !errors.Is(err, ErrNoMachine) {
		t.Errorf("UpdateMachine of nobody = %v; want ErrNoMachine", err)
	}
	for what, r := range map[string]*Registry{"at once": r, "from the store": open(t, openStore(t, file))} {
		if diff := cmp.Diff([]Machine{want}, r.Machines()); diff != "" || !r.CheckMachineToken("desk-pc", "secret") {
			t.Errorf("%s: machines differ, or the token does (-want +got):\n%s", what, diff)
		}
	}
}
