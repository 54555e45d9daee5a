// Package dhcp answers DHCPv4 (RFC 2131, 2132) for registered boards, with
// what the boot code of every Raspberry Pi generation needs to go on to TFTP.
// To all other clients it is silent, so it can share a network with the
// house's DHCP server.
package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/ipv4"

	"pibootd/pkg/pi"
)

// A Policy decides what a client gets.
type Policy interface {
	// Reserve returns what c is to get, the same at every call while its
	// registration stands: nothing else remembers which address c has. ok is
	// false if c gets nothing. Reserve is called for one message at a time,
	// and the messages behind it wait.
	Reserve(ctx context.Context, c Client) (r Reservation, ok bool)
}

// A Client is who sends a message, as far as the message tells.
type Client struct {
	MAC         pi.MAC
	GUID        []byte // option 97 (RFC 4578 §2.3), 17 bytes; nil if not sent. See pi.DecodeGUID.
	VendorClass string // option 60, foreign text
	Hostname    string // option 12, foreign text

	// Netboot is whether this is boot code rather than an operating system:
	// the vendor class begins with "PXEClient", or there is none but a GUID,
	// which is how the Pi 4 sends its REQUEST. Neither the kernel's ip=dhcp
	// nor the usual clients send a GUID.
	Netboot bool
}

// A Reservation is the fixed address of a registered board.
type Reservation struct {
	Addr     netip.Addr
	Hostname string // "": the board is not told one
}

// A Server answers the clients of one network. Set its fields before Serve.
type Server struct {
	Policy    Policy
	Log       *slog.Logger  // nil discards
	Interface string        // the network's interface, for the log
	Addr      netip.Prefix  // the server's own address, which is also that of TFTP, and the network's size
	Router    netip.Addr    // zero: none is told
	DNS       []netip.Addr  // empty: none is told
	Domain    string        // "": none is told
	LeaseTime time.Duration // 0 means 12 h

	// OnMessage is called for each message of a well-formed client, known or
	// not, and for each answer after it was sent, if not nil. It must not
	// block.
	OnMessage func(Message)
}

// A Message is one DHCP message, received or sent.
type Message struct {
	Kind    Kind
	MAC     pi.MAC
	GUID    []byte     // as in Client, not to be changed
	Addr    netip.Addr // asked for, offered, acknowledged, declined or released; zero if none
	Netboot bool       // as in Client
	Reason  string     // why it was refused (Nak) or not answered; "" else
}

// A Kind is a type of message, RFC 2131 §3.1.
type Kind string

// The messages that a server receives and sends.
const (
	Discover Kind = "discover"
	Offer    Kind = "offer"
	Request  Kind = "request"
	Ack      Kind = "ack"
	Nak      Kind = "nak"
	Decline  Kind = "decline"
	Release  Kind = "release"
	Inform   Kind = "inform"
)

// maxPacket is the longest message that is read: what an Ethernet frame holds.
const maxPacket = 1500

// Serve answers the messages on conn, a socket from Listen, until ctx ends, and
// returns nil. It returns an error only if conn itself fails or the server's
// own address is unfit: a malformed message costs one log line. Serve does not
// close conn.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || !s.Addr.Addr().Is4() {
		return fmt.Errorf("dhcp: serving on %v as %v; want a UDP socket and an IPv4 address with its prefix length", conn.LocalAddr(), s.Addr)
	}
	out := &outlet{conn: ipv4.NewPacketConn(conn), source: s.Addr.Addr(), port: local.Port}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	buf := make([]byte, maxPacket+1)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dhcp: reading message: %w", err)
		}
		if err := s.handle(ctx, buf[:n], out.send); err != nil {
			s.log().Debug("message dropped", "addr", from, "err", err)
		}
	}
}

// handle answers one packet through send. A panic costs this packet and not
// the server: the packet's parser is not ours, and neither is the Policy.
func (s *Server) handle(ctx context.Context, packet []byte, send func(*dhcpv4.DHCPv4) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log().Error("message handler panicked", "err", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	req, err := parse(packet)
	if err != nil {
		return err
	}
	reply, reason := s.decide(ctx, req)
	in := Message{Kind: req.kind, MAC: req.client.MAC, GUID: req.client.GUID, Addr: req.asked, Netboot: req.client.Netboot}
	if reply == nil {
		in.Reason = reason
	}
	s.report(in)
	if reply == nil {
		return nil
	}
	if err := send(reply); err != nil {
		s.log().Warn("answer not sent", "pi", in.MAC, "err", err)
		return nil
	}
	out := in
	out.Kind, out.Reason = replyKind(reply), reason
	if out.Kind != Nak && req.kind != Inform {
		out.Addr = addrOf(reply.YourIPAddr)
	}
	s.report(out)
	return nil
}

func replyKind(reply *dhcpv4.DHCPv4) Kind {
	switch reply.MessageType() {
	case dhcpv4.MessageTypeOffer:
		return Offer
	case dhcpv4.MessageTypeAck:
		return Ack
	}
	return Nak
}

func (s *Server) report(m Message) {
	log := s.log().With("pi", m.MAC, "addr", m.Addr)
	switch m.Kind {
	case Nak:
		log.Warn("address refused", "reason", m.Reason)
	case Decline:
		log.Warn("client found its address in use by another host")
	default:
		log.Debug("message", "kind", m.Kind, "reason", m.Reason)
	}
	if s.OnMessage != nil {
		s.OnMessage(m)
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log.With("interface", s.Interface)
}

// Ports of RFC 2131 §4.1.
const (
	serverPort = 67
	clientPort = 68
)

// An outlet sends answers from the server's own address, whatever others the
// interface has: the 3B mask ROM takes an OFFER's source for its TFTP server.
type outlet struct {
	conn   *ipv4.PacketConn
	source netip.Addr
	port   int // the server's
}

func (o *outlet) send(reply *dhcpv4.DHCPv4) error {
	to := o.destination(reply)
	_, err := o.conn.WriteTo(reply.ToBytes(), &ipv4.ControlMessage{Src: o.source.AsSlice()}, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return fmt.Errorf("sending to %v: %w", to, err)
	}
	return nil
}

// destination returns where reply goes by RFC 2131 §4.1. A client that has no
// address gets a broadcast even if it did not ask for one: it cannot answer
// the ARP request that an ordinary socket would begin with.
func (o *outlet) destination(reply *dhcpv4.DHCPv4) netip.AddrPort {
	client := uint16(clientPort)
	if o.port != serverPort {
		client = uint16(o.port + 1)
	}
	if relay := addrOf(reply.GatewayIPAddr); relay.IsValid() {
		return netip.AddrPortFrom(relay, uint16(o.port))
	}
	if addr := addrOf(reply.ClientIPAddr); addr.IsValid() {
		return netip.AddrPortFrom(addr, client)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), client)
}
