//go:build netns

package dhcp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/virtualpi"
)

// startHouse runs dnsmasq as the network's DHCP server, at 10.0.0.254, which
// gives the board called known its address and tells it nothing of booting.
func (l lan) startHouse(t *testing.T) {
	t.Helper()
	house := l.host(t, "phouse", pi.MAC{2, 0, 0, 0, 2, 1}, netip.MustParsePrefix("10.0.0.254/24"))
	var out bytes.Buffer
	cmd := exec.Command("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file", "--user=root", "--port=0",
		"--interface=eth0", "--no-ping", "--leasefile-ro", "--dhcp-range=10.0.0.60,10.0.0.80,255.255.255.0", fmt.Sprintf("--dhcp-host=%v,10.0.0.21", known))
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

// TestProxyBesideTheHousesServer powers on boards that get their address from
// dnsmasq, and looks where they ask for files.
func TestProxyBesideTheHousesServer(t *testing.T) {
	for _, model := range virtualpi.Models() {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			s := testServer()
			s.Proxy = true
			l := newLANOf(t, s, host(1))
			l.startHouse(t)
			var files net.PacketConn
			ok(t, l.server.Do(func() (err error) { files, err = net.ListenPacket("udp4", "10.0.0.1:69"); return err }))
			defer files.Close()

			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				board := &virtualpi.Board{Model: model, MAC: known, Serial: 0xa2ef5644}
				_, err := board.PowerOn(ctx, virtualpi.Socket{Namespace: l.bridge, Bridge: "br0"})
				ended <- err
			}()
			defer func() { cancel(); <-ended }()
			ok(t, files.SetReadDeadline(time.Now().Add(60*time.Second)))
			buf := make([]byte, maxPacket)
			n, from, err := files.ReadFrom(buf)
			ok(t, err)
			if !strings.HasPrefix(from.String(), "10.0.0.21:") || n < 2 || buf[1] != 1 {
				t.Errorf("first packet at the TFTP port is %q from %v; want a read request from 10.0.0.21", buf[:n], from)
			}
		})
	}
}

// Beside the house's server in reservation mode, each client hears one of them.
func TestReservationsBesideTheHousesServer(t *testing.T) {
	t.Parallel()
	l := newLANOf(t, testServer(), strange)
	l.startHouse(t)
	lease, err := udhcpc(t, l)
	if err != nil || lease["serverid"] != "10.0.0.254" {
		t.Errorf("a stranger gets %v, %v; want an address from the house's server", lease, err)
	}
}
