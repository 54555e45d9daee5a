package daemon

import (
	"os"
	"slices"
	"testing"
)

// A template is made by the unit that the daemon's own unit names, and by a child without one.
func TestTemplateCommand(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		unit, dir string
		want      []string
	}{
		{"", "/var/lib/pibootd/operations/7", []string{self, "template", "make", "/var/lib/pibootd/operations/7"}},
		// as systemd-escape 'make /srv/pi-boot/.state/7' says
		{"pibootd-template@", "/srv/pi-boot/.state/7", []string{"systemctl", "start", `pibootd-template@make\x20-srv-pi\x2dboot-.state-7.service`}},
		{"pibootd-template@", "/srv/my state/7", []string{"systemctl", "start", `pibootd-template@make\x20\x22-srv-my\x20state-7\x22.service`}},
	} {
		cmd, err := templateCommand(t.Context(), tt.unit, tt.dir)
		if err != nil || !slices.Equal(cmd.Args, tt.want) {
			t.Errorf("templateCommand(%q, %q) = %q, %v; want %q", tt.unit, tt.dir, cmd.Args, err, tt.want)
		}
	}
}
