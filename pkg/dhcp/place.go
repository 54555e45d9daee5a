package dhcp

import "net/netip"

// A place is the network that a client is in.
type place struct {
	network netip.Prefix
	router  netip.Addr // zero: clients get none
	remote  bool       // it is behind a relay
}

// placeOf returns the network that a message comes from: by its relay's address, or by the
// client's own where it renews a lease without the relay. ok is false if it is not served.
func (s *Server) placeOf(req *request) (p place, ok bool) {
	from := req.relay
	if !from.IsValid() {
		from = addrOf(req.packet.ClientIPAddr)
	}
	for _, subnet := range s.Subnets {
		if subnet.Prefix.Contains(from) {
			return place{network: subnet.Prefix, router: subnet.Router, remote: true}, true
		}
	}
	return place{network: s.Addr, router: s.Router}, !req.relay.IsValid() || s.Addr.Contains(req.relay)
}

// isHost reports whether addr can be a client's in that network. s.Addr, which an own network
// has as its prefix, is the server's.
func (p place) isHost(s *Server, addr netip.Addr) bool {
	if !p.remote {
		return s.isHost(addr)
	}
	return p.network.Contains(addr) && addr != p.router && p.network.Contains(addr.Prev()) && p.network.Contains(addr.Next())
}
