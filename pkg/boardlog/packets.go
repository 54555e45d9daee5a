package boardlog

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Packet is a request of a board while it boots, as it arrived.
type Packet struct {
	At      time.Time
	Service string     // "dhcp" or "tftp"
	From    netip.Addr // zero: the board has no address yet
	Bytes   []byte     // of the UDP datagram
}

// Bounds of what is kept of one boot. A Pi asks for 40 to 70 files.
const (
	maxPackets     = 256
	maxPacketBytes = 64 << 10
	// bootGap separates two boots if no file was asked for between them.
	bootGap = 2 * time.Minute
)

// Packets keep the requests of each board's last boot in memory. The zero value is ready. It
// is safe for concurrent use.
type Packets struct {
	mu     sync.Mutex
	boards map[string]bootPackets
}

type bootPackets struct {
	packets []Packet
	bytes   int
}

// Add keeps a packet of a board, of which it makes a copy. begins is whether boot code sends
// such a packet first: it begins a new boot, unless it repeats one of the same boot.
func (p *Packets) Add(board string, packet Packet, begins bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	boot := p.boards[board]
	if n := len(boot.packets); begins && n > 0 {
		last := boot.packets[n-1]
		if last.Service != packet.Service || packet.At.Sub(last.At).Abs() > bootGap {
			boot = bootPackets{}
		}
	}
	if len(boot.packets) >= maxPackets || boot.bytes+len(packet.Bytes) > maxPacketBytes {
		return
	}
	packet.Bytes = slices.Clone(packet.Bytes)
	boot.packets, boot.bytes = append(boot.packets, packet), boot.bytes+len(packet.Bytes)
	if p.boards == nil {
		p.boards = map[string]bootPackets{}
	}
	p.boards[board] = boot
}

// Of returns the packets of a board's last boot, in order.
func (p *Packets) Of(board string) []Packet {
	p.mu.Lock()
	defer p.mu.Unlock()
	packets := slices.Clone(p.boards[board].packets)
	slices.SortStableFunc(packets, func(a, b Packet) int { return a.At.Compare(b.At) }) // files are reported when they are sent
	return packets
}
