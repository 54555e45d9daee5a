//go:build netns

package dhcp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"pibootd/pkg/netlab"
	"pibootd/pkg/pi"
)

// listenToAll returns a packet socket that hears every frame that arrives at
// the namespace's eth0, its own excepted.
func listenToAll(t *testing.T, ns *netlab.Namespace) *os.File {
	t.Helper()
	var file *os.File
	ok(t, ns.Do(func() error {
		card, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), "all frames")
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: card.Index})
	}))
	t.Cleanup(func() { ok(t, file.Close()) })
	return file
}

// nextFrame returns in words the next frame that is an answer or wakes up.
func nextFrame(t *testing.T, file *os.File) string {
	t.Helper()
	ok(t, file.SetReadDeadline(time.Now().Add(30*time.Second)))
	buf := make([]byte, 2048)
	for {
		n, err := file.Read(buf)
		ok(t, err)
		f := buf[:n]
		to := net.HardwareAddr(f[:6])
		switch binary.BigEndian.Uint16(f[12:]) {
		case etherTypeWake:
			return fmt.Sprintf("wake %v", to)
		case etherTypeIPv4:
			if reply, err := dhcpv4.FromBytes(f[headerEthernet+headerIPv4+headerUDP:]); err == nil {
				return fmt.Sprintf("%v %v, IP %v", reply.MessageType(), to, net.IP(f[headerEthernet+16:headerEthernet+20]))
			}
		}
	}
}

// TestMaskROMIsRescued looks at what a 3B's Ethernet card sees.
func TestMaskROMIsRescued(t *testing.T) {
	t.Parallel()
	s := testServer()
	l := newLANOf(t, s, known)
	l.awaitServer(t)
	frames := listenToAll(t, l.board)
	l.send(t, message(known, dhcpv4.MessageTypeDiscover, maskROM))
	mac := known.String()
	want := []string{"wake " + mac, "OFFER " + mac + ", IP 10.0.0.21", "wake " + mac}
	for _, want := range want {
		if got := nextFrame(t, frames); got != want {
			t.Errorf("frame = %q; want %q", got, want)
		}
	}
	l.wantNeighbour(t, "10.0.0.21 dev eth0 lladdr "+mac+" PERMANENT proto 167")

	// The server's interface changes its address, as a bridge does with its ports.
	l.ip(t, "link", "set", "eth0", "address", "02:00:00:00:00:99")
	for deadline := time.Now().Add(time.Minute); l.ip(t, "neigh", "show", "to", "10.0.0.21") == "" && time.Now().Before(deadline); {
	}
	l.wantNeighbour(t, "10.0.0.21 dev eth0 lladdr "+mac+" PERMANENT proto 167")

	// Its kernel answers ARP.
	l.send(t, message(known, dhcpv4.MessageTypeDiscover))
	if got, want := nextFrame(t, frames), "OFFER "+mac+", IP 10.0.0.21"; got != want {
		t.Errorf("frame = %q; want %q", got, want)
	}
	l.wantNeighbour(t, "")
}

// A pin that a killed server left goes at the next start, and no other entry.
func TestForgottenPinsGo(t *testing.T) {
	t.Parallel()
	s := testServer()
	l := newLANOf(t, s, known)
	l.awaitServer(t)
	ok(t, l.server.Do(func() error {
		card, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		killed, err := openNeighbours(card.Index)
		if err != nil {
			return err
		}
		defer killed.handle.Close()
		return killed.pin(ip(21), known, time.Now())
	}))
	l.ip(t, "neigh", "replace", "10.0.0.99", "lladdr", strange.String(), "dev", "eth0", "nud", "permanent")
	l.wantNeighbour(t, "10.0.0.21 dev eth0 lladdr "+known.String()+" PERMANENT proto 167")

	var conn *Conn
	ok(t, l.server.Do(func() (err error) { conn, err = Listen("eth0", s.Addr.Addr(), 1067); return err }))
	ok(t, newExchange(s, conn).start(t.Context()))
	ok(t, conn.Close())
	l.wantNeighbour(t, "")
	if got := l.ip(t, "neigh", "show", "to", "10.0.0.99"); !strings.Contains(got, "PERMANENT") {
		t.Errorf("another's entry = %q; want it left alone", got)
	}
}

func (l lan) ip(t *testing.T, args ...string) string {
	t.Helper()
	var out []byte
	ok(t, l.server.Do(func() (err error) {
		out, err = exec.CommandContext(t.Context(), "ip", args...).CombinedOutput()
		return err
	}))
	return strings.Join(strings.Fields(string(out)), " ")
}

func (l lan) wantNeighbour(t *testing.T, want string) {
	t.Helper()
	if got := l.ip(t, "neigh", "show", "to", "10.0.0.21"); got != want {
		t.Errorf("neighbour = %q; want %q", got, want)
	}
}

// send broadcasts m from the board.
func (l lan) send(t *testing.T, m *dhcpv4.DHCPv4) {
	t.Helper()
	ok(t, l.board.Do(func() error {
		card, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		out, err := openLink(card)
		if err != nil {
			return err
		}
		defer out.file.Close()
		from := netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort)
		return out.sendUDP(pi.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from, netip.AddrPortFrom(broadcast, serverPort), m.ToBytes())
	}))
}

// awaitServer returns when the server has answered the board: a fresh bridge
// loses its first frames.
func (l lan) awaitServer(t *testing.T) {
	t.Helper()
	_, err := l.client(t).DiscoverOffer(t.Context(), bootCode)
	ok(t, err)
}

// TestPoolAvoidsAddressesInUse has a host use the pool's first address by its
// own choice, and a client that gets the next.
func TestPoolAvoidsAddressesInUse(t *testing.T) {
	t.Parallel()
	s := poolServer(t, filepath.Join(t.TempDir(), "db"))
	l := newLANOf(t, s, strange)
	l.host(t, "psq", pi.MAC{2, 0, 0, 0, 1, 1}, netip.MustParsePrefix("10.0.0.150/24"))
	lease, err := udhcpc(t, l, "-r", "10.0.0.150")
	ok(t, err)
	if got := lease["ip"]; got == "10.0.0.150" || !strings.HasPrefix(got, "10.0.0.1") {
		t.Errorf("udhcpc gets %v; want an address of the pool that is not in use", got)
	}
	if mac, ok := s.Pool.holder(netip.MustParseAddr(lease["ip"]), time.Now()); !ok || mac != strange {
		t.Errorf("holder of %s = %v, %v; want %v", lease["ip"], mac, ok, strange)
	}
	if _, _, err := s.Pool.offer(host(9), ip(150), time.Now()); err != nil || !slices.ContainsFunc(s.Pool.slots, func(s slot) bool { return s.state == aside }) {
		t.Errorf("no address is withheld, %v; want 10.0.0.150 to be", err)
	}
}

// Two clients of the pool and their addresses outlive the server.
func TestPoolOutlivesTheServer(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "db")
	var before string
	t.Run("before", func(t *testing.T) {
		lease, err := udhcpc(t, newLANOf(t, poolServer(t, file), strange))
		ok(t, err)
		before = lease["ip"]
	})
	t.Run("after", func(t *testing.T) {
		l := newLANOf(t, poolServer(t, file), host(1))
		lease, err := udhcpc(t, l, "-r", before)
		ok(t, err)
		if lease["ip"] == before {
			t.Errorf("two clients get %s", before)
		}
	})
}
