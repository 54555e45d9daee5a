package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
)

// A link sends Ethernet frames on one interface, and hears its ARP. Frames
// reach a client that has no address yet, which cannot answer the ARP request
// that an ordinary socket would begin with.
type link struct {
	file *os.File
	mac  pi.MAC
}

// openLink opens a link that hears ARP; see openFrames.
func openLink(iface *net.Interface) (*link, error) { return openFrames(iface, unix.ETH_P_ARP) }

// openFrames opens a link that hears one kind of frames. It returns nil without
// an error for an interface that has no Ethernet addresses, such as lo.
func openFrames(iface *net.Interface, etherType uint16) (*link, error) {
	if len(iface.HardwareAddr) != len(pi.MAC{}) {
		return nil, nil
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("dhcp: opening a packet socket: %w; this needs root", err)
	}
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(etherType), Ifindex: iface.Index}
	if err := unix.Bind(fd, to); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("dhcp: binding a packet socket to %s: %w", iface.Name, err)
	}
	return &link{file: os.NewFile(uintptr(fd), "packet socket of "+iface.Name), mac: pi.MAC(iface.HardwareAddr)}, nil
}

// bigEndian returns n in network byte order, for fields that the kernel takes
// as they are in memory.
func bigEndian(n uint16) uint16 { return n<<8 | n>>8 }

const (
	headerEthernet = 14
	headerIPv4     = 20
	headerUDP      = 8
	etherTypeIPv4  = 0x0800
	etherTypeARP   = 0x0806
	etherTypeWake  = 0x0842
	protocolUDP    = 17
)

func (l *link) frame(to pi.MAC, etherType uint16, size int) []byte {
	f := make([]byte, headerEthernet, headerEthernet+size)
	copy(f, to[:])
	copy(f[6:], l.mac[:])
	f[12], f[13] = byte(etherType>>8), byte(etherType)
	return f
}

func (l *link) write(frame []byte) error {
	if _, err := l.file.Write(frame); err != nil {
		return fmt.Errorf("sending a frame: %w", err)
	}
	return nil
}

// sendUDP sends a datagram to the Ethernet address to, whoever has dst.
func (l *link) sendUDP(to pi.MAC, src, dst netip.AddrPort, payload []byte) error {
	f := l.frame(to, etherTypeIPv4, headerIPv4+headerUDP+len(payload))
	udpLen := headerUDP + len(payload)
	s, d := src.Addr().As4(), dst.Addr().As4()
	ip := []byte{
		0x45, 0, byte((headerIPv4 + udpLen) >> 8), byte(headerIPv4 + udpLen),
		0, 0, 0x40, 0, // don't fragment
		64, protocolUDP, 0, 0,
		s[0], s[1], s[2], s[3],
		d[0], d[1], d[2], d[3],
	}
	sum := ^checksum(0, ip)
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	udp := []byte{
		byte(src.Port() >> 8), byte(src.Port()), byte(dst.Port() >> 8), byte(dst.Port()),
		byte(udpLen >> 8), byte(udpLen), 0, 0,
	}
	sum = ^checksum(checksum(checksum(protocolUDP+uint32(udpLen), ip[12:]), udp), payload)
	if sum&0xffff == 0 {
		sum = 0xffff // RFC 768: zero would say that there is none
	}
	udp[6], udp[7] = byte(sum>>8), byte(sum)
	f = append(append(append(f, ip...), udp...), payload...)
	return l.write(f)
}

// checksum adds data to sum as RFC 1071 has it. Only the last part of what is
// added may have an odd length.
func checksum(sum uint32, data []byte) uint32 {
	for ; len(data) > 1; data = data[2:] {
		sum += uint32(data[0])<<8 | uint32(data[1])
	}
	if len(data) == 1 {
		sum += uint32(data[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

// wake sends a Wake-on-LAN frame, of which nothing is wanted but that it
// arrives.
func (l *link) wake(to pi.MAC) error {
	f := l.frame(to, etherTypeWake, 6+16*len(to))
	f = append(f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	for range 16 {
		f = append(f, to[:]...)
	}
	return l.write(f)
}

// An ARP packet for IPv4 over Ethernet, RFC 826: its fixed part, then sender
// and target, each with hardware and protocol address.
const (
	arpHeader = "\x00\x01\x08\x00\x06\x04\x00"
	arpLen    = 28
	arpSender = 8
	arpTarget = 18
)

// askFor sends ARP probes (RFC 5227 §1.1): requests without a sender
// address, so that no host learns a wrong one from them.
func (l *link) askFor(addrs []netip.Addr) error {
	frames := make([][]byte, 0, sendBatch)
	for chunk := range slices.Chunk(addrs, sendBatch) {
		frames = frames[:0]
		for _, addr := range chunk {
			frames = append(frames, l.question(addr, netip.IPv4Unspecified()))
		}
		if err := l.writeAll(frames); err != nil {
			return err
		}
	}
	return nil
}

// ask sends an ARP request for addr in the name of sender, an address of this
// machine.
func (l *link) ask(addr, sender netip.Addr) error { return l.write(l.question(addr, sender)) }

// question is an ARP request.
func (l *link) question(addr, sender netip.Addr) []byte {
	f := l.frame(pi.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, etherTypeARP, arpLen)
	f = append(f, arpHeader...)
	f = append(f, 1) // request
	f = append(f, l.mac[:]...)
	f = append(f, sender.AsSlice()...)
	f = append(f, make([]byte, len(pi.MAC{}))...)
	return append(f, addr.AsSlice()...)
}

// sendBatch is how many frames one system call sends.
const sendBatch = 64

// writeAll sends up to sendBatch frames by sendmmsg(2).
func (l *link) writeAll(frames [][]byte) error {
	var messages [sendBatch]mmsghdr
	var parts [sendBatch]unix.Iovec
	for i, f := range frames {
		parts[i].Base = &f[0]
		parts[i].SetLen(len(f))
		messages[i].Iov = &parts[i]
		messages[i].SetIovlen(1)
	}
	raw, err := l.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("sending frames: %w", err)
	}
	sent := 0
	var errno unix.Errno
	err = raw.Write(func(fd uintptr) bool {
		for errno = 0; sent < len(frames); {
			var n uintptr
			n, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&messages[sent])), uintptr(len(frames)-sent), 0, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				return errno != unix.EAGAIN
			}
			sent += int(n)
		}
		return true
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("sending %d frames: %w", len(frames), err)
	}
	return nil
}

// heard returns the sender of an ARP frame: its addresses.
func heard(frame []byte) (addr netip.Addr, mac pi.MAC, ok bool) {
	if len(frame) < headerEthernet+arpLen {
		return netip.Addr{}, pi.MAC{}, false
	}
	arp := frame[headerEthernet:]
	if string(arp[:len(arpHeader)]) != arpHeader {
		return netip.Addr{}, pi.MAC{}, false
	}
	mac = pi.MAC(arp[arpSender : arpSender+6])
	addr = netip.AddrFrom4([4]byte(arp[arpSender+6 : arpTarget]))
	return addr, mac, !addr.IsUnspecified() // else itself a probe
}
