package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"pibootd/pkg/pi"
)

const (
	guidLen = 17  // option 97, RFC 4578 §2.3
	textLen = 255 // what one option holds; a repeated option is joined by the parser (RFC 3396)
)

// A request is a client's message after its form was checked. Nothing in it
// shares memory with the packet it came in.
type request struct {
	packet *dhcpv4.DHCPv4
	kind   Kind
	client Client
	server netip.Addr // option 54: the server it is meant for; zero if not said
	asked  netip.Addr // the address in question: option 50, else ciaddr; zero if none
	relay  netip.Addr // giaddr; zero: it came from the network itself
	at     place      // the network that the client is in; set by decide

	from netip.AddrPort // where the packet came from; zero for tests
	boot bool           // the reply names its boot server; set by decide
}

// claim says what the client of a REQUEST believes of the address asked for.
func (r *request) claim() claim {
	switch {
	case r.server.IsValid():
		return selecting
	case addrOf(r.packet.ClientIPAddr).IsValid():
		return holding
	}
	return rebooting
}

func parse(p []byte) (*request, error) {
	if len(p) > maxPacket {
		return nil, fmt.Errorf("message is longer than %d bytes", maxPacket)
	}
	packet, err := dhcpv4.FromBytes(p)
	if err != nil {
		return nil, fmt.Errorf("parsing message: %w", err)
	}
	if packet.OpCode != dhcpv4.OpcodeBootRequest {
		return nil, fmt.Errorf("op code %d; want %d, a request", packet.OpCode, dhcpv4.OpcodeBootRequest)
	}
	kind, ok := kindOf(packet.MessageType())
	if !ok {
		return nil, fmt.Errorf("message type %d; want one that a client sends", packet.MessageType())
	}
	mac, err := hardwareAddr(packet)
	if err != nil {
		return nil, err
	}
	req := &request{
		packet: packet,
		kind:   kind,
		client: clientOf(mac, packet),
		server: addrOf(packet.ServerIdentifier()),
		asked:  addrOf(packet.RequestedIPAddress()),
		relay:  addrOf(packet.GatewayIPAddr),
	}
	if !req.asked.IsValid() {
		req.asked = addrOf(packet.ClientIPAddr)
	}
	return req, nil
}

// hardwareAddr returns the address of the client's Ethernet card. The parser
// lets up to 16 bytes through, and other link layers.
func hardwareAddr(packet *dhcpv4.DHCPv4) (pi.MAC, error) {
	if packet.HWType != iana.HWTypeEthernet {
		return pi.MAC{}, fmt.Errorf("hardware address of type %d; want %d, Ethernet", packet.HWType, iana.HWTypeEthernet)
	}
	return pi.MACOf(packet.ClientHWAddr)
}

func kindOf(t dhcpv4.MessageType) (Kind, bool) {
	switch t {
	case dhcpv4.MessageTypeDiscover:
		return Discover, true
	case dhcpv4.MessageTypeRequest:
		return Request, true
	case dhcpv4.MessageTypeDecline:
		return Decline, true
	case dhcpv4.MessageTypeRelease:
		return Release, true
	case dhcpv4.MessageTypeInform:
		return Inform, true
	}
	return "", false
}

func clientOf(mac pi.MAC, packet *dhcpv4.DHCPv4) Client {
	c := Client{
		MAC:         mac,
		VendorClass: text(packet, dhcpv4.OptionClassIdentifier),
		Hostname:    text(packet, dhcpv4.OptionHostName),
	}
	if guid := packet.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(guid) == guidLen {
		c.GUID = guid
	}
	_, model, known := pi.DecodeGUID(c.GUID)
	c.MaskROM = model == pi.Pi3 && !known
	c.Netboot = strings.HasPrefix(c.VendorClass, "PXEClient") || c.VendorClass == "" && c.GUID != nil
	return c
}

func text(packet *dhcpv4.DHCPv4, code dhcpv4.OptionCode) string {
	value := packet.Options.Get(code)
	return string(value[:min(len(value), textLen)])
}

// addrOf returns ip, or the zero Addr for what stands for none: nil, 0.0.0.0
// and anything but IPv4.
func addrOf(ip net.IP) netip.Addr {
	addr, ok := netip.AddrFromSlice(ip.To4())
	if !ok || addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr
}
