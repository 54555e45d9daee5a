package tftp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// In a boot storm a system call for each packet costs more than the packet
// itself. So packets are read and sent in batches, and the blocks of a window
// leave as one datagram that the network card, or the kernel, cuts (UDP_SEGMENT
// of udp(7)). All the memory that the kernel is given is here, so that a block
// costs no allocation.

// How much goes into a batch.
const (
	maxBatch    = 64    // datagrams, those of a window being one
	maxPackets  = 256   // packets, so that a batch holds several windows
	maxSegments = 64    // packets in a datagram, the kernel's UDP_MAX_SEGMENTS
	maxDatagram = 65507 // bytes: what IPv4 and UDP leave of 64 KiB
)

// A peer is the port of a client, and which of a loop's sockets it talks to.
type peer struct {
	addr   [4]byte
	port   uint16
	socket uint16
}

// An mmsghdr is the struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	length uint32 // bytes that were received or sent
}

// An inbox holds what one recvmmsg(2) has read.
type inbox struct {
	messages [maxBatch]mmsghdr
	from     [maxBatch]unix.RawSockaddrInet4
	parts    [maxBatch]unix.Iovec
	data     [maxBatch][headerLen + defaultBlock]byte // an ACK, or an ERROR with its text
}

// receive reads what has come to a socket, without waiting, and returns how
// many datagrams that are.
func (in *inbox) receive(s *socket) (int, error) {
	for i := range in.messages {
		m := &in.messages[i]
		in.parts[i].Base = &in.data[i][0]
		in.parts[i].SetLen(len(in.data[i]))
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&in.from[i])), unix.SizeofSockaddrInet4
		m.Iov = &in.parts[i]
		m.SetIovlen(1)
	}
	return s.receive(in.messages[:])
}

// at returns a datagram, and the address and port that it came from.
func (in *inbox) at(i int) (peer, []byte) {
	from := &in.from[i]
	port := (*[2]byte)(unsafe.Pointer(&from.Port)) // in network order
	return peer{addr: from.Addr, port: binary.BigEndian.Uint16(port[:])}, in.data[i][:in.messages[i].length]
}

// An outbox gathers packets for one sendmmsg(2).
type outbox struct {
	messages [maxBatch]mmsghdr
	windows  [maxBatch]window // what is in each of messages
	to       [maxBatch]unix.RawSockaddrInet4
	cuts     [maxBatch]segmentSize
	n        int // messages

	headers [maxPackets][headerLen]byte
	parts   [2 * maxPackets]unix.Iovec // each packet's header and data
	packets int

	whole bool // what is sent is not cut on the way
}

// A window is the packets of one datagram. All but the last have the same size,
// the last may be shorter.
type window struct {
	of          *transfer
	at, count   int // of an outbox's packets
	first, last int // bytes
}

// full reports whether there is no room for another packet.
func (o *outbox) full() bool { return o.n == maxBatch || o.packets == maxPackets }

// add puts in a packet for t's client. The outbox must not be full, and data
// must stay as it is until it is sent.
func (o *outbox) add(t *transfer, header [headerLen]byte, data []byte) {
	parts := o.parts[2*o.packets:]
	o.headers[o.packets] = header
	parts[0].Base, parts[1].Base = &o.headers[o.packets][0], unsafe.SliceData(data)
	parts[0].SetLen(headerLen)
	parts[1].SetLen(len(data))
	o.packets++
	if size := headerLen + len(data); !o.extend(t, size) {
		o.windows[o.n] = window{of: t, at: o.packets - 1, count: 1, first: size, last: size}
		o.to[o.n] = sockaddrOf(t.peer)
		o.address(&o.messages[o.n], o.n, o.packets-1)
		o.n++
	}
}

// address makes m a datagram of one packet, for the client of the nth message.
func (o *outbox) address(m *mmsghdr, n, packet int) {
	m.Name, m.Namelen = (*byte)(unsafe.Pointer(&o.to[n])), unix.SizeofSockaddrInet4
	m.Iov = &o.parts[2*packet]
	m.SetIovlen(2)
	m.Control = nil
	m.SetControllen(0)
}

// extend makes the packet that was put in last part of the datagram before it,
// if that has packets of the same window.
func (o *outbox) extend(t *transfer, size int) bool {
	if o.n == 0 || o.whole {
		return false
	}
	w, m := &o.windows[o.n-1], &o.messages[o.n-1]
	if w.of != t || size > w.first || w.last < w.first || w.count == maxSegments || w.count*w.first+size > maxDatagram {
		return false
	}
	w.count++
	w.last = size
	m.SetIovlen(2 * w.count)
	o.cuts[o.n-1].set(m, w.first)
	return true
}

// apart returns the packets of the nth message as datagrams of their own.
func (o *outbox) apart(n int) []mmsghdr {
	w := o.windows[n]
	messages := make([]mmsghdr, w.count)
	for i := range messages {
		o.address(&messages[i], n, w.at+i)
	}
	return messages
}

// clear empties the outbox, and lets go of what it held.
func (o *outbox) clear() {
	clear(o.windows[:o.n])
	clear(o.parts[:2*o.packets])
	o.n, o.packets = 0, 0
}

// A segmentSize is the control message UDP_SEGMENT, cmsg(3).
type segmentSize struct {
	header unix.Cmsghdr
	size   uint16
	_      [6]byte
}

// set has the kernel cut a message into packets of size bytes.
func (c *segmentSize) set(m *mmsghdr, size int) {
	c.header.Level, c.header.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	c.header.SetLen(unix.CmsgLen(int(unsafe.Sizeof(c.size))))
	c.size = uint16(size)
	m.Control = (*byte)(unsafe.Pointer(c))
	m.SetControllen(unix.CmsgSpace(int(unsafe.Sizeof(c.size))))
}

// sockaddrOf returns a client's address as the kernel takes it.
func sockaddrOf(p peer) unix.RawSockaddrInet4 {
	to := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: p.addr}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.Port))[:], p.port)
	return to
}
