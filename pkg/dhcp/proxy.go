package dhcp

import (
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// decideProxy sends boot code the address of its boot server; its own address is another
// server's business. It is the OFFER without an address of PXE 2.1 §2.2.3, and
// the answer to those that ask the proxy on its own port.
func (x *exchange) decideProxy(req *request, r Reservation, registered bool) answer {
	if req.kind == Request && registered && req.asked.IsValid() && req.asked != r.Addr {
		return noReply("takes %v from another server; want that to give it %v, its registered address", req.asked, r.Addr)
	}
	switch {
	case !registered && !x.BootStrangers:
		return noReply("not registered")
	case !strings.HasPrefix(req.client.VendorClass, vendorClass):
		return noReply("asks for an address, which another server gives")
	case req.relay.IsValid():
		return noReply("asks through a relay")
	case x.out.isPXE():
		return x.proxyAck(req, r)
	case req.kind != Discover:
		return noReply("its address is another server's")
	}
	return x.paced(req, x.reply(req, dhcpv4.MessageTypeOffer, append(x.bootOptions(req, r),
		dhcpv4.WithServerIP(ipOf(x.Addr.Addr())),
		dhcpv4.WithBroadcast(true))...))
}

// proxyAck answers on PXE's own port, where a client has its address already.
func (x *exchange) proxyAck(req *request, r Reservation) answer {
	if req.kind != Request && req.kind != Inform && req.kind != Discover {
		return answer{}
	}
	if !x.isHost(req.from.Addr().Unmap()) {
		return noReply("its address %v is not one of %v", req.from.Addr(), x.Addr)
	}
	return x.reply(req, dhcpv4.MessageTypeAck, append(x.bootOptions(req, r),
		dhcpv4.WithServerIP(ipOf(x.Addr.Addr())),
		dhcpv4.WithClientIP(req.packet.ClientIPAddr))...)
}
