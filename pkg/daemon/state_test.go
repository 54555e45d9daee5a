package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"pibootd/pkg/config"
)

// What holds secrets and programs of boards is closed at every start, whoever
// made the directory.
func TestStateIsClosed(t *testing.T) {
	cfg := config.Default()
	cfg.StateDir = filepath.Join(t.TempDir(), "state")
	for _, dir := range []string{"keys", "templates", "roots"} {
		if err := os.MkdirAll(filepath.Join(cfg.StateDir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := makeDirs(cfg); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"keys", "templates", "roots", "nats"} {
		if info, err := os.Stat(filepath.Join(cfg.StateDir, dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want mode 0700", dir, info, err)
		}
	}
}
