package dhcp

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// vendorClass makes boot code take the answer for that of a boot server: option
// 60, beside option 43.
const vendorClass = "PXEClient"

// menus are the forms of option 43. The three spaces are for the 3B mask ROM,
// which counts the length of the text wrongly; later boot code ignores them.
var menus = map[BootMenu]string{
	Padded:  pxeMenu + "\x09\x17\x00\x00\x14Raspberry Pi Boot   \xff",
	Dnsmasq: pxeMenu + "\x09\x14\x00\x00\x11Raspberry Pi Boot\xff",
	Raw:     "Raspberry Pi Boot",
}

// pxeMenu is the part of PXE's option 43 before the menu's only item.
const pxeMenu = "\x06\x01\x03" + // discovery control: neither broadcast nor multicast
	"\x0a\x04\x00PXE" // menu prompt: no wait

// An answer is what comes of a message.
type answer struct {
	reply  *dhcpv4.DHCPv4 // nil: no reply
	reason string         // for a refusal, or for no reply

	// later, if not nil, waits for what must happen first and returns the
	// answer; until then there is none.
	later func(context.Context) answer
	// after, if not nil, is what is left to do when reply was sent, later.
	after func(context.Context)
}

func noReply(format string, args ...any) answer { return answer{reason: fmt.Sprintf(format, args...)} }

// decide returns the answer to req. It sends nothing and waits for nothing.
func (x *exchange) decide(ctx context.Context, req *request) answer {
	at, ok := x.placeOf(req)
	if !ok {
		return noReply("its relay %v is not in %v", req.relay, x.Addr.Masked())
	}
	req.at = at
	r, registered := x.Policy.Reserve(ctx, req.client)
	req.boot = req.client.Netboot && (registered || x.BootStrangers)
	elsewhere := req.server.IsValid() && req.server != x.Addr.Addr() && req.kind != Discover && req.kind != Inform
	x.unpin(req)
	switch {
	case x.Proxy:
		return x.decideProxy(req, r, registered)
	case x.out.isPXE():
		return noReply("asks a PXE proxy")
	case elsewhere:
		return x.chosenAnother(req)
	case registered:
		return x.paced(req, x.decideReserved(req, r))
	case x.Pool == nil || at.remote:
		return noReply("not registered")
	}
	return x.paced(req, x.decidePool(req))
}

// chosenAnother frees what a client was offered that has chosen another server.
func (x *exchange) chosenAnother(req *request) answer {
	if x.Pool != nil && req.kind == Request {
		x.Pool.withdraw(req.client.MAC)
	}
	return noReply("meant for another server, %v", req.server)
}

// decideReserved answers a registered board.
func (x *exchange) decideReserved(req *request, r Reservation) answer {
	if !req.at.isHost(x.Server, r.Addr) {
		x.log().Warn("reserved address is not one of the network", "pi", req.client.MAC, "addr", r.Addr, "want", req.at.network)
		return noReply("reserved address %v is not one of %v", r.Addr, req.at.network)
	}
	if mac, ok := x.Pool.holder(r.Addr, time.Now()); ok && mac != req.client.MAC {
		x.log().Warn("reserved address is leased to another client", "pi", req.client.MAC, "addr", r.Addr, "other", mac)
		return noReply("reserved address %v is leased to %v", r.Addr, mac)
	}
	switch req.kind {
	case Discover:
		return x.lease(req, r, dhcpv4.MessageTypeOffer)
	case Request:
		return x.grant(req, r)
	case Inform:
		return x.inform(req, r)
	}
	return answer{} // RELEASE and DECLINE have no answer, and a reservation stands
}

// grant answers a REQUEST in the three states of RFC 2131 §4.3.2: selecting
// (our server id), init-reboot (option 50) and renewing or rebinding (ciaddr).
// They differ in where the address stands, not in what is right for a client
// that has one address for ever.
func (x *exchange) grant(req *request, r Reservation) answer {
	if !req.asked.IsValid() {
		return noReply("asks for no address")
	}
	if req.asked != r.Addr {
		return x.nak(req, fmt.Sprintf("asked for %v, which is not the reserved address", req.asked))
	}
	return x.lease(req, r, dhcpv4.MessageTypeAck)
}

// inform answers a client that got its address elsewhere (RFC 2131 §4.3.5).
func (x *exchange) inform(req *request, r Reservation) answer {
	// The answer goes to ciaddr: it must not become a way to reach others.
	if addr := addrOf(req.packet.ClientIPAddr); !req.at.isHost(x.Server, addr) {
		return noReply("its address %v is not one of %v", addr, req.at.network)
	}
	return x.reply(req, dhcpv4.MessageTypeAck, append(x.configuration(req, r),
		dhcpv4.WithClientIP(req.packet.ClientIPAddr))...)
}

// lease returns an OFFER or ACK of r's address.
func (x *exchange) lease(req *request, r Reservation, kind dhcpv4.MessageType) answer {
	lease := x.leaseTime()
	options := x.configuration(req, r)
	if kind == dhcpv4.MessageTypeAck && addrOf(req.packet.ClientIPAddr) == r.Addr {
		options = append(options, dhcpv4.WithClientIP(ipOf(r.Addr))) // it has the address, and hears unicasts
	}
	return x.reply(req, kind, append(options,
		dhcpv4.WithYourIP(ipOf(r.Addr)),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(lease)),
		dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(lease/2)), // RFC 2131 §4.4.5
		dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(lease*7/8)),
	)...)
}

func (s *Server) leaseTime() time.Duration { return cmp.Or(s.LeaseTime, 12*time.Hour) }

// nak refuses an address. It is broadcast even to a client that has one, because
// that address is wrong, so it has no ciaddr. The flag makes a relay broadcast it too
// (RFC 2131 §4.3.2).
func (x *exchange) nak(req *request, reason string) answer {
	a := x.reply(req, dhcpv4.MessageTypeNak,
		dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptMessage(reason)),
	)
	a.reason = reason
	return a
}

// reply returns an answer to req with what all of them have. It is made by hand
// because the library's NewReplyFromRequest draws a random transaction id, a
// fourth of what an answer costs, to replace it by the client's.
func (x *exchange) reply(req *request, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) answer {
	in := req.packet
	reply := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        in.HWType,
		ClientHWAddr:  in.ClientHWAddr,
		TransactionID: in.TransactionID,
		Flags:         in.Flags,
		GatewayIPAddr: in.GatewayIPAddr,
		ClientIPAddr:  net.IPv4zero,
		YourIPAddr:    net.IPv4zero,
		ServerIPAddr:  net.IPv4zero,
		Options:       dhcpv4.Options{},
	}
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionRelayAgentInformation, dhcpv4.OptionClientIdentifier} { // RFC 3046, RFC 6842
		if value := in.Options.Get(code); value != nil {
			reply.UpdateOption(dhcpv4.OptGeneric(code, value))
		}
	}
	reply.UpdateOption(dhcpv4.OptMessageType(kind))
	reply.UpdateOption(dhcpv4.OptServerIdentifier(ipOf(x.Addr.Addr())))
	for _, modify := range more {
		modify(reply)
	}
	return answer{reply: reply}
}

// configuration returns what a client learns of its network and, if it is boot
// code, of its boot server.
func (s *Server) configuration(req *request, r Reservation) []dhcpv4.Modifier {
	own := s.Addr.Addr()
	options := []dhcpv4.Modifier{
		// siaddr: TFTP server for the Pi 4 and 5, NFS server for the kernel's ip=dhcp.
		dhcpv4.WithServerIP(ipOf(own)),
		dhcpv4.WithNetmask(net.CIDRMask(req.at.network.Bits(), own.BitLen())),
	}
	add := func(o dhcpv4.Option) { options = append(options, dhcpv4.WithOption(o)) }
	if req.at.router.IsValid() {
		add(dhcpv4.OptRouter(ipOf(req.at.router)))
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
	if !req.boot {
		return options
	}
	return append(options, s.bootOptions(req, r)...)
}

// bootOptions are what tells boot code that this is its boot server.
func (s *Server) bootOptions(req *request, r Reservation) []dhcpv4.Modifier {
	var options []dhcpv4.Modifier
	add := func(o dhcpv4.Option) { options = append(options, dhcpv4.WithOption(o)) }
	add(dhcpv4.OptClassIdentifier(vendorClass))
	add(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, []byte(menus[r.BootMenu])))
	// Bare, without a zero byte. It stands behind option 43, options being
	// sent in ascending order: of the two, the 3B mask ROM takes the later.
	add(dhcpv4.OptTFTPServerName(s.Addr.Addr().String()))
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
