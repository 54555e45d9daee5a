package dhcp

import (
	"fmt"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"pibootd/pkg/pi"
)

// Ports of RFC 2131 §4.1, and the one of PXE 2.1 §2.4.
const (
	serverPort = 67
	clientPort = 68
	pxePort    = 4011
)

// A transmitter sends replies from the server's own address, whatever others the
// interface has, because the 3B mask ROM uses an OFFER's source as its TFTP
// server.
type transmitter struct {
	conn    *Conn  // nil in tests of what is decided
	control []byte // the control message that gives a packet its source (ip(7), IP_PKTINFO)
	source  netip.AddrPort
}

// A route says where and how a reply is sent.
type route struct {
	to  netip.AddrPort
	mac pi.MAC // of the client, if the reply is sent as a frame to it; zero: the kernel routes it
}

// String returns the route for tests and logs.
func (r route) String() string {
	if r.mac != (pi.MAC{}) {
		return fmt.Sprintf("%v at %v", r.to, r.mac)
	}
	return r.to.String()
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// route returns where reply is sent, by RFC 2131 §4.1.
func (o *transmitter) route(req *request, reply *dhcpv4.DHCPv4) route {
	port := uint16(clientPort)
	if o.source.Port() != serverPort {
		port = o.source.Port() + 1
	}
	client := addrOf(reply.ClientIPAddr)
	to := func(addr netip.Addr) route { return route{to: netip.AddrPortFrom(addr, port)} }
	switch {
	case o.isPXE():
		return route{to: req.from}
	case req.relay.IsValid():
		return route{to: netip.AddrPortFrom(req.relay, o.source.Port())}
	case client.IsValid():
		return to(client)
	case req.client.MaskROM:
		// A broadcast must not reach other boards. They would accept the reply,
		// because all mask ROMs use the same transaction id.
		r := to(broadcast)
		if yours := addrOf(reply.YourIPAddr); yours.IsValid() {
			r = to(yours)
		}
		return o.frame(r, req.client.MAC)
	case reply.IsBroadcast() || !addrOf(reply.YourIPAddr).IsValid():
		return to(broadcast)
	}
	return o.frame(to(addrOf(reply.YourIPAddr)), req.client.MAC)
}

// frame returns r as a frame to mac, or as a broadcast if the link has no frames.
func (o *transmitter) frame(r route, mac pi.MAC) route {
	if o.conn != nil && o.conn.link == nil {
		return route{to: netip.AddrPortFrom(broadcast, r.to.Port())}
	}
	r.mac = mac
	return r
}

func (o *transmitter) isPXE() bool { return o.source.Port() == pxePort }

func (o *transmitter) send(reply *dhcpv4.DHCPv4, r route) error {
	var err error
	if r.mac != (pi.MAC{}) {
		err = o.conn.link.sendUDP(r.mac, o.source, r.to, reply.ToBytes())
	} else {
		_, _, err = o.conn.WriteMsgUDPAddrPort(reply.ToBytes(), o.control, r.to)
	}
	if err != nil {
		return fmt.Errorf("sending to %v: %w", r, err)
	}
	return nil
}

func (o *transmitter) neighbours() *neighbours {
	if o.conn == nil {
		return nil
	}
	return o.conn.neigh
}
