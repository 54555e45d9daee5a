package dhcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func listenOnLoopback(t *testing.T) (conn *Conn, port int) {
	t.Helper()
	conn, err := Listen("lo", loopback, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, conn.LocalAddr().(*net.UDPAddr).Port
}

func TestListenRefuses(t *testing.T) {
	_, port := listenOnLoopback(t)
	_, err := Listen("lo", loopback, port)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another DHCP server") {
		t.Errorf("Listen on a taken port = %v; want EADDRINUSE, explained", err)
	}
	if _, err := Listen("lo", netip.MustParseAddr("192.0.2.1"), 0); err == nil || !strings.Contains(err.Error(), "want 192.0.2.1") {
		t.Errorf("Listen with an address that lo has not = %v; want a refusal that names it", err)
	}
	if _, err := Listen("nosuch0", loopback, 0); err == nil || !strings.Contains(err.Error(), `"nosuch0"`) {
		t.Errorf("Listen on no interface = %v; want a refusal that names it", err)
	}
}

// TestServe renews a lease over real sockets: the one exchange that needs
// neither broadcasts nor port 68.
func TestServe(t *testing.T) {
	conn, port := listenOnLoopback(t)
	board := netip.MustParseAddr("127.0.0.2")
	acked := make(chan Message, 10)
	s := &Server{
		Policy:    boards{known: {Addr: board}},
		Addr:      netip.PrefixFrom(loopback, 8),
		OnMessage: func(m Message) { acked <- m },
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, conn) }()

	client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: board.AsSlice(), Port: port + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := &net.UDPAddr{IP: loopback.AsSlice(), Port: port}
	for _, packet := range [][]byte{{}, []byte("noise"), message(known, dhcpv4.MessageTypeRequest, has("127.0.0.2")).ToBytes()} {
		if _, err := client.WriteTo(packet, server); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, maxPacket)
	n, from, err := client.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.AddrPortFrom(loopback, uint16(port)); from != want {
		t.Errorf("answer from %v; want %v", from, want)
	}
	if reply, err := dhcpv4.FromBytes(buf[:n]); err != nil || reply.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("answer = %v, %v; want an ACK", reply, err)
	}
	if in, out := <-acked, <-acked; in.Kind != Request || out.Kind != Ack || out.MAC != known || out.Addr != board {
		t.Errorf("OnMessage(%+v), (%+v); want the request and its ACK", in, out)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v; want nil", err)
	}
}
