package images

import (
	"errors"
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

// TestLeaseOfAStaticAddress: a board that has its address from the kernel arguments asks
// nobody for a lease.
func TestLeaseOfAStaticAddress(t *testing.T) {
	text, err := fs.ReadFile(Minimal(), "root/etc/init.d/lease")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	for name, content := range map[string]string{
		"lease":   strings.Replace(string(text), "export PATH=", "# ", 1),
		"ip":      "#!/bin/sh\necho 10.0.0.1 dev eth0 src 10.0.0.11\n",
		"udhcpc":  "#!/bin/sh\necho udhcpc \"$@\" >" + calls + "\n",
		"sleep":   "#!/bin/sh\necho sleep >" + calls + "\n",
		"static":  "quiet nfsroot=10.0.0.1:/roots/1,vers=3 ip=10.0.0.11:10.0.0.1::255.255.255.0:pi1::off BOOTIF=01-b8-27-eb-33-34-7a\n",
		"dynamic": "quiet nfsroot=10.0.0.1:/roots/1,vers=3 ip=dhcp\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{"static": "sleep\n", "dynamic": "udhcpc -f -i eth0 -r 10.0.0.11 "} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", filepath.Join(dir, "lease"))
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "CMDLINE=" + filepath.Join(dir, line)}
		out, err := cmd.CombinedOutput()
		called, readErr := os.ReadFile(calls)
		if err := errors.Join(err, readErr); err != nil || !strings.HasPrefix(string(called), want) {
			t.Errorf("%s: it calls %q, %v, %s; want %q", line, called, err, out, want)
		}
	}
}
