package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/config"
	"pibootd/pkg/doctor"
	"pibootd/pkg/store"
)

// levels returns the findings' levels and subjects, in order.
func levels(found []doctor.Finding) string {
	var out []string
	for _, f := range found {
		out = append(out, f.Subject+" "+string(f.Level))
	}
	return strings.Join(out, ", ")
}

func TestTryState(t *testing.T) {
	cfg := config.Default()
	cfg.StateDir = filepath.Join(t.TempDir(), "state")
	if got := levels(tryState(t.Context(), cfg)); got != "state ok" {
		t.Errorf("no state directory yet: %s; want state ok", got)
	}
	if _, err := os.Stat(cfg.StateDir); err == nil {
		t.Error("the state directory was made")
	}

	state, err := openState(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := tryState(t.Context(), cfg)
	if last := found[len(found)-1]; last.Level != doctor.Problem || !strings.Contains(last.Text, "in use by another pibootd") {
		t.Errorf("a daemon has it: %+v; want that as a problem", last)
	}
	if err := state.close(); err != nil {
		t.Fatal(err)
	}
	// How the roots are mounted is not this test's to know.
	if got := strings.Replace(levels(tryState(t.Context(), cfg)), "disk ok, disk ok", "disk ok", 1); got != "disk ok, state ok" {
		t.Errorf("a daemon had it: %s; want disk and state ok", got)
	}
	// Looking at it has left the lock free and the database as it was.
	if state, err = openState(t.Context(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	if err := state.close(); err != nil {
		t.Fatal(err)
	}

	for file, want := range map[string]string{"keys/nfs": "has 3 bytes", "pibootd.db": "not a database"} {
		path := filepath.Join(cfg.StateDir, file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put(t, path, []byte("bad"))
		found := tryState(t.Context(), cfg)
		if last := found[len(found)-1]; last.Level != doctor.Problem || !strings.Contains(last.Text, want) {
			t.Errorf("%s is broken: %+v; want a problem with %q", file, last, want)
		}
		put(t, path, good)
	}
	if err := store.Check(t.Context(), filepath.Join(cfg.StateDir, "pibootd.db")); err != nil {
		t.Errorf("the database put back: %v", err)
	}
}

func put(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
