//go:build linux

package recording

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Ports of the servers, and the opcodes of TFTP.
const (
	dhcpPort = 67
	tftpPort = 69
	nfsPort  = 2049

	opRRQ   = 1
	opData  = 3
	opAck   = 4
	opError = 5
	opOAck  = 6
)

// A wire is what passes between a board and a server.
type wire struct {
	server, board netip.Addr
	rec           *recorder
	transfers     map[uint16]int // files by the board's port
	streams       map[uint16]*stream
}

func newWire(server, board netip.Addr, mount string) *wire {
	return &wire{server: server, board: board, rec: newRecorder(mount), transfers: map[uint16]int{}, streams: map[uint16]*stream{}}
}

// packet takes an IPv4 packet, or anything else, which it leaves alone.
func (w *wire) packet(p []byte) error {
	if len(p) < 20 || p[0]>>4 != 4 {
		return nil
	}
	header, length := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
	if length == 0 { // what the network card was to cut, of more than 64 KiB
		length = len(p)
	}
	if header < 20 || length < header || length > len(p) {
		return nil
	}
	from, to := netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
	protocol, body := p[9], p[header:length]
	switch {
	case protocol == 17 && len(body) >= 8:
		return w.datagram(from, to, binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]), body[8:])
	case protocol == 6 && len(body) >= 20:
		return w.segment(from, to, body)
	}
	return nil
}

func (w *wire) datagram(from, to netip.Addr, source, port uint16, data []byte) error {
	switch {
	case port == dhcpPort && from != w.server:
		w.rec.out.Discovers = append(w.rec.out.Discovers, bytes.Clone(data))
	case from == w.board && to == w.server && port == tftpPort:
		return w.readRequest(source, data)
	case from == w.board && to == w.server:
		w.tftpFromBoard(source, data)
		return w.rec.call(data) // MNT may come in a datagram
	case from == w.server && to == w.board:
		w.tftpFromServer(port, data)
		return w.rec.reply(data)
	}
	return nil
}

func (w *wire) readRequest(source uint16, data []byte) error {
	fields := strings.Split(string(data[min(2, len(data)):]), "\x00")
	if len(fields) < 3 {
		return fmt.Errorf("TFTP request %q; want a name and a mode", data)
	}
	if at, ok := w.transfers[source]; ok && bytes.Equal(w.rec.out.Files[at].Request, data) {
		return nil // it was sent again
	}
	w.transfers[source] = len(w.rec.out.Files)
	w.rec.out.Files = append(w.rec.out.Files, File{Request: bytes.Clone(data), Name: fields[0]})
	return nil
}

func (w *wire) tftpFromBoard(port uint16, data []byte) {
	if at, ok := w.transfers[port]; ok && len(data) > 1 && data[1] == opError {
		w.rec.out.Files[at].Probe = true
	}
}

func (w *wire) tftpFromServer(port uint16, data []byte) {
	at, ok := w.transfers[port]
	if !ok || len(data) < 4 {
		return
	}
	file := &w.rec.out.Files[at]
	switch data[1] {
	case opError:
		file.Size = -1
		delete(w.transfers, port)
	case opOAck:
		fields := strings.Split(string(data[2:]), "\x00")
		for i := 0; i+1 < len(fields); i += 2 {
			if strings.EqualFold(fields[i], "tsize") {
				file.Size, _ = strconv.ParseInt(fields[i+1], 10, 64)
			}
		}
	case opData:
		// What was asked for without tsize has the size of its last block's end.
		if !bytes.Contains(file.Request, []byte("tsize")) {
			file.Size = max(file.Size, int64(binary.BigEndian.Uint16(data[2:])-1)*512+int64(len(data)-4))
		}
	}
}

// segment takes a segment of TCP. Streams are known by the board's port.
func (w *wire) segment(from, to netip.Addr, s []byte) error {
	source, port := binary.BigEndian.Uint16(s), binary.BigEndian.Uint16(s[2:])
	header := int(s[12]>>4) * 4
	if header < 20 || header > len(s) {
		return nil
	}
	const synFlag = 2
	number, syn, data := binary.BigEndian.Uint32(s[4:]), s[13]&synFlag != 0, s[header:]
	switch {
	case from == w.board && to == w.server && port == nfsPort:
		if syn {
			w.streams[source] = &stream{}
		}
		if st := w.streams[source]; st != nil {
			return st.board.take(number, syn, data, w.rec.call)
		}
	case from == w.server && to == w.board && source == nfsPort:
		if st := w.streams[port]; st != nil {
			return st.server.take(number, syn, data, w.rec.reply)
		}
	}
	return nil
}

// A stream is a connection of TCP.
type stream struct{ board, server half }

// A half is what one end of a connection sends.
type half struct {
	next    uint32
	early   map[uint32][]byte // segments by their number, whose predecessors are missing
	pending []byte            // of a record that is not whole
}

// take takes a segment and calls f for each record that is whole then.
func (h *half) take(number uint32, syn bool, data []byte, f func([]byte) error) error {
	if syn {
		*h = half{next: number + 1, early: map[uint32][]byte{}}
		return nil
	}
	for {
		if behind := int32(h.next - number); behind >= 0 && int(behind) <= len(data) {
			h.pending = append(h.pending, data[behind:]...)
			h.next = number + uint32(len(data))
		} else if behind < 0 && len(data) > 0 {
			h.early[number] = bytes.Clone(data)
		}
		number = h.next
		if data = h.early[number]; data == nil {
			break
		}
		delete(h.early, number)
	}
	return h.records(f)
}

// records cuts pending into records (RFC 5531 §11).
func (h *half) records(f func([]byte) error) error {
	for {
		var record []byte
		rest, whole := h.pending, false
		for !whole {
			if len(rest) < 4 {
				return nil
			}
			mark := binary.BigEndian.Uint32(rest)
			whole = mark>>31 == 1
			n := int(mark &^ (1 << 31))
			if len(rest) < 4+n {
				return nil
			}
			record, rest = append(record, rest[4:4+n]...), rest[4+n:]
		}
		h.pending = append(h.pending[:0], rest...)
		if err := f(record); err != nil {
			return err
		}
	}
}
