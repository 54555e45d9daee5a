package boot

import (
	"context"
	"net/netip"
	"path"
	"slices"
	"time"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/bootconfig"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/nfs"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/tftp"
	"pibootd/pkg/timeline"
)

// dhcpKinds are the events of DHCP messages; other messages are not shown.
var dhcpKinds = map[dhcp.Kind]timeline.Kind{
	dhcp.Discover: timeline.Discover,
	dhcp.Offer:    timeline.Offer,
	dhcp.Request:  timeline.Request,
	dhcp.Ack:      timeline.Ack,
	dhcp.Nak:      timeline.Nak,
	dhcp.Decline:  timeline.Declined,
}

// DHCPMessage records a DHCP message. It is a dhcp.Server's OnMessage.
func (p *Policy) DHCPMessage(m dhcp.Message) {
	kind, ok := dhcpKinds[m.Kind]
	if !ok {
		return
	}
	board, known := p.Registry.ByMAC(m.MAC)
	if !known {
		p.discovered(m)
		return
	}
	p.keep(board, boardlog.Packet{At: time.Now(), Service: "dhcp", Bytes: m.Packet}, m.Kind == dhcp.Discover && m.Netboot)
	e := event(board, kind)
	e.MAC, e.Addr, e.Detail, e.Server = m.MAC, m.Addr, m.Reason, m.Server
	if m.Kind == dhcp.Discover {
		introduce(&e, board, m)
	}
	if m.Kind == dhcp.Offer && p.OnOffer != nil {
		p.OnOffer(board)
	}
	p.Timeline.Record(e)
}

// keep keeps a request of a board, if it is one.
func (p *Policy) keep(board registry.Pi, packet boardlog.Packet, begins bool) {
	if p.Packets != nil && packet.Bytes != nil {
		p.Packets.Add(board.Serial.String(), packet, begins)
	}
}

// introduce adds to a DISCOVER who sent it, as it says itself.
func introduce(e *timeline.Event, board registry.Pi, m dhcp.Message) {
	e.Client = timeline.System
	if !m.Netboot {
		return
	}
	e.Client = timeline.BootCode
	serial, generation, ok := pi.DecodeGUID(m.GUID)
	if !ok {
		return
	}
	if serial.Swapped() == board.Serial {
		serial = board.Serial // the order of the bytes is not documented
	}
	e.Serial, e.Model = serial, string(bootconfig.ModelOf(generation, pi.DecodeRevision(m.GUID)))
}

// discovered records an unregistered board that asked for an address. It ignores
// other machines of the network.
func (p *Policy) discovered(m dhcp.Message) {
	if m.Kind != dhcp.Discover || !m.Netboot {
		return
	}
	p.relays.seen(m.MAC, m.Relay)
	found := registry.Discovered{MAC: m.MAC, LastSeen: time.Now()}
	e := timeline.Event{Board: m.MAC.String(), Kind: timeline.Unknown, MAC: m.MAC, Detail: "not registered"}
	serial, model, ok := pi.DecodeGUID(m.GUID)
	found.Model = model
	if ok {
		found.Serial = serial
		e.Detail = "serial " + serial.String() + " is not registered"
	}
	if m.Reason != "" {
		e.Detail += ", so not answered"
	}
	if err := p.Registry.Discover(context.Background(), found); err != nil {
		p.Log.Error("recording an unknown board", "component", "boot", "pi", m.MAC, "err", err)
	}
	p.Timeline.Record(e)
}

// tftpKinds are the events of TFTP transfers.
var tftpKinds = map[tftp.Outcome]timeline.Kind{
	tftp.Sent:    timeline.File,
	tftp.Missing: timeline.FileMissing,
	tftp.Aborted: timeline.FileAborted,
	tftp.Failed:  timeline.FileFailed,
	tftp.Refused: timeline.FileFailed,
}

// Transferred records a TFTP transfer of a registered board. It is a
// tftp.Server's OnDone.
func (p *Policy) Transferred(t tftp.Transfer) {
	board, ok := p.askedBy(t.Client, t.File)
	if !ok {
		p.Log.Debug("boot file requested from an address that is not its board's", "component", "tftp", "addr", t.Client, "file", t.File)
		return
	}
	p.keep(board, boardlog.Packet{At: time.Now().Add(-t.Took), Service: "tftp", From: t.Client, Bytes: t.Request}, false)
	e := event(board, tftpKinds[t.Outcome])
	e.Addr, e.File, e.Bytes, e.Took, e.Block, e.Blocks = t.Client, t.File, t.Bytes, t.Took, t.Block, t.Blocks
	if t.Outcome == tftp.Failed || t.Outcome == tftp.Refused {
		e.Detail = errorText(t.Err)
	} else if t.Client != board.IP {
		e.Detail = "asked from " + t.Client.String() + ", an address of its own"
	}
	p.Timeline.Record(e)
}

// mountKinds are the events of the MOUNT protocol.
var mountKinds = map[nfs.MountOp]timeline.Kind{
	nfs.Mounted:   timeline.Mount,
	nfs.Refused:   timeline.MountRefused,
	nfs.Unmounted: timeline.Unmount,
}

// Mounted records that a board mounted an export or was refused, or that another
// address asked for a board's export. It is an nfs.Server's OnMount.
func (p *Policy) Mounted(m nfs.MountEvent) {
	board, ok := p.Registry.ByIP(m.Client)
	if m.Op == nfs.Refused {
		if owner, is := p.mountsFromElsewhere(m, ok); is {
			p.refusedElsewhere(owner, m)
			return
		}
		p.strangersMount(m.Export, board, m.Client)
	}
	if !ok {
		return // the server has logged what it refused
	}
	e := event(board, mountKinds[m.Op])
	e.Addr, e.Export, e.Detail = m.Client, path.Clean(m.Export), m.Reason
	if m.Op == nfs.Refused {
		p.Timeline.RecordLimited(e, m.Reason)
		return
	}
	p.Timeline.Record(e)
}

// arpWait is how long a refusal waits to hear whose address it was.
const arpWait = time.Second

// mountsFromElsewhere returns the board that asks for its own export from an address that
// is no board's, as it does after another DHCP server has given it one.
func (p *Policy) mountsFromElsewhere(m nfs.MountEvent, registered bool) (registry.Pi, bool) {
	owner, ok := p.boardIn(m.Export)
	if !ok || registered {
		return registry.Pi{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), arpWait)
	defer cancel()
	return owner, slices.Contains(p.hostsAt(ctx, m.Client), owner.MAC)
}

func (p *Policy) refusedElsewhere(board registry.Pi, m nfs.MountEvent) {
	e := event(board, timeline.MountRefused)
	e.Addr, e.Export = m.Client, path.Clean(m.Export)
	e.Detail = "its address is " + m.Client.String() + ", not " + board.IP.String() + " as registered: another DHCP server has answered it"
	p.Timeline.RecordLimited(e, m.Reason)
}

// Limited records on a board's timeline that its own export is at a limit. It is an
// nfs.Server's OnLimit.
func (p *Policy) Limited(l nfs.LimitEvent) {
	board, ok := p.boardIn(l.Export)
	if !ok {
		return // the server has logged it
	}
	p.Broke(board.Serial.String(), "limit of "+l.Export, "refused to write to "+l.Export+": "+l.Reason)
}

// OldHandle records that a board uses file handles which this server has not made: the board ran
// when a backup was restored. It is an nfs.Server's OnBadHandle.
func (p *Policy) OldHandle(client netip.Addr) {
	board, ok := p.Registry.ByIP(client)
	if !ok {
		return
	}
	e := event(board, timeline.OldHandle)
	e.Addr, e.Detail = client, "it asks for files by handles that this pibootd has not made"
	p.Timeline.RecordLimited(e, "handle")
}

// findingKinds are the events of what a kernel says of its board.
var findingKinds = map[boardlog.Finding]timeline.Kind{
	boardlog.Panic:        timeline.Panic,
	boardlog.Oops:         timeline.Oops,
	boardlog.OutOfMemory:  timeline.OutOfMemory,
	boardlog.UnderVoltage: timeline.UnderVoltage,
}

// Found records what a board's kernel says of the board. It is a boardlog.Log's OnFinding.
func (p *Policy) Found(line boardlog.Line, f boardlog.Finding) {
	serial, err := pi.ParseSerial(line.Board)
	if err != nil {
		return
	}
	board, ok := p.Registry.BySerial(serial)
	if !ok {
		return
	}
	e := event(board, findingKinds[f])
	e.At, e.Detail = line.At, line.Text
	p.Timeline.RecordLimited(e, "")
}

func event(board registry.Pi, kind timeline.Kind) timeline.Event {
	return timeline.Event{At: time.Now(), Board: board.Serial.String(), Name: board.Name, Kind: kind, Addr: netip.Addr{}}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
