//go:build e2e

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/timeline"
)

// Another DHCP server gives every client that asks an address without delay. Beside it a
// board boots all the same: after its boot ROM it asks nobody for an address.
func TestBootBesideAnotherDHCPServer(t *testing.T) {
	l := newLab(t)
	rivalServer(t, l.net)
	l.serve(t)
	l.buildTemplate(t)
	l.pibootd(t, "add-pi", "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--name", "hlspi1", "--ip", "10.77.0.50")
	console := filepath.Join(t.TempDir(), "console")
	board := l.start(t, "rehearse", "hlspi1", "--qemu", "--console", console)
	board.waitFor(t, "worker online")

	text, err := os.ReadFile(console)
	if err != nil || !strings.Contains(string(text), "address 10.77.0.50 on ") || !strings.Contains(string(text), "as the kernel arguments say") {
		t.Errorf("console: %v; want the address of the kernel arguments:\n%s", err, text)
	}
	discovers := 0
	for event, err := range l.client.Events(t.Context(), "hlspi1") {
		if err != nil {
			t.Fatal(err)
		}
		switch event.Kind {
		case timeline.Discover:
			discovers++
		case timeline.Request, timeline.MountRefused, timeline.Stranger:
			t.Errorf("event %+v; want none after the boot ROM's", event)
		}
	}
	if discovers == 0 || discovers > 2 { // the ROM may have asked again while the machine was busy
		t.Errorf("the board asked for an address %d times; want its boot ROM's alone", discovers)
	}
	if err := board.end(t, syscall.SIGINT); err != nil {
		t.Errorf("the rehearsal ends with %v; want nil", err)
	}
}

// rivalServer runs a DHCP server, as a router has it, on another machine of the network.
func rivalServer(t *testing.T, network *netlab.Namespace) {
	t.Helper()
	router := netlabtest.Host{Port: "router", Addr: "10.77.0.254/24"}.Join(t, network)
	server := exec.Command("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file", "--user=root", "--port=0",
		"--interface=eth0", "--no-ping", "--leasefile-ro", "--dhcp-authoritative", "--dhcp-range=10.77.0.100,10.77.0.120,255.255.255.0")
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := router.Do(server.Start); err != nil {
		t.Fatalf("starting dnsmasq: %v; install the package dnsmasq-base", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // it was killed
	})
}
