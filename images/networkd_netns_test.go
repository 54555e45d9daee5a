//go:build netns

package images

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
)

// networkd runs systemd's client as a board's root has it: with the kernel arguments in the file
// $1, the overlay in $2 and a /run of its own, $3. There is no udev, as in a container, where systemd
// would take the arguments of the first process for the kernel's.
const networkd = `
set -e
mount --bind "$1" /proc/cmdline
mount --bind "$2/etc/systemd/network" /etc/systemd/network
mount --bind "$3" /run
mount -t sysfs -o ro sysfs /sys
mkdir -p /run/systemd/network /run/systemd/netif/leases /run/systemd/netif/links
chown -R systemd-network:systemd-network /run/systemd/netif
sh "$2/usr/lib/pibootd/name-servers"
SYSTEMD_PROC_CMDLINE="$(cat /proc/cmdline)" exec /lib/systemd/systemd-networkd
`

// Beside another DHCP server, systemd-networkd in a root keeps the address that the kernel
// arguments name, and that alone. With ip=dhcp it asks, and takes what it gets.
func TestNetworkdKeepsTheAddress(t *testing.T) {
	overlay := t.TempDir()
	if err := os.CopyFS(overlay, Overlay()); err != nil {
		t.Fatal(err)
	}
	unit := text(t, Overlay(), "etc/systemd/system/systemd-networkd.service.d/pibootd.conf")
	if !strings.Contains(unit, "/bin/sh /usr/lib/pibootd/name-servers\n") {
		t.Errorf("%s does not start name-servers", unit)
	}
	for _, test := range []struct {
		name, arguments string
		others          bool // it has an address of the other server, too
		dns             string
	}{
		{"static", "quiet ip=10.77.0.50:10.77.0.1:10.77.0.254:255.255.255.0:hlspi1:eth0:off:10.77.0.2:10.77.0.3 rw\n", false, "10.77.0.2 10.77.0.3"},
		{"initramfs", "ip=10.77.0.50:10.77.0.1::255.255.255.0:hlspi1::off BOOTIF=01-dc-a6-32-00-00-01\n", false, ""},
		{"dhcp", "ip=dhcp rw\n", true, "10.77.0.254"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			board, other := netlabtest.NewPair(t, "10.77.0.50/24", "10.77.0.254/24")
			startOtherServer(t, other)
			state := startNetworkd(t, board, overlay, test.arguments)
			if got := state["DNS"]; got != test.dns {
				t.Errorf("name servers %q; want %q", got, test.dns)
			}
			addresses := addressesOf(t, board)
			if !strings.Contains(addresses, " 10.77.0.50/24") {
				t.Errorf("addresses %q; want 10.77.0.50 among them", addresses)
			}
			if others := strings.Contains(addresses, " 10.77.0.1"); others != test.others { // 100 to 120
				t.Errorf("addresses %q; want one of the other server: %v", addresses, test.others)
			}
		})
	}
}

// startOtherServer runs a DHCP server that gives every client that asks an address at once.
func startOtherServer(t *testing.T, on *netlab.Namespace) {
	t.Helper()
	start(t, on, exec.Command("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file", "--user=root", "--port=0",
		"--interface=eth0", "--no-ping", "--leasefile-ro", "--dhcp-authoritative", "--dhcp-option=option:dns-server,10.77.0.254", "--dhcp-range=10.77.0.100,10.77.0.120,255.255.255.0"))
}

// startNetworkd returns what systemd-networkd says of eth0 when it is done with it.
func startNetworkd(t *testing.T, board *netlab.Namespace, overlay, arguments string) map[string]string {
	t.Helper()
	run, cmdline := t.TempDir(), filepath.Join(t.TempDir(), "cmdline")
	write(t, cmdline, arguments)
	var card *net.Interface
	if err := board.Do(func() (err error) { card, err = net.InterfaceByName("eth0"); return err }); err != nil {
		t.Fatal(err)
	}
	ended := start(t, board, exec.Command("unshare", "--mount", "sh", "-c", networkd, "networkd", cmdline, overlay, run))
	file := filepath.Join(run, "systemd/netif/links", strconv.Itoa(card.Index))
	for tick := time.Tick(50 * time.Millisecond); ; {
		state := map[string]string{}
		content, _ := os.ReadFile(file) // it is not there at first
		for line := range strings.Lines(string(content)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			state[key] = value
		}
		if state["ADMIN_STATE"] == "configured" {
			return state
		}
		select {
		case <-tick:
		case <-ended:
			t.Fatal("systemd-networkd has ended")
		case <-t.Context().Done():
			t.Fatalf("systemd-networkd says %q", content)
		}
	}
}

// start starts a program in a namespace, which ends with the test.
func start(t *testing.T, in *netlab.Namespace, cmd *exec.Cmd) (ended chan struct{}) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := in.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, said.String())
		}
	})
	return ended
}

func addressesOf(t *testing.T, board *netlab.Namespace) string {
	t.Helper()
	var out []byte
	if err := board.Do(func() (err error) {
		out, err = exec.Command("ip", "-4", "-o", "address", "show", "eth0").Output()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return string(out)
}
