//go:build netns

package dhcp

import (
	"bufio"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
)

// startDnsmasq runs dnsmasq as the DHCP server of a namespace's eth0 until the
// test ends.
func startDnsmasq(t *testing.T, ns *netlab.Namespace, options ...string) {
	t.Helper()
	args := append([]string{
		"--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file", "--user=root", "--port=0",
		"--interface=eth0", "--bind-interfaces", "--no-ping", "--leasefile-ro",
	}, options...)
	cmd := exec.Command("dnsmasq", args...)
	stderr, err := cmd.StderrPipe()
	ok(t, err)
	ok(t, ns.Do(cmd.Start))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	said := bufio.NewScanner(stderr)
	for said.Scan() {
		if strings.Contains(said.Text(), "sockets bound exclusively to interface") {
			go func() {
				for said.Scan() { // so that it never waits for a reader
				}
			}()
			return
		}
	}
	t.Fatal("dnsmasq ended")
}

// TestFindOtherServers: the router's DHCP server is found, with its boot information.
func TestFindOtherServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options []string
		want    OtherServer
	}{
		"addresses alone": {
			[]string{"--dhcp-range=10.9.0.100,10.9.0.150,255.255.255.0"},
			OtherServer{Router: netip.MustParseAddr("10.9.0.1")},
		},
		"a boot server": {
			[]string{"--dhcp-range=10.9.0.100,10.9.0.150,255.255.255.0", "--dhcp-boot=pxelinux.0,,10.9.0.7", "--dhcp-option-force=43,Raspberry Pi Boot"},
			OtherServer{Router: netip.MustParseAddr("10.9.0.1"), BootServer: "10.9.0.7", BootFile: "pxelinux.0", RaspberryPi: true},
		},
		"nobody": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nas, house := netlabtest.NewPair(t, "10.9.0.2/24", "10.9.0.1/24")
			if test.options != nil {
				startDnsmasq(t, house, test.options...)
			}
			var servers []OtherServer
			ok(t, nas.Do(func() (err error) { servers, err = FindOtherServers(t.Context(), "eth0"); return err }))
			if test.options == nil {
				if len(servers) != 0 {
					t.Errorf("servers = %+v; want none", servers)
				}
				return
			}
			if len(servers) != 1 {
				t.Fatalf("servers = %+v; want one", servers)
			}
			got := servers[0]
			if got.Addr != netip.MustParseAddr("10.9.0.1") || !netip.MustParsePrefix("10.9.0.96/27").Contains(got.Offered) && !netip.MustParsePrefix("10.9.0.128/27").Contains(got.Offered) {
				t.Errorf("other %v offers %v; want 10.9.0.1 and an address of its range", got.Addr, got.Offered)
			}
			test.want.Addr, test.want.MAC, test.want.Offered = got.Addr, got.MAC, got.Offered
			if got != test.want {
				t.Errorf("other = %+v; want %+v", got, test.want)
			}
		})
	}
}
