//go:build netns

package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"pibootd/pkg/config"
	"pibootd/pkg/doctor"
	"pibootd/pkg/netlab/netlabtest"
)

// Every port that is taken is named, and by whom, not the first alone.
func TestTryPorts(t *testing.T) {
	cfg := config.Default()
	cfg.Interface, cfg.DHCP.Mode, cfg.NFS.Driver = "br0", config.Proxy, config.Embedded
	addr := netip.MustParseAddr("10.77.0.1")
	network := netlabtest.NewBridge(t, addr.String()+"/24")
	try := func() (found []doctor.Finding) {
		t.Helper()
		if err := network.Do(func() error { found = tryPorts(t.Context(), cfg, addr); return nil }); err != nil {
			t.Fatal(err)
		}
		return found
	}
	const all = "dhcp 67, pxe 4011, tftp 69, nfs 2049, portmap 111, queue 4222, http 8080, https 8443"
	if found := try(); levels(found) != "ports ok" || !strings.HasSuffix(found[0].Text, all) {
		t.Errorf("free ports: %+v; want %s", found, all)
	}

	err := network.Do(func() error {
		for _, port := range []int{4222, 111} {
			l, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
		}
		conn, err := net.ListenPacket("udp4", ":69")
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := try()
	if levels(found) != "ports problem, ports problem, ports problem" {
		t.Fatalf("three taken ports: %+v; want three problems", found)
	}
	for i, service := range []string{"tftp: port 69", "portmap: port 111", "queue: port 4222"} {
		want := fmt.Sprintf("%s is taken by daemon.test (process %d)", service, os.Getpid())
		if f := found[i]; f.Text != want || f.Todo == "" {
			t.Errorf("a taken port: %+v; want %q", f, want)
		}
	}
}
