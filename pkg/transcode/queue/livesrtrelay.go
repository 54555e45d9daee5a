package queue

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// The SRT library ends the whole process by a handshake whose extensions are cut off, in
// goroutines of its own. So a source's packets come to it through a relay, which drops what
// is malformed, and what does not come from the source.

// An srtRelay passes on packets between the library and one source.
type srtRelay struct {
	near, far *net.UDPConn
	ends      sync.WaitGroup

	mu     sync.Mutex
	client netip.AddrPort // the library's socket: the first one that has sent
}

const maxSRTPacket = 1500 // bytes; libsrt sends no larger ones

func newSRTRelay(source netip.AddrPort) (*srtRelay, error) {
	far, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(source))
	if err != nil {
		return nil, err
	}
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, errors.Join(err, far.Close())
	}
	r := &srtRelay{near: near, far: far}
	r.ends.Go(r.send)
	r.ends.Go(r.receive)
	return r, nil
}

// Close ends the relay.
func (r *srtRelay) Close() error {
	err := errors.Join(r.near.Close(), r.far.Close())
	r.ends.Wait()
	return err
}

// send passes on what the library sends.
func (r *srtRelay) send() {
	buf := make([]byte, maxSRTPacket)
	for {
		n, from, err := r.near.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && r.isClient(from) {
			_, _ = r.far.Write(buf[:n]) // what is lost is sent again
		}
	}
}

// isClient reports whether a packet is the library's.
func (r *srtRelay) isClient(from netip.AddrPort) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.client.IsValid() {
		r.client = from
	}
	return r.client == from
}

// receive passes on what the source sends.
func (r *srtRelay) receive() {
	buf := make([]byte, maxSRTPacket)
	for {
		n, err := r.far.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !saneSRT(buf[:n]) { // an error is that nobody listens there yet
			continue
		}
		r.mu.Lock()
		client := r.client
		r.mu.Unlock()
		if client.IsValid() {
			_, _ = r.near.WriteToUDPAddrPort(buf[:n], client)
		}
	}
}

// Fields of packets of SRT (draft-sharabayko-srt-01 §3).
const (
	srtHeader        = 16
	srtHandshake     = 48 // behind the header, without extensions
	srtMTUAt         = srtHeader + 12
	srtExtension     = 4 // header of an extension: its type, and its length in words
	srtIsHandshake   = 0x8000
	minMTU, maxMTU   = 76, 1500
	srtExtensionWord = 4
)

// saneSRT reports whether a packet is one that the library can read: not a handshake, or one
// with a size of packets that there can be, and with whole extensions.
func saneSRT(p []byte) bool {
	if len(p) < srtHeader || binary.BigEndian.Uint16(p) != srtIsHandshake {
		return len(p) >= srtHeader
	}
	if len(p) < srtHeader+srtHandshake {
		return false
	}
	if mtu := binary.BigEndian.Uint32(p[srtMTUAt:]); mtu < minMTU || mtu > maxMTU {
		return false
	}
	rest := p[srtHeader+srtHandshake:]
	for len(rest) > 0 {
		if len(rest) < srtExtension {
			return false
		}
		length := int(binary.BigEndian.Uint16(rest[2:])) * srtExtensionWord
		if rest = rest[srtExtension:]; len(rest) < length {
			return false
		}
		rest = rest[length:]
	}
	return true
}
