package images

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestClockScript: a minimal root's clock is set by when its command line was
// served, and better by the time of a file, where the server gives that.
func TestClockScript(t *testing.T) {
	text, err := fs.ReadFile(Minimal(), "root/etc/init.d/clock")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script, mark := filepath.Join(dir, "script"), filepath.Join(dir, "mark")
	cmdline, uptime := filepath.Join(dir, "cmdline"), filepath.Join(dir, "uptime")
	for _, test := range []struct {
		cmdline, mark string
		want          string
	}{
		{"root=/dev/nfs systemd.clock_usec=1767323045000000 x", mark, "-s @1767323057\n-s @1700000000\n"},
		{"systemd.clock_usec=1767323045000000", filepath.Join(dir, "none", "mark"), "-s @1767323057\n"},
		{"root=/dev/nfs systemd.clock_usec=soon", mark, "-s @1700000000\n"},
	} {
		for file, content := range map[string]string{
			script: string(text), cmdline: test.cmdline + "\n", uptime: "12.34 50.00\n", mark: "",
			filepath.Join(dir, "date"): "#!/bin/sh\necho \"$*\" >&2\n",
			filepath.Join(dir, "stat"): "#!/bin/sh\necho 1700000000\n",
		} {
			if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "/bin/sh", script)
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "CMDLINE=" + cmdline, "UPTIME=" + uptime, "MARK=" + test.mark}
		said, err := cmd.CombinedOutput()
		var dates strings.Builder
		for line := range strings.Lines(string(said)) {
			if strings.HasPrefix(line, "-s ") {
				dates.WriteString(line)
			}
		}
		if got := dates.String(); got != test.want {
			t.Errorf("with %q and the mark %s the clock is set by %q (%v: %s); want %q", test.cmdline, test.mark, got, err, said, test.want)
		}
	}
}
