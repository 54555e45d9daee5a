//go:build e2e || release

package main

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
)

// A nas is a guest whose kernel has nfsd.
type nas struct {
	host *netlab.Namespace
}

// sh runs a script on the NAS and returns what it printed.
func (n *nas) sh(t *testing.T, script string) string {
	t.Helper()
	var out []byte
	err := n.host.Do(func() error {
		conn, err := net.Dial("tcp4", "10.79.0.1:7000")
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(labTimeout)); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "exec 2>&1\n"+script+"\nexit\n"); err != nil {
			return err
		}
		out, err = io.ReadAll(conn)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// startGuest starts QEMU with args beside what all guests have, on a network
// whose address 10.79.0.1 is for the guest to take, and returns when it says
// that it is ready.
func startGuest(t *testing.T, args ...string) *nas {
	t.Helper()
	network := netlabtest.NewBridge(t, "10.79.0.254/24")
	err := errors.Join(network.Tap("nas"), network.Attach("nas", netlabtest.Bridge))
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{net: network, state: t.TempDir()}
	l.startProgram(t, "qemu-system-x86_64", append(args,
		"-M", "pc", "-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "2",
		"-netdev", "tap,id=lan,ifname=nas,script=no,downscript=no", "-device", "virtio-net-pci,netdev=lan,romfile=", "-device", "virtio-rng-pci",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot")...).waitFor(t, "nas: ready")
	return &nas{host: network}
}

func putText(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readAll returns what a file has; "" if there is none.
func readAll(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// tool runs a program and returns what it printed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	var errs strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, errs.String())
	}
	return string(out)
}
