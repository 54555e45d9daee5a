//go:build e2e

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Whatever signal ends the demo, and however often it is sent, none of its
// processes stays, and with the last of them goes its network.
func TestDemoEndedBySignal(t *testing.T) {
	for _, signals := range [][]syscall.Signal{
		{syscall.SIGTERM}, {syscall.SIGTERM, syscall.SIGTERM}, {syscall.SIGINT}, {syscall.SIGHUP, syscall.SIGTERM}, {syscall.SIGUSR1}, {syscall.SIGKILL},
	} {
		t.Run(signalNames(signals), func(t *testing.T) {
			before := namedNetworks(t)
			demo, wait := startDemo(t)
			for _, signal := range signals {
				if err := demo.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
			if err := wait(); err == nil {
				t.Error("a demo that was ended says that it succeeded")
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
// is being built.
func startDemo(t *testing.T) (demo *exec.Cmd, wait func() error) {
	t.Helper()
	demo = exec.CommandContext(t.Context(), "../../scripts/demo")
	demo.Env = append(os.Environ(), "DEMO_STATE="+t.TempDir())
	demo.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	wait = startWatched(t, demo)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "building the minimal template") {
			return demo, wait
		}
	}
	t.Fatalf("the demo ended before it built a template: %v", wait())
	return nil, nil
}
