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

// A Rival is another DHCP server of the network, or a PXE proxy, by what it
// offers to boot code.
type Rival struct {
	Addr        netip.Addr `json:"addr"`                   // option 54, else where it came from
	MAC         pi.MAC     `json:"mac"`                    // of the host or relay that sent it
	Offered     netip.Addr `json:"offered,omitzero"`       // zero: a proxy, which gives no addresses
	Router      netip.Addr `json:"router,omitzero"`        // zero: none is told
	BootServer  string     `json:"boot_server,omitempty"`  // option 66, else siaddr beside a boot file; foreign text
	BootFile    string     `json:"boot_file,omitempty"`    // option 67 or the field; foreign text
	RaspberryPi bool       `json:"raspberry_pi,omitempty"` // says "Raspberry Pi Boot", so boards may take it for their boot server
}

// maxRivals bounds how many servers are listened to, and rivalWait how long they
// have: some ping an address before they offer it. They are asked rivalAsks times
// meanwhile, as by boot code: a busy network loses packets, and a link that has
// just come up its first.
const (
	maxRivals = 16
	rivalWait = 3 * time.Second
	rivalAsks = 3
)

// FindRivals asks who else answers DHCP on an interface, as boot code would with
// an Ethernet address that no host has. The question leaves the machine as a
// frame, so no socket of it hears it, and the answers are read beside whatever
// DHCP client the machine has. It takes 3 s, or as long as ctx allows, and root.
func FindRivals(ctx context.Context, iface string) ([]Rival, error) {
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
	question, err := newQuestion()
	if err != nil {
		return nil, err
	}
	found := map[netip.Addr]Rival{}
	for range rivalAsks {
		if err := l.findRivals(ctx, question, found); err != nil {
			return nil, fmt.Errorf("dhcp: looking for other servers on %s: %w", iface, err)
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Rival) int { return a.Addr.Compare(b.Addr) }), ctx.Err()
}

// newQuestion is a DISCOVER of a board that does not exist.
func newQuestion() (*dhcpv4.DHCPv4, error) {
	var mac pi.MAC
	if _, err := rand.Read(mac[:]); err != nil {
		return nil, fmt.Errorf("dhcp: making an Ethernet address: %w", err)
	}
	mac[0] = mac[0]&^1 | 2 // one host's, and given by nobody (IEEE 802, 8.2)
	question, err := dhcpv4.NewDiscovery(mac[:],
		dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001")),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName, dhcpv4.OptionVendorSpecificInformation))
	if err != nil {
		return nil, fmt.Errorf("dhcp: making a DISCOVER: %w", err)
	}
	return question, nil
}

// findRivals asks once, and notes who answers in its part of rivalWait.
func (l *link) findRivals(ctx context.Context, question *dhcpv4.DHCPv4, found map[netip.Addr]Rival) error {
	ethernetBroadcast := pi.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	from, to := netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.AddrPortFrom(broadcast, serverPort)
	if err := l.sendUDP(ethernetBroadcast, from, to, question.ToBytes()); err != nil {
		return err
	}
	if err := l.file.SetReadDeadline(time.Now().Add(rivalWait / rivalAsks)); err != nil {
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
		r, ok := parseRival(buf[:n], question.TransactionID)
		if _, known := found[r.Addr]; ok && !known && len(found) < maxRivals {
			found[r.Addr] = r
		}
	}
}

// parseRival reads an OFFER that answers the question xid from a frame.
func parseRival(frame []byte, xid dhcpv4.TransactionID) (Rival, bool) {
	payload, ok := clientDatagram(frame)
	if !ok {
		return Rival{}, false
	}
	offer, err := dhcpv4.FromBytes(payload)
	if err != nil || offer.OpCode != dhcpv4.OpcodeBootReply || offer.TransactionID != xid || offer.MessageType() != dhcpv4.MessageTypeOffer {
		return Rival{}, false
	}
	r := Rival{
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
