//go:build e2e

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whatever signal ends the demo, and however often it is sent, none of its
// processes stays, and with the last of them goes its network.
func TestDemoEndedBySignal(t *testing.T) {
	for _, signals := range [][]syscall.Signal{
		{syscall.SIGTERM}, {syscall.SIGTERM, syscall.SIGTERM}, {syscall.SIGINT}, {syscall.SIGHUP, syscall.SIGTERM}, {syscall.SIGUSR1}, {syscall.SIGKILL},
	} {
		t.Run(signalNames(signals), func(t *testing.T) {
			before := namedNetworks(t)
			demo, alive := startDemo(t)
			for _, signal := range signals {
				if err := demo.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
			if err := demo.Wait(); err == nil {
				t.Error("a demo that was ended says that it succeeded")
			}
			if _, err := alive.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("waiting for the last process of the demo: %v; want EOF", err)
			}
			if after := namedNetworks(t); !slices.Equal(after, before) {
				t.Errorf("network namespaces = %q; want %q as before", after, before)
			}
		})
	}
}

func signalNames(signals []syscall.Signal) string {
	var names []string
	for _, s := range signals {
		names = append(names, s.String())
	}
	return strings.Join(names, "+")
}

func namedNetworks(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/run/netns/pibootd-demo-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// startDemo starts the demo and returns when its daemon serves and its template
// is being built. Every process of the demo has the other end of the file that
// it returns.
func startDemo(t *testing.T) (*exec.Cmd, *os.File) {
	t.Helper()
	alive, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { alive.Close() })
	if err := alive.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "../../scripts/demo")
	cmd.Env = append(os.Environ(), "DEMO_STATE="+t.TempDir())
	cmd.ExtraFiles = []*os.File{held}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	held.Close()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "building the minimal template") {
			return cmd, alive
		}
	}
	t.Fatalf("the demo ended before it built a template: %v", cmd.Wait())
	return nil, nil
}
