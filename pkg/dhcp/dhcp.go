// Package dhcp answers DHCPv4 (RFC 2131, 2132) with what the boot code of every
// Raspberry Pi generation needs before it turns to TFTP. It lives on a network in one
// of three ways: it answers registered boards only, and can share the network
// with the house's DHCP server; it leases addresses of a pool to all others
// too; or it leaves addresses to the house's server and adds what that does not
// tell, as a PXE proxy.
package dhcp

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"pibootd/pkg/pi"
)

// A Policy decides what a client gets.
type Policy interface {
	// Reserve returns what c is to get, the same at every call while its
	// registration stands: nothing else remembers which address c has. ok is
	// false if c is not registered. Reserve is called for one message at a
	// time, and the messages behind it wait.
	Reserve(ctx context.Context, c Client) (r Reservation, ok bool)
}

// A Client is who sends a message, as far as the message tells.
type Client struct {
	MAC         pi.MAC
	GUID        []byte // option 97 (RFC 4578 §2.3), 17 bytes; nil if not sent. See pi.DecodeGUID.
	VendorClass string // option 60, untrusted text
	Hostname    string // option 12, untrusted text

	// Netboot is whether this is boot code rather than an operating system:
	// the vendor class begins with "PXEClient", or there is none but a GUID,
	// which is how the Pi 4 sends its REQUEST. Neither the kernel's ip=dhcp
	// nor the usual clients send a GUID.
	Netboot bool

	// MaskROM is whether it is the boot code burnt into the Pi 3B and 2B 1.2,
	// known by its GUID, which is the same on every board. See pacer.
	MaskROM bool
}

// A Reservation is the fixed address of a registered board.
type Reservation struct {
	Addr     netip.Addr
	Hostname string   // "": the board is not told one
	BootMenu BootMenu // the form in which DHCP names this boot server
}

// A BootMenu is a form of option 43, in which boot code looks for the words
// "Raspberry Pi Boot".
type BootMenu string

// The forms that boards are known to have booted with.
const (
	Padded  BootMenu = ""        // PXE's, and three spaces that the 3B mask ROM needs: for all boards
	Dnsmasq BootMenu = "dnsmasq" // PXE's, as dnsmasq sends it
	Raw     BootMenu = "raw"     // the words alone, as in ISC's examples
)

// A Server answers the clients of one network. Set its fields before Serve.
type Server struct {
	Policy    Policy
	Log       *slog.Logger  // nil discards
	Interface string        // the network's interface, for the log
	Addr      netip.Prefix  // the server's own address, which is also that of TFTP, and the network's size
	Router    netip.Addr    // zero: none is sent
	DNS       []netip.Addr  // empty: none is sent
	Domain    string        // "": none is sent
	LeaseTime time.Duration // 0 means 12 h

	// Subnets are networks behind relay agents (RFC 2131 §4.3.1). Registered boards
	// with an address there are answered through the relay.
	Subnets []Subnet

	// Pool has addresses for clients that Policy does not know; nil: they get
	// no answer.
	Pool *Pool
	// Proxy leaves all addresses to another server: boards get only their boot
	// server, and Pool is not used.
	Proxy bool
	// BootStrangers sends the boot server to boot code that Policy does not know
	// too, if it gets a reply at all.
	BootStrangers bool
	// ReplyDelay is how long the OFFER to a 3B mask ROM waits; 0 means 1 s.
	ReplyDelay time.Duration

	// OnMessage is called for each message of a well-formed client, known or
	// not, and for each answer as it is sent, if not nil. It must not block. It
	// is called by several goroutines at once.
	OnMessage func(Message)

	pacer pacer
	stats counters
}

// A Subnet is a network behind a router that relays DHCP.
type Subnet struct {
	Prefix netip.Prefix
	Router netip.Addr
}

// A Message is one DHCP message, received or sent.
type Message struct {
	Kind    Kind
	MAC     pi.MAC
	GUID    []byte     // as in Client, not to be changed
	Addr    netip.Addr // asked for, offered, acknowledged, declined or released; zero if none
	Relay   netip.Addr // the relay that passed it on; zero if none did
	Netboot bool       // as in Client
	Server  netip.Addr // the other server that a REQUEST is meant for; zero if it is not
	Packet  []byte     // as received, only during OnMessage; nil: sent
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
