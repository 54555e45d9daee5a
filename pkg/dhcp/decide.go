package dhcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// vendorClass and bootMenu make boot code take the answer for that of a boot
// server: option 60, and option 43 with the PXE boot menu in which every Pi
// looks for the words "Raspberry Pi Boot". The three spaces behind them are
// for the 3B mask ROM, which counts the length of the text wrongly; later boot
// code ignores them.
const (
	vendorClass = "PXEClient"
	bootMenu    = "\x06\x01\x03" + // discovery control: neither broadcast nor multicast
		"\x0a\x04\x00PXE" + // menu prompt: no wait
		"\x09\x17\x00\x00\x14Raspberry Pi Boot   " + // menu: item 0 and its text
		"\xff"
)

// decide returns the answer to req, or nil for silence, and the reason for a
// refusal or silence. It sends nothing and remembers nothing.
func (s *Server) decide(ctx context.Context, req *request) (reply *dhcpv4.DHCPv4, reason string) {
	if req.server.IsValid() && req.server != s.Addr.Addr() && req.kind != Discover && req.kind != Inform {
		return nil, "meant for another server"
	}
	r, ok := s.Policy.Reserve(ctx, req.client)
	if !ok {
		return nil, "not registered"
	}
	if !s.isHost(r.Addr) {
		s.log().Warn("reserved address is not one of the network", "pi", req.client.MAC, "addr", r.Addr, "want", s.Addr)
		return nil, fmt.Sprintf("reserved address %v is not one of %v", r.Addr, s.Addr)
	}
	switch req.kind {
	case Discover:
		return s.lease(req, r, dhcpv4.MessageTypeOffer)
	case Request:
		return s.grant(req, r)
	case Inform:
		return s.inform(req, r)
	}
	return nil, "" // RELEASE and DECLINE have no answer, and a reservation stands
}

// grant answers a REQUEST in the three states of RFC 2131 §4.3.2: selecting
// (our server id), init-reboot (option 50) and renewing or rebinding (ciaddr).
// They differ in where the address stands, not in what is right for a client
// that has one address for ever.
func (s *Server) grant(req *request, r Reservation) (*dhcpv4.DHCPv4, string) {
	if !req.asked.IsValid() {
		return nil, "asks for no address"
	}
	if req.asked != r.Addr {
		return s.nak(req, fmt.Sprintf("asked for %v, which is not the reserved address", req.asked))
	}
	return s.lease(req, r, dhcpv4.MessageTypeAck)
}

// inform answers a client that got its address elsewhere (RFC 2131 §4.3.5).
func (s *Server) inform(req *request, r Reservation) (*dhcpv4.DHCPv4, string) {
	// The answer goes to ciaddr: it must not become a way to reach others.
	if addr := addrOf(req.packet.ClientIPAddr); !s.isHost(addr) {
		return nil, fmt.Sprintf("its address %v is not one of %v", addr, s.Addr)
	}
	return s.reply(req, dhcpv4.MessageTypeAck, append(s.configuration(req, r),
		dhcpv4.WithClientIP(req.packet.ClientIPAddr))...)
}

// lease returns an OFFER or ACK of the reserved address.
func (s *Server) lease(req *request, r Reservation, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, string) {
	lease := s.LeaseTime
	if lease == 0 {
		lease = 12 * time.Hour
	}
	options := s.configuration(req, r)
	if kind == dhcpv4.MessageTypeAck && addrOf(req.packet.ClientIPAddr) == r.Addr {
		options = append(options, dhcpv4.WithClientIP(ipOf(r.Addr))) // it has the address, and hears unicasts
	}
	return s.reply(req, kind, append(options,
		dhcpv4.WithYourIP(ipOf(r.Addr)),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(lease)),
		dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(lease/2)), // RFC 2131 §4.4.5
		dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(lease*7/8)),
	)...)
}

// nak refuses an address. It is broadcast even to a client that has one, for
// that is the wrong one, hence no ciaddr; a relay is told by the flag (RFC 2131
// §4.3.2).
func (s *Server) nak(req *request, reason string) (*dhcpv4.DHCPv4, string) {
	reply, problem := s.reply(req, dhcpv4.MessageTypeNak,
		dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptMessage(reason)),
	)
	if reply == nil {
		return nil, problem
	}
	return reply, reason
}

// reply returns an answer to req with what all of them have.
func (s *Server) reply(req *request, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, string) {
	reply, err := dhcpv4.NewReplyFromRequest(req.packet, append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ipOf(s.Addr.Addr()))),
	}, more...)...)
	if err != nil {
		return nil, fmt.Sprintf("making the answer: %v", err)
	}
	return reply, ""
}

// configuration returns what a client learns of its network and, if it is boot
// code, of its boot server.
func (s *Server) configuration(req *request, r Reservation) []dhcpv4.Modifier {
	own := s.Addr.Addr()
	options := []dhcpv4.Modifier{
		// siaddr: TFTP server for the Pi 4 and 5, NFS server for the kernel's ip=dhcp.
		dhcpv4.WithServerIP(ipOf(own)),
		dhcpv4.WithNetmask(net.CIDRMask(s.Addr.Bits(), own.BitLen())),
	}
	add := func(o dhcpv4.Option) { options = append(options, dhcpv4.WithOption(o)) }
	if s.Router.IsValid() {
		add(dhcpv4.OptRouter(ipOf(s.Router)))
	}
	if len(s.DNS) > 0 {
		var servers []net.IP
		for _, addr := range s.DNS {
			servers = append(servers, ipOf(addr))
		}
		add(dhcpv4.OptDNS(servers...))
	}
	if r.Hostname != "" {
		add(dhcpv4.OptHostName(r.Hostname))
	}
	if s.Domain != "" {
		add(dhcpv4.OptDomainName(s.Domain))
	}
	if !req.client.Netboot {
		return options
	}
	add(dhcpv4.OptClassIdentifier(vendorClass))
	add(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, []byte(bootMenu)))
	// Bare, without a zero byte. It stands behind option 43, options being
	// sent in ascending order: of the two, the 3B mask ROM takes the later.
	add(dhcpv4.OptTFTPServerName(own.String()))
	if req.client.GUID != nil {
		add(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, req.client.GUID))
	}
	return options
}

// isHost reports whether addr is that of another host of the server's network.
func (s *Server) isHost(addr netip.Addr) bool {
	if !s.Addr.Contains(addr) || addr == s.Addr.Addr() {
		return false
	}
	// Its first and last address are the network's own and the broadcast's.
	return s.Addr.Bits() >= 31 || s.Addr.Contains(addr.Prev()) && s.Addr.Contains(addr.Next())
}

func ipOf(addr netip.Addr) net.IP { return addr.AsSlice() }
