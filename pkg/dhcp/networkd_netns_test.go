//go:build netns

package dhcp

import (
	"bytes"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// networkd runs systemd's client with a /run of its own, $1, and as in a
// container, without udev.
const networkd = `
set -e
mount --bind "$1" /run
mount -t sysfs -o ro sysfs /sys
mkdir -p /run/systemd/network /run/systemd/netif/leases /run/systemd/netif/links
chown -R systemd-network:systemd-network /run/systemd/netif
printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\n' >/run/systemd/network/10-eth0.network
exec /lib/systemd/systemd-networkd
`

// TestNetworkd: systemd-networkd, which most roots have, gets the reservation
// that the boot code had.
func TestNetworkd(t *testing.T) {
	t.Parallel()
	l := newLAN(t, known)
	run := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "sh", "-c", networkd, "networkd", run)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	ok(t, l.board.Do(cmd.Start))
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("systemd-networkd said:\n%s", said.String())
		}
	})

	wantKinds(t, l, Discover, Offer, Request, Ack)
	want := map[string]string{
		"ADDRESS": "10.0.0.21", "NETMASK": "255.255.255.0", "ROUTER": "10.0.0.254", "SERVER_ADDRESS": "10.0.0.1",
		"DNS": "10.0.0.2 10.0.0.3", "DOMAINNAME": "example.org", "LIFETIME": "43200",
	}
	got := awaitEnv(t, leaseFile(t, l, run), ended)
	if got["LIFETIME"] == "12h" { // as systemd 257 writes it
		got["LIFETIME"] = "43200"
	}
	maps.DeleteFunc(got, func(key, _ string) bool { _, wanted := want[key]; return !wanted })
	if !maps.Equal(got, want) {
		t.Errorf("systemd-networkd gets %v; want %v", got, want)
	}
}

// leaseFile is where systemd-networkd writes eth0's lease down, under run.
func leaseFile(t *testing.T, l lan, run string) string {
	t.Helper()
	var card *net.Interface
	ok(t, l.board.Do(func() (err error) { card, err = net.InterfaceByName("eth0"); return err }))
	return filepath.Join(run, "systemd", "netif", "leases", strconv.Itoa(card.Index))
}
