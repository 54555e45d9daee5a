//go:build netns

package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pin "github.com/pin/tftp/v3"

	"pibootd/pkg/dhcp"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/tftp"
	"pibootd/pkg/timeline"
	"pibootd/pkg/virtualpi"
)

// Boards of every model boot with an address that the house's server gave them
// and that is not the registered one: also a 3B, which asks for bootcode.bin
// without saying who it is.
func TestBoardsBootFromAnotherAddress(t *testing.T) {
	for _, model := range virtualpi.Models() {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			p := newPolicy(t)
			makeBootFiles(t, filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware"))
			lab := serveBoards(t, p)
			lab.startHouse(t)
			board := &virtualpi.Board{Model: model, MAC: hlspi1.MAC, Serial: hlspi1.Serial}
			boot, err := board.PowerOn(t.Context(), virtualpi.Socket{Namespace: lab.server, Bridge: "br0"})
			if err != nil {
				t.Fatal(err)
			}
			if boot.Addr.Addr() == hlspi1.IP || boot.Prefix != "3333347a/" || len(boot.Kernel) == 0 {
				t.Errorf("it booted at %s from %q with a kernel of %d bytes; want another address than %s, its own files and a kernel",
					boot.Addr, boot.Prefix, len(boot.Kernel), hlspi1.IP)
			}
			for _, e := range until(t, p, hlspi1.Serial, timeline.File) {
				if strings.HasPrefix(e, string(timeline.Stranger)) {
					t.Errorf("the board is reported as %q; want it known", e)
				}
			}
		})
	}
}

// A client with an address of its own gets a board's files if it has that
// board's Ethernet address, and else nothing.
func TestAStaticAddressIsKnownByItsHost(t *testing.T) {
	p := newPolicy(t)
	lab := serveBoards(t, p)
	stranger := pi.MAC{2, 0, 0, 0, 0, 9}
	for _, test := range []struct {
		addr string
		mac  pi.MAC
		name string
		want string // "": not found
	}{
		{"10.0.0.99/24", stranger, "3333347a/start.elf", ""},
		{"10.0.0.99/24", stranger, "3333347a/cmdline.txt", ""},
		{"10.0.0.99/24", stranger, "bootcode.bin", ""},
		{"10.0.0.98/24", hlspi1.MAC, "3333347a/start.elf", "start of hlspi1"},
		{"10.0.0.98/24", hlspi1.MAC, "b8-27-eb-33-34-7a/start.elf", "start of hlspi1"},
		{"10.0.0.98/24", hlspi1.MAC, "cluster-a/start.elf", "start of hlspi1"},
		{"10.0.0.98/24", hlspi1.MAC, "bootcode.bin", "bootcode of hlspi1"},
		{"10.0.0.98/24", hlspi1.MAC, "10000002/start.elf", ""},
		{"10.0.0.98/24", hlspi1.MAC, "3333347a/out", ""},
		{"10.0.0.11/24", hlspi1.MAC, "3333347a/start.elf", "start of hlspi1"},
		{"10.0.0.12/24", hlspi2.MAC, "3333347a/start.elf", ""},
	} {
		got, err := lab.read(t, test.addr, test.mac, test.name)
		switch {
		case test.want != "" && (err != nil || got != test.want):
			t.Errorf("%s with %s reads %s: %q, %v; want %q", test.addr, test.mac, test.name, got, err, test.want)
		case test.want == "" && (err == nil || !strings.Contains(err.Error(), "file not found")):
			t.Errorf("%s with %s reads %s: %q, %v; want file not found", test.addr, test.mac, test.name, got, err)
		}
	}
	want := "stranger 10.0.0.99 3333347a asked for from 10.0.0.99, registered with 10.0.0.11"
	if got := until(t, p, hlspi1.Serial, timeline.File); got[0] != want {
		t.Errorf("the timeline begins %q; want %q", got, want)
	}
}

// serveBoards serves p's boards on a bridge, with their files and as a proxy, unless change makes
// the server another one.
func serveBoards(t *testing.T, p *Policy, change ...func(*dhcp.Server)) *boardLab {
	t.Helper()
	lab := &boardLab{server: netlabtest.NewBridge(t, "10.0.0.1/24")}
	var conn *dhcp.Conn
	var files net.PacketConn
	err := lab.server.Do(func() (err error) {
		if conn, err = dhcp.Listen("br0", server.Addr, 67); err != nil {
			return err
		}
		files, err = net.ListenPacket("udp4", "10.0.0.1:69")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Hosts = func(ctx context.Context, addr netip.Addr) []pi.MAC {
		hosts, err := dhcp.Hosts(ctx, nil, conn, addr)
		if err != nil {
			t.Error(err)
		}
		return hosts
	}
	ctx, cancel := context.WithCancel(context.Background())
	proxy := &dhcp.Server{Policy: p, Interface: "br0", Addr: netip.MustParsePrefix("10.0.0.1/24"), Proxy: true, OnMessage: p.DHCPMessage}
	for _, by := range change {
		by(proxy)
	}
	boots := &tftp.Server{Source: p, OnDone: p.Transferred}
	served := make(chan error, 2)
	go func() { served <- proxy.Serve(ctx, conn) }()
	go func() { // a transfer's socket is opened in the network of its thread
		served <- lab.server.Do(func() error { return boots.Serve(ctx, files) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-served, <-served, conn.Close(), files.Close()); err != nil {
			t.Error(err)
		}
	})
	return lab
}

// startHouse runs dnsmasq as the network's DHCP server, which knows no boards.
func (lab *boardLab) startHouse(t *testing.T) {
	t.Helper()
	house, _ := lab.plugIn(t, netlabtest.Host{Addr: "10.0.0.254/24"})
	var out bytes.Buffer
	cmd := exec.Command("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file", "--user=root", "--port=0",
		"--interface=eth0", "--no-ping", "--leasefile-ro", "--dhcp-range=10.0.0.60,10.0.0.80,255.255.255.0")
	cmd.Stderr = &out
	if err := house.Do(cmd.Start); err != nil {
		t.Fatalf("starting dnsmasq: %v; install the package dnsmasq-base", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("dnsmasq said:\n%s", out.String())
		}
	})
}

// plugIn makes a host a port of the bridge, until the test ends or unplug is called.
func (lab *boardLab) plugIn(t *testing.T, h netlabtest.Host) (host *netlab.Namespace, unplug func()) {
	t.Helper()
	lab.ports++
	h.Port = fmt.Sprint("port", lab.ports)
	return h.Join(t, lab.server), func() {
		t.Helper()
		if err := lab.server.Delete(h.Port); err != nil {
			t.Error(err)
		}
	}
}

// read reads a file as a host that is plugged in for that.
func (lab *boardLab) read(t *testing.T, addr string, mac pi.MAC, name string) (string, error) {
	t.Helper()
	host, unplug := lab.plugIn(t, netlabtest.Host{MAC: mac, Addr: addr})
	defer unplug()
	var text bytes.Buffer
	err := host.Do(func() error {
		client, err := pin.NewClient("10.0.0.1:69")
		if err != nil {
			return err
		}
		in, err := client.Receive(name, "octet")
		if err != nil {
			return err
		}
		_, err = in.WriteTo(&text)
		return err
	})
	return text.String(), err
}

// makeBootFiles makes what boot code of any model wants.
func makeBootFiles(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{
		"start4.elf", "fixup.dat", "fixup4.dat", "kernel.img", "kernel7.img", "kernel7l.img", "kernel8.img", "kernel_2712.img", "bcm2709-rpi-2-b.dtb", "bcm2710-rpi-2-b.dtb", "bcm2710-rpi-3-b.dtb",
		"bcm2710-rpi-3-b-plus.dtb", "bcm2711-rpi-4-b.dtb", "bcm2711-rpi-400.dtb", "bcm2711-rpi-cm4.dtb", "bcm2712-rpi-5-b.dtb", "bcm2712-rpi-500.dtb", "bcm2712-rpi-cm5-cm5io.dtb",
	} {
		write(t, filepath.Join(dir, name), "boot file")
	}
}
