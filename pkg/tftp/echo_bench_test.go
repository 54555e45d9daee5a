//go:build bench

package tftp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// An echo answers as a TFTP server does, and does nothing else: packets of the
// right lengths, of one piece of memory, by the system calls that the server
// makes. What it takes is what the network costs, on a machine and beside any
// server.
type echo struct {
	socket *socket
	in     inbox
	out    outbox
	sizes  map[string]int64
	asked  map[peer]*transfer // with the size of its file only
	data   [maxBlock]byte
}

// serveEcho answers on speedAddr for the files of dir, until the process is
// killed.
func serveEcho(dir string) error {
	s, err := newSocket(netip.MustParseAddrPort(speedAddr))
	if err != nil {
		return err
	}
	e := &echo{socket: s, sizes: map[string]int64{}, asked: map[peer]*transfer{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := os.Stat(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		e.sizes[f.Name()] = info.Size()
	}
	polled := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(polled, -1); err != nil && err != unix.EINTR {
			return err
		}
		if err := e.answer(); err != nil {
			return err
		}
	}
}

// answer answers what has come.
func (e *echo) answer() error {
	n, err := e.in.receive(e.socket)
	if err != nil {
		return err
	}
	for i := range n {
		if client, packet := e.in.at(i); len(packet) >= headerLen {
			e.take(client, packet)
		}
	}
	if e.out.n > 0 {
		_, err = e.socket.sendAll(e.out.messages[:e.out.n])
		e.out.clear()
	}
	return err
}

// take answers a request, or an ACK by the next blocks.
func (e *echo) take(client peer, packet []byte) {
	if binary.BigEndian.Uint16(packet) == opRead {
		e.begin(client, packet)
		return
	}
	t := e.asked[client]
	if t == nil || binary.BigEndian.Uint16(packet) != opAck {
		return
	}
	if !t.ack(binary.BigEndian.Uint16(packet[2:])) {
		t.next = t.acked + 1 // the board repeats itself
	}
	for end := min(t.acked+int64(t.window), t.last); t.next <= end && !e.out.full(); t.next++ {
		header := [headerLen]byte{1: opData}
		binary.BigEndian.PutUint16(header[2:], uint16(t.next))
		rest := t.file.size - (t.next-1)*int64(t.block)
		e.out.add(t, header, e.data[:min(int64(t.block), rest)])
	}
}

// begin answers a request.
func (e *echo) begin(client peer, packet []byte) {
	req, err := parseRequest(packet)
	size, ok := e.sizes[req.name]
	if err != nil || !ok {
		return
	}
	t := &transfer{peer: client}
	t.file.size = size
	t.start(size, agree(req.options, size, 1500, 0))
	t.next = 1
	e.asked[client] = t
	e.out.add(t, [headerLen]byte(t.oack), t.oack[headerLen:])
}
