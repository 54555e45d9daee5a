package dhcp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
)

// An OtherServer is another DHCP server of the network, or a PXE proxy, as its
// offers to boot code describe it.
type OtherServer struct {
	Addr        netip.Addr `json:"addr"`                   // option 54, else where it came from
	MAC         pi.MAC     `json:"mac"`                    // of the host or relay that sent it
	Offered     netip.Addr `json:"offered,omitzero"`       // zero: a proxy, which gives no addresses
	Router      netip.Addr `json:"router,omitzero"`        // zero: it gives none
	BootServer  string     `json:"boot_server,omitempty"`  // option 66, else siaddr beside a boot file; untrusted text
	BootFile    string     `json:"boot_file,omitempty"`    // option 67 or the field; untrusted text
	RaspberryPi bool       `json:"raspberry_pi,omitempty"` // says "Raspberry Pi Boot", so boards may take it for their boot server
}

// maxOtherServers bounds how many servers are recorded. otherServerWait is how
// long they have to reply, because some ping an address before they offer it.
// They are asked otherServerAsks times meanwhile, as boot code does: a busy
// network loses packets, and a link that has just come up loses its first ones.
const (
	maxOtherServers = 16
	otherServerWait = 3 * time.Second
	otherServerAsks = 3
)

// FindOtherServers looks for other DHCP servers on an interface. It sends a
// DISCOVER as boot code would, from an Ethernet address that no host has. The
// DISCOVER is sent as a frame, so that no socket of this machine receives it, and
// the replies are read beside whatever DHCP client the machine has. It takes 3 s,
// or as long as ctx allows, and needs root.
func FindOtherServers(ctx context.Context, iface string) ([]OtherServer, error) {
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("dhcp: looking for other servers: interface %q: %w", iface, err)
	}
	l, err := openFrames(dev, unix.ETH_P_IP)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return nil, nil // no Ethernet, no other hosts
	}
	defer l.file.Close()
	discover, err := newDiscover()
	if err != nil {
		return nil, err
	}
	found := map[netip.Addr]OtherServer{}
	for range otherServerAsks {
		if err := l.findOtherServers(ctx, discover, found); err != nil {
			return nil, fmt.Errorf("dhcp: looking for other servers on %s: %w", iface, err)
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b OtherServer) int { return a.Addr.Compare(b.Addr) }), ctx.Err()
}

// newDiscover returns a DISCOVER from a board that does not exist.
func newDiscover() (*dhcpv4.DHCPv4, error) {
	var mac pi.MAC
	if _, err := rand.Read(mac[:]); err != nil {
		return nil, fmt.Errorf("dhcp: making an Ethernet address: %w", err)
	}
	mac[0] = mac[0]&^1 | 2 // one host's, and locally administered (IEEE 802, 8.2)
	discover, err := dhcpv4.NewDiscovery(mac[:],
		dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001")),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName, dhcpv4.OptionVendorSpecificInformation))
	if err != nil {
		return nil, fmt.Errorf("dhcp: making a DISCOVER: %w", err)
	}
	return discover, nil
}

// findOtherServers sends discover once and adds to found who replies within its
// part of otherServerWait.
func (l *link) findOtherServers(ctx context.Context, discover *dhcpv4.DHCPv4, found map[netip.Addr]OtherServer) error {
	ethernetBroadcast := pi.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	from, to := netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.AddrPortFrom(broadcast, serverPort)
	if err := l.sendUDP(ethernetBroadcast, from, to, discover.ToBytes()); err != nil {
		return err
	}
	if err := l.file.SetReadDeadline(time.Now().Add(otherServerWait / otherServerAsks)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for buf := make([]byte, headerEthernet+maxPacket); ; {
		n, err := l.file.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		r, ok := parseOtherServer(buf[:n], discover.TransactionID)
		if _, known := found[r.Addr]; ok && !known && len(found) < maxOtherServers {
			found[r.Addr] = r
		}
	}
}

// parseOtherServer reads an OFFER for the DISCOVER xid from a frame.
func parseOtherServer(frame []byte, xid dhcpv4.TransactionID) (OtherServer, bool) {
	payload, ok := clientDatagram(frame)
	if !ok {
		return OtherServer{}, false
	}
	offer, err := dhcpv4.FromBytes(payload)
	if err != nil || offer.OpCode != dhcpv4.OpcodeBootReply || offer.TransactionID != xid || offer.MessageType() != dhcpv4.MessageTypeOffer {
		return OtherServer{}, false
	}
	r := OtherServer{
		Addr:       addrOf(offer.ServerIdentifier()),
		MAC:        pi.MAC(frame[6:12]),
		Offered:    addrOf(offer.YourIPAddr),
		BootServer: untilNUL(text(offer, dhcpv4.OptionTFTPServerName)),
		BootFile:   untilNUL(text(offer, dhcpv4.OptionBootfileName)),
	}
	if !r.Addr.IsValid() {
		r.Addr = netip.AddrFrom4([4]byte(frame[headerEthernet+12:]))
	}
	if routers := offer.Router(); len(routers) > 0 {
		r.Router = addrOf(routers[0])
	}
	if r.BootFile == "" {
		r.BootFile = untilNUL(offer.BootFileName)
	}
	if next := addrOf(offer.ServerIPAddr); r.BootServer == "" && r.BootFile != "" && next.IsValid() {
		r.BootServer = next.String()
	}
	r.RaspberryPi = strings.Contains(text(offer, dhcpv4.OptionVendorSpecificInformation), "Raspberry Pi Boot")
	return r, true
}

// untilNUL returns what stands before the zero byte that some servers add.
func untilNUL(text string) string {
	before, _, _ := strings.Cut(text, "\x00")
	return before
}

// clientDatagram returns what a frame carries to a DHCP client.
func clientDatagram(frame []byte) ([]byte, bool) {
	if len(frame) < headerEthernet+headerIPv4+headerUDP || binary.BigEndian.Uint16(frame[12:]) != etherTypeIPv4 {
		return nil, false
	}
	ip := frame[headerEthernet:]
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || header < headerIPv4 || total < header+headerUDP || total > len(ip) || ip[9] != protocolUDP || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return nil, false // no IPv4, no UDP, or a fragment
	}
	udp := ip[header:total]
	if binary.BigEndian.Uint16(udp[2:]) != clientPort {
		return nil, false
	}
	return udp[headerUDP:], true
}
