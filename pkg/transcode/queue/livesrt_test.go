package queue

import (
	"encoding/binary"
	"net"
	"net/netip"
	"net/url"
	"testing"

	"github.com/datarhei/gosrt/packet"
)

// handshake returns a conclusion of a handshake for a socket, with some extensions.
func handshake(socket uint32, mtu uint32, extensions ...byte) []byte {
	p := make([]byte, srtHeader+srtHandshake)
	binary.BigEndian.PutUint16(p, srtIsHandshake)
	binary.BigEndian.PutUint32(p[12:], socket)
	h := p[srtHeader:]
	binary.BigEndian.PutUint32(h, 5)
	binary.BigEndian.PutUint16(h[6:], 1) // there are extensions
	binary.BigEndian.PutUint32(h[12:], mtu)
	binary.BigEndian.PutUint32(h[20:], uint32(packet.HSTYPE_CONCLUSION))
	return append(p, extensions...)
}

// A source whose handshakes are cut off anywhere is no connection. It does not end the
// process.
func TestLiveSRTMalformed(t *testing.T) {
	t.Parallel()
	source, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	go func() {
		buf := make([]byte, maxSRTPacket)
		for {
			n, from, err := source.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n < srtHeader+srtHandshake {
				continue
			}
			socket := binary.BigEndian.Uint32(buf[srtHeader+24:])
			for _, p := range [][]byte{handshake(socket, 1500, 0), handshake(socket, 1500, 0, 1, 0), handshake(socket, 1500, 0, 7, 0, 0, 0), handshake(socket, 0), buf[:srtHeader]} {
				source.WriteToUDPAddrPort(p, from)
			}
		}
	}()
	u := &url.URL{Scheme: "srt", Host: source.LocalAddr().String(), RawQuery: "conntimeo=300"}
	end, err := connectSRT(u, netip.MustParseAddrPort(source.LocalAddr().String()))
	if err == nil {
		end.Close()
		t.Error("a source without a whole handshake is connected")
	}
}

// What comes through the relay can be read by the library.
func FuzzSaneSRT(f *testing.F) {
	whole := handshake(7, 1500, 0, 5, 0, 1, 'd', 'c', 'b', 'a')
	if !saneSRT(whole) {
		f.Error("a whole handshake is dropped")
	}
	for n := range whole {
		f.Add(whole[:n])
	}
	f.Add(handshake(7, 1500, 0, 3, 0, 1, 0, 0, 0, 4))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !saneSRT(data) {
			return
		}
		p, err := packet.NewPacketFromData(nil, data)
		if err != nil {
			return
		}
		kinds := []packet.CIF{&packet.CIFKeyMaterialExtension{}, &packet.CIFHandshakeExtension{}, &packet.CIFACK{}, &packet.CIFNAK{}}
		if p.Header().ControlType == packet.CTRLTYPE_HANDSHAKE { // the library reads no other packet as one
			kinds = append(kinds, &packet.CIFHandshake{})
		}
		for _, c := range kinds {
			if err := p.UnmarshalCIF(c); err == nil {
				_ = c.String()
			}
		}
	})
}
