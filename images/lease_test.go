package images

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLeaseScript: whatever udhcpc says, a minimal root's script changes nothing
// of the network, and it tells what is odd.
func TestLeaseScript(t *testing.T) {
	text, err := fs.ReadFile(Minimal(), "root/etc/udhcpc.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script, log, changed := filepath.Join(dir, "script"), filepath.Join(dir, "log"), filepath.Join(dir, "changed")
	files := map[string]string{script: string(text)}
	for _, tool := range []string{"ip", "ifconfig", "route", "udhcpc"} {
		files[filepath.Join(dir, tool)] = "#!/bin/sh\necho \"$0 $*\" >>" + changed + "\n"
	}
	for file, content := range files {
		if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ event, ip, want string }{
		{"deconfig", "", ""},
		{"bound", "10.0.0.11", ""},
		{"renew", "10.0.0.11", ""},
		{"bound", "10.0.0.99", "gave 10.0.0.99; keeping 10.0.0.11"},
		{"renew", "10.0.0.99", "gave 10.0.0.99; keeping 10.0.0.11"},
		{"nak", "", "refused 10.0.0.11; keeping it"},
		{"leasefail", "", ""},
	} {
		if err := os.WriteFile(log, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/bin/sh", script, test.event)
		cmd.Env = []string{"PATH=" + dir, "LOG=" + log, "HELD=10.0.0.11", "ip=" + test.ip, "interface=eth0"}
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", test.event, err, out)
		}
		said, err := os.ReadFile(log)
		if err != nil || !strings.Contains(string(said), test.want) || test.want == "" && len(said) > 0 {
			t.Errorf("%s %s: it says %q, %v; want %q", test.event, test.ip, said, err, test.want)
		}
	}
	if calls, err := os.ReadFile(changed); err == nil {
		t.Errorf("the network was changed:\n%s", calls)
	}
}
