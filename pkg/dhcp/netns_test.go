//go:build netns

package dhcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
)

// A lan is a bridge with the server's namespace and one board's on it.
type lan struct {
	server, board, bridge *netlab.Namespace
	messages              <-chan Message
}

// newLAN starts testServer on a network with a board of the given address. The
// server's interface has a second address, which must not show.
func newLAN(t *testing.T, mac pi.MAC) lan { return newLANOf(t, testServer(), mac) }

func newLANOf(t *testing.T, s *Server, mac pi.MAC) lan {
	t.Helper()
	bridge := netlabtest.NewBridge(t, "")
	server := netlabtest.Host{Port: "ps", Addr: "10.9.0.1/24"}.Join(t, bridge)
	board := netlabtest.Host{Port: "pb", MAC: mac}.Join(t, bridge)
	ok(t, server.AddAddr("eth0", s.Addr))

	messages := make(chan Message, 100)
	s.OnMessage = func(m Message) { messages <- m }
	l := lan{server: server, board: board, bridge: bridge, messages: messages}
	t.Cleanup(l.serve(t, s))
	return l
}

// serve starts s and returns what ends it.
func (l lan) serve(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	var conn *Conn
	ok(t, l.server.Do(func() (err error) { conn, err = Listen("eth0", s.Addr.Addr(), serverPort); return err }))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, conn) }()
	return sync.OnceFunc(func() {
		cancel()
		ok(t, <-ended)
		ok(t, conn.Close())
	})
}

// host adds a host with the given addresses to the network.
func (l lan) host(t *testing.T, name string, mac pi.MAC, addr netip.Prefix) *netlab.Namespace {
	t.Helper()
	h := netlabtest.Host{Port: name, MAC: mac}
	if addr.IsValid() {
		h.Addr = addr.String()
	}
	return h.Join(t, l.bridge)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// udhcpc runs busybox's client until it has a lease, and returns what it tells
// its script. extra are further arguments.
func udhcpc(t *testing.T, l lan, extra ...string) (map[string]string, error) {
	t.Helper()
	dir := t.TempDir()
	script, told := filepath.Join(dir, "script"), filepath.Join(dir, "told")
	ok(t, os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = bound ] && env > "+told+"\nexit 0\n"), 0o700))
	args := append([]string{"udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "3", "-T", "1", "-s", script}, extra...)
	var out []byte
	err := l.board.Do(func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		out, err = exec.CommandContext(ctx, "busybox", args...).CombinedOutput()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("udhcpc: %w: %s", err, out)
	}
	env, err := os.ReadFile(told)
	ok(t, err)
	lease := make(map[string]string)
	for line := range strings.Lines(string(env)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		lease[key] = value
	}
	return lease, nil
}

func TestUdhcpcGetsItsReservation(t *testing.T) {
	t.Parallel()
	l := newLAN(t, known)
	lease, err := udhcpc(t, l)
	ok(t, err)
	want := map[string]string{
		"ip": "10.0.0.21", "subnet": "255.255.255.0", "mask": "24", "router": "10.0.0.254",
		"dns": "10.0.0.2 10.0.0.3", "domain": "example.org", "hostname": "pi-a2ef5644",
		"lease": "43200", "serverid": "10.0.0.1", "siaddr": "10.0.0.1",
	}
	got := maps.Clone(lease)
	maps.DeleteFunc(got, func(key, _ string) bool { _, wanted := want[key]; return !wanted })
	if !maps.Equal(got, want) {
		t.Errorf("udhcpc gets %v; want %v", got, want)
	}
	if _, told := lease["tftp"]; told {
		t.Error("udhcpc gets a TFTP server; want that for boot code only")
	}
	wantKinds(t, l, Discover, Offer, Request, Ack)
}

func TestUdhcpcAsksForAnotherAddress(t *testing.T) {
	t.Parallel()
	lease, err := udhcpc(t, newLAN(t, known), "-r", "10.0.0.77")
	if err != nil || lease["ip"] != "10.0.0.21" {
		t.Errorf("udhcpc -r 10.0.0.77 gets %v, %v; want 10.0.0.21", lease["ip"], err)
	}
}

func TestUdhcpcOfAStranger(t *testing.T) {
	t.Parallel()
	l := newLAN(t, strange)
	if lease, err := udhcpc(t, l); err == nil {
		t.Errorf("a board that is not registered gets %v; want silence", lease)
	}
	if m := l.next(t); m.Kind != Discover || m.MAC != strange || m.Reason == "" {
		t.Errorf("OnMessage(%+v); want its DISCOVER, with a reason for the silence", m)
	}
}

// next returns the next message that the server reported.
func (l lan) next(t *testing.T) Message {
	t.Helper()
	select {
	case m := <-l.messages:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("the server reported no further message")
		return Message{}
	}
}

func wantKinds(t *testing.T, l lan, want ...Kind) {
	t.Helper()
	var got []Kind
	for range want {
		got = append(got, l.next(t).Kind)
	}
	if !slices.Equal(got, want) {
		t.Errorf("OnMessage saw %v; want %v", got, want)
	}
}

// client returns a DHCP client on the board's raw interface.
func (l lan) client(t *testing.T) *nclient4.Client {
	t.Helper()
	var client *nclient4.Client
	ok(t, l.board.Do(func() (err error) { client, err = nclient4.New("eth0"); return err }))
	t.Cleanup(func() { ok(t, client.Close()) })
	return client
}

// TestBootCode is the DISCOVER of a Pi's boot code and what it must get.
func TestBootCode(t *testing.T) {
	t.Parallel()
	l := newLAN(t, known)
	offer, err := l.client(t).DiscoverOffer(t.Context(), bootCode)
	ok(t, err)
	if !offer.YourIPAddr.Equal(net.IPv4(10, 0, 0, 21)) || !offer.ServerIPAddr.Equal(net.IPv4(10, 0, 0, 1)) {
		t.Errorf("yiaddr, siaddr = %v, %v; want the reservation and the server", offer.YourIPAddr, offer.ServerIPAddr)
	}
	for code, want := range map[dhcpv4.OptionCode]string{
		dhcpv4.OptionServerIdentifier:          "\x0a\x00\x00\x01",
		dhcpv4.OptionClassIdentifier:           "PXEClient",
		dhcpv4.OptionTFTPServerName:            "10.0.0.1",
		dhcpv4.OptionVendorSpecificInformation: menus[Padded],
		dhcpv4.OptionClientMachineIdentifier:   string(guid),
		dhcpv4.OptionSubnetMask:                "\xff\xff\xff\x00",
		dhcpv4.OptionRouter:                    "\x0a\x00\x00\xfe",
	} {
		if got := offer.Options.Get(code); string(got) != want {
			t.Errorf("%v = %q; want %q", code, got, want)
		}
	}
	m := l.next(t)
	if m.Kind != Discover || !m.Netboot || !bytes.Equal(m.GUID, guid) {
		t.Errorf("OnMessage(%+v); want a DISCOVER of boot code with its GUID", m)
	}
}

// TestOfferComesFromTheServersAddress has a board without an address ask from
// an ordinary socket, which tells where an answer is from.
func TestOfferComesFromTheServersAddress(t *testing.T) {
	t.Parallel()
	l := newLAN(t, known)
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return bindToDevice(c, "eth0") }}
	var conn net.PacketConn
	ok(t, l.board.Do(func() (err error) { conn, err = config.ListenPacket(t.Context(), "udp4", "0.0.0.0:68"); return err }))
	defer conn.Close()
	discover := message(known, dhcpv4.MessageTypeDiscover, bootCode, dhcpv4.WithBroadcast(true))
	var from net.Addr
	// Asked again as boot code does: a fresh link loses its first packets.
	for range 20 {
		_, err := conn.WriteTo(discover.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: serverPort})
		ok(t, err)
		ok(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
		if _, from, err = conn.ReadFrom(make([]byte, maxPacket)); !errors.Is(err, os.ErrDeadlineExceeded) {
			ok(t, err)
			break
		}
	}
	if from == nil {
		t.Fatal("no answer to the DISCOVERs")
	}
	if from.String() != "10.0.0.1:67" {
		t.Errorf("OFFER comes from %v; want 10.0.0.1:67, not the interface's other address", from)
	}
}

func TestLeaseIsRenewedAndReleased(t *testing.T) {
	t.Parallel()
	l := newLAN(t, known)
	client := l.client(t)
	lease, err := client.Request(t.Context())
	ok(t, err)
	wantKinds(t, l, Discover, Offer, Request, Ack)

	ok(t, l.board.AddAddr("eth0", netip.PrefixFrom(netip.MustParseAddr("10.0.0.21"), 24)))
	// Unicast from now on, through the board's own sockets and ARP.
	var conn net.PacketConn
	ok(t, l.board.Do(func() (err error) { conn, err = net.ListenPacket("udp4", "10.0.0.21:68"); return err }))
	defer conn.Close()
	renew, err := dhcpv4.NewRenewFromAck(lease.ACK)
	ok(t, err)
	release, err := dhcpv4.NewReleaseFromACK(lease.ACK)
	ok(t, err)
	server := &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: serverPort}
	_, err = conn.WriteTo(renew.ToBytes(), server)
	ok(t, err)
	ok(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	buf := make([]byte, maxPacket)
	n, from, err := conn.ReadFrom(buf)
	ok(t, err)
	if from.String() != server.String() {
		t.Errorf("answer from %v; want %v", from, server)
	}
	if ack, err := dhcpv4.FromBytes(buf[:n]); err != nil || ack.MessageType() != dhcpv4.MessageTypeAck || !ack.YourIPAddr.Equal(net.IPv4(10, 0, 0, 21)) {
		t.Errorf("renewal is answered with %v, %v; want an ACK of 10.0.0.21", ack, err)
	}
	_, err = conn.WriteTo(release.ToBytes(), server)
	ok(t, err)
	wantKinds(t, l, Request, Ack, Release)
}

func TestRefusalReachesTheClient(t *testing.T) {
	t.Parallel()
	l := newLAN(t, known)
	client := l.client(t)
	wrong := message(known, dhcpv4.MessageTypeRequest, wants("10.0.0.99"))
	nak, err := client.SendAndRead(t.Context(), client.RemoteAddr(), wrong, nil)
	ok(t, err)
	if nak.MessageType() != dhcpv4.MessageTypeNak || !strings.Contains(nak.Message(), "10.0.0.99") {
		t.Errorf("request for a wrong address is answered with %v %q; want a NAK that names it", nak, nak.Message())
	}
}

// TestOtherServerOnTheHost has another server hold the port on all interfaces, with
// the options by which servers are willing to share it.
func TestOtherServerOnTheHost(t *testing.T) {
	t.Parallel()
	host := netlabtest.New(t)
	ok(t, netlab.Connect(
		netlab.End{Namespace: host, Name: "eth0", Addr: netip.MustParsePrefix("10.0.0.1/24")},
		netlab.End{Namespace: host, Name: "eth1"}))
	ok(t, host.Do(func() error {
		sharing := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			})
		}}
		other, err := sharing.ListenPacket(t.Context(), "udp4", fmt.Sprintf("0.0.0.0:%d", serverPort))
		if err != nil {
			return err
		}
		defer other.Close()
		conn, err := Listen("eth0", netip.MustParseAddr("10.0.0.1"), serverPort)
		if err == nil {
			conn.Close()
			return fmt.Errorf("Listen beside %v succeeds; want an error", other.LocalAddr())
		}
		return nil
	}))
}
