//go:build netns

package boot

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/dhcp"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/virtualpi"
)

// relayed is a board behind a router.
var relayed = registry.Pi{
	Serial: 0x10000009, MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 9}, Name: "far", IP: netip.MustParseAddr("10.9.0.20"),
	Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64},
}

// A board in another network gets its address through the relay of its router, and its files and
// its root by route.
func TestBoardBehindARelay(t *testing.T) {
	p := newPolicy(t)
	p.Server.Static = []Network{{Prefix: netip.MustParsePrefix("10.9.0.0/24"), Router: netip.MustParseAddr("10.9.0.1")}}
	if _, err := p.Registry.Add(t.Context(), relayed, "token"); err != nil {
		t.Fatal(err)
	}
	makeBootFiles(t, filepath.Join(p.Roots.Path(relayed.Serial), "boot/firmware"))
	lab := serveBoards(t, p, func(s *dhcp.Server) {
		s.Proxy = false
		s.Subnets = []dhcp.Subnet{{Prefix: netip.MustParsePrefix("10.9.0.0/24"), Router: netip.MustParseAddr("10.9.0.1")}}
	})
	router := lab.startRouter(t)

	board := &virtualpi.Board{Model: virtualpi.Pi4B, MAC: relayed.MAC, Serial: relayed.Serial}
	boot, err := board.PowerOn(t.Context(), virtualpi.Socket{Namespace: router, Bridge: netlabtest.Bridge})
	if err != nil {
		t.Fatal(err)
	}
	if boot.Addr != netip.PrefixFrom(relayed.IP, 24) || boot.Router != netip.MustParseAddr("10.9.0.1") || boot.TFTP != server.Addr || len(boot.Kernel) == 0 {
		t.Errorf("it booted at %v, router %v, from %v, with a kernel of %d bytes; want %v, 10.9.0.1, %v and a kernel",
			boot.Addr, boot.Router, boot.TFTP, len(boot.Kernel), relayed.IP, server.Addr)
	}
	if want := "ip=10.9.0.20:10.0.0.1:10.9.0.1:255.255.255.0:far:eth0:off"; !strings.Contains(boot.Cmdline, want) {
		t.Errorf("kernel arguments %q; want %q in them", boot.Cmdline, want)
	}
	lab.serveRoot(t, p, relayed)
	mountsByRoute(t, router, relayed)

	stranger := &virtualpi.Board{Model: virtualpi.Pi4B, MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 8}, Serial: 0x10000008, Timing: virtualpi.Timing{DHCPRetry: 100 * time.Millisecond, DHCPTimeout: time.Second}}
	if _, err := stranger.PowerOn(t.Context(), virtualpi.Socket{Namespace: router, Bridge: netlabtest.Bridge}); !errors.Is(err, virtualpi.ErrNoOffer) {
		t.Errorf("PowerOn of an unregistered board = %v; want %v", err, virtualpi.ErrNoOffer)
	}
	if relay := p.RelayOf(stranger.MAC); relay != netip.MustParseAddr("10.9.0.1") {
		t.Errorf("RelayOf an unregistered board = %v; want 10.9.0.1", relay)
	}
}

// startRouter joins the network 10.9.0.0/24 to the lab's by a router that relays DHCP.
func (lab *boardLab) startRouter(t *testing.T) *netlab.Namespace {
	t.Helper()
	router, _ := lab.plugIn(t, netlabtest.Host{Addr: "10.0.0.254/24"})
	if err := router.Bridge(netlabtest.Bridge, netip.MustParsePrefix("10.9.0.1/24")); err != nil {
		t.Fatal(err)
	}
	// Without another port the bridge has no carrier, and dnsmasq no network, until a board is on.
	netlabtest.Host{Port: "other"}.Join(t, router)
	run(t, router, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	run(t, lab.server, "ip", "route", "add", "10.9.0.0/24", "via", "10.0.0.254")
	var out bytes.Buffer
	relay := exec.Command("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null", "--pid-file", "--user=root", "--port=0",
		"--leasefile-ro", "--dhcp-relay=10.9.0.1,10.0.0.1")
	relay.Stderr = &out
	if err := router.Do(relay.Start); err != nil {
		t.Fatalf("starting dnsmasq: %v; install the package dnsmasq-base", err)
	}
	t.Cleanup(func() {
		_ = relay.Process.Kill()
		_ = relay.Wait() // it was killed
		if t.Failed() {
			t.Logf("dnsmasq said:\n%s", out.String())
		}
	})
	return router
}

func run(t *testing.T, in *netlab.Namespace, name string, args ...string) {
	t.Helper()
	err := in.Do(func() error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Logf("%s", out)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
}

// serveRoot exports a board's root to its address.
func (lab *boardLab) serveRoot(t *testing.T, p *Policy, board registry.Pi) {
	t.Helper()
	exports := &nfs.Server{Key: bytes.Repeat([]byte{7}, 32), OnMount: p.Mounted}
	export := nfs.Export{ID: 1, Path: RootExport(board.Serial), Dir: p.Roots.Path(board.Serial), Clients: []netip.Addr{board.IP}}
	if err := exports.Export(export); err != nil {
		t.Fatal(err)
	}
	var on nfs.Listeners
	err := lab.server.Do(func() (err error) {
		if on.NFS, err = net.Listen("tcp4", "10.0.0.1:2049"); err != nil {
			return err
		}
		on.Portmap, err = net.Listen("tcp4", "10.0.0.1:111")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- exports.Serve(ctx, on) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// mountsByRoute mounts a board's root from its network, as the board does.
func mountsByRoute(t *testing.T, router *netlab.Namespace, board registry.Pi) {
	t.Helper()
	host := netlabtest.Host{Port: "host", MAC: board.MAC, Addr: netip.PrefixFrom(board.IP, 24).String()}.Join(t, router)
	run(t, host, "ip", "route", "add", "default", "via", "10.9.0.1")
	mount := probe.NewBoard(board.IP, server.Addr, RootExport(board.Serial), func(err error) error { return err })
	if err := host.Do(func() error { return mount.Try(probe.File{Name: "boot/firmware/kernel8.img", Write: true}) }); err != nil {
		t.Errorf("mounting %s from %s through the router: %v", RootExport(board.Serial), board.IP, err)
	}
}
