//go:build linux

package virtualpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"pibootd/pkg/pi"
)

// vendorClass is option 60 of every model's DISCOVER.
const vendorClass = "PXEClient:Arch:00000:UNDI:002001"

// maxReplies limits how many replies a power-on keeps.
const maxReplies = 64

// A lease is what a board uses of the DHCP replies.
type lease struct {
	addr                 netip.Prefix
	server, router, tftp netip.Addr
}

// A dhcpClient is the DHCP client of one board.
type dhcpClient struct {
	board *Board
	model profile
	conn  net.PacketConn
	xid   dhcpv4.TransactionID
	until time.Time
	sent  int
	asked time.Time // when the client last sent a message
}

// deaf is how long a mask ROM hears nothing after its DISCOVER. Replies after a second are known
// to arrive, and instant replies to be lost; the value between is assumed.
const deaf = 500 * time.Millisecond

// askDHCP gets an address and a TFTP server in the way of the model's boot code.
func (b *Board) askDHCP(ctx context.Context, m profile, c *cable) (got lease, err error) {
	d := &dhcpClient{board: b, model: m, xid: m.xid, until: time.Now().Add(m.timing.DHCPTimeout)}
	if d.xid == (dhcpv4.TransactionID{}) {
		if d.xid, err = dhcpv4.GenerateTransactionID(); err != nil {
			return lease{}, err
		}
	}
	err = c.board.Do(func() (err error) {
		d.conn, err = nclient4.NewRawUDPConn(boardInterface, nclient4.ClientPort)
		return err
	})
	if err != nil {
		return lease{}, fmt.Errorf("opening a packet socket for DHCP: %w", err)
	}
	defer func() { err = errors.Join(err, d.conn.Close()) }()

	from, with, err := d.discover(ctx)
	if err != nil {
		return lease{}, err
	}
	if got, err = newLease(m, from, with); err != nil || !m.requests {
		return got, err
	}
	return got, d.request(ctx, got)
}

// discover sends DISCOVER until there are two OFFERs: from, which has an address, and with,
// which has the boot information that a Pi needs. Usually both are the same OFFER.
func (d *dhcpClient) discover(ctx context.Context) (from, with offer, err error) {
	msg, err := d.discoverMessage()
	if err != nil {
		return offer{}, offer{}, err
	}
	var offers []offer
	found := false
	err = d.exchange(ctx, Discover, msg, func(o offer) (bool, error) {
		if o.msg.MessageType() != dhcpv4.MessageTypeOffer || len(offers) == maxReplies {
			return false, nil
		}
		offers = append(offers, o)
		d.board.step(Step{Name: Offer, Detail: o.String()})
		from, with, found = choose(offers)
		return found, nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = d.gaveUp(offers)
	}
	return from, with, err
}

func (d *dhcpClient) gaveUp(offers []offer) error {
	if len(offers) == 0 {
		return fmt.Errorf("%d DISCOVERs in %v: %w; want pibootd on this bridge, and this board known to it", d.sent, d.model.timing.DHCPTimeout, ErrNoOffer)
	}
	return fmt.Errorf("%d DISCOVERs in %v: %w", d.sent, d.model.timing.DHCPTimeout, whyNone(offers))
}

// request requests the address of an offer.
func (d *dhcpClient) request(ctx context.Context, want lease) error {
	msg, err := d.requestMessage(want)
	if err != nil {
		return err
	}
	err = d.exchange(ctx, Request, msg, func(r offer) (bool, error) {
		switch r.msg.MessageType() {
		case dhcpv4.MessageTypeNak:
			return false, fmt.Errorf("%s refused (NAK) the address %s that it had offered: %q", want.server, want.addr.Addr(), r.msg.Message())
		case dhcpv4.MessageTypeAck:
			if got, _ := netip.AddrFromSlice(r.msg.YourIPAddr.To4()); got != want.addr.Addr() {
				return false, fmt.Errorf("%s acknowledged %s after offering %s", want.server, got, want.addr.Addr())
			}
			d.board.step(Step{Name: Ack, Detail: r.String()})
			return true, nil
		}
		return false, nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s offered %s but did not answer REQUEST within %v", want.server, want.addr.Addr(), d.model.timing.DHCPTimeout)
	}
	return err
}

func (d *dhcpClient) discoverMessage() (*dhcpv4.DHCPv4, error) {
	return d.message(dhcpv4.MessageTypeDiscover, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(vendorClass)))
}

// requestMessage returns a REQUEST, which has no option 60 (raspberrypi/rpi-eeprom#82).
func (d *dhcpClient) requestMessage(want lease) (*dhcpv4.DHCPv4, error) {
	return d.message(dhcpv4.MessageTypeRequest,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(want.addr.Addr().AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(want.server.AsSlice())))
}

func (d *dhcpClient) message(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	b := d.board
	msg, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithTransactionID(d.xid),
		dhcpv4.WithHwAddr(b.MAC[:]),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithGeneric(dhcpv4.OptionParameterRequestList, d.model.params),
		dhcpv4.WithGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 0}),
		dhcpv4.WithGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 2, 1}),
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, b.guid(d.model)),
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("making a DHCP %s: %w", kind, err)
	}
	return msg, nil
}

// guid returns option 97. All mask ROMs send the same one.
func (b *Board) guid(m profile) []byte {
	if b.MaskROM {
		return append([]byte{0}, bytes.Repeat([]byte{0x44}, 16)...)
	}
	return pi.EncodeGUID(m.generation, m.revision, b.MAC, b.Serial)
}

// exchange broadcasts msg now and after every DHCPRetry until accept returns true or an error.
// It returns os.ErrDeadlineExceeded when the time for DHCP is over.
func (d *dhcpClient) exchange(ctx context.Context, name string, msg *dhcpv4.DHCPv4, accept func(offer) (bool, error)) error {
	stop := context.AfterFunc(ctx, func() { _ = d.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for try := 1; ; try++ {
		left := time.Until(d.until)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		if _, err := d.conn.WriteTo(msg.ToBytes(), nclient4.DefaultServers); err != nil {
			return fmt.Errorf("sending %s: %w", msg.MessageType(), err)
		}
		d.sent++
		d.asked = time.Now()
		d.board.step(Step{Name: name, Detail: fmt.Sprintf("try %d", try)})
		done, err := d.listen(ctx, time.Now().Add(min(left, d.model.timing.DHCPRetry)), accept)
		if done || err != nil {
			return err
		}
	}
}

// listen passes replies to accept until deadline.
func (d *dhcpClient) listen(ctx context.Context, deadline time.Time, accept func(offer) (bool, error)) (bool, error) {
	if err := d.conn.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	buf := make([]byte, nclient4.MaxMessageSize)
	for {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n, sender, err := d.conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, context.Cause(ctx)
		}
		if err != nil {
			return false, fmt.Errorf("waiting for DHCP: %w", err)
		}
		reply, ok := d.parse(buf[:n], sender)
		if !ok {
			continue
		}
		if done, err := accept(reply); done || err != nil {
			return done, err
		}
	}
}

// parse reads a reply to this board. It ignores all other packets, as a board does, because the
// bridge also delivers other boards' messages, and every Pi 3 uses the same transaction id.
func (d *dhcpClient) parse(packet []byte, sender net.Addr) (offer, bool) {
	msg, err := dhcpv4.FromBytes(bytes.Clone(packet))
	if err != nil || msg.OpCode != dhcpv4.OpcodeBootReply || msg.TransactionID != d.xid {
		return offer{}, false
	}
	if d.board.MaskROM {
		if time.Since(d.asked) < deaf {
			return offer{}, false
		}
	} else if !bytes.Equal(msg.ClientHWAddr, d.board.MAC[:]) {
		return offer{}, false
	}
	udp, ok := sender.(*net.UDPAddr)
	if !ok {
		return offer{}, false
	}
	source, ok := netip.AddrFromSlice(udp.IP.To4())
	return offer{msg: msg, source: source}, ok
}
