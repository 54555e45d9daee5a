package mediafile

import (
	"cmp"
	"errors"
	"io"
)

// tsPeek bounds how far into a segment its first time stamp may be.
const tsPeek = 64 * tsPacketBytes

// FirstTS returns the time stamp of the first access unit of an MPEG-TS segment.
// That is the lowest one: the segment begins with a key frame.
func FirstTS(r io.Reader) (int64, error) {
	data, err := io.ReadAll(io.LimitReader(r, tsPeek))
	for ; err == nil && len(data) >= tsPacketBytes; data = data[tsPacketBytes:] {
		if pts, ok := packetPTS(data[:tsPacketBytes]); ok {
			return pts, nil
		}
	}
	return 0, cmp.Or(err, errors.New("no time stamp at its beginning"))
}

// packetPTS reads the time stamp of an MPEG-TS packet that begins an access
// unit (ISO 13818-1 §2.4.3).
func packetPTS(p []byte) (int64, bool) {
	if p[0] != 0x47 || p[1]&0x40 == 0 || p[3]&0x10 == 0 {
		return 0, false
	}
	payload := 4
	if p[3]&0x20 != 0 {
		payload += 1 + int(p[4])
	}
	if payload+14 > len(p) {
		return 0, false
	}
	pes := p[payload:]
	media := pes[0] == 0 && pes[1] == 0 && pes[2] == 1 && pes[3] >= 0xc0 && pes[3] < 0xf0
	if !media || pes[7]&0x80 == 0 {
		return 0, false
	}
	return int64(pes[9]>>1&7)<<30 | int64(pes[10])<<22 | int64(pes[11]>>1)<<15 | int64(pes[12])<<7 | int64(pes[13]>>1), true
}

// errEnough ends the reading of boxes.
var errEnough = errors.New("enough was read")

// FirstCMAF returns the lowest time stamp of a segment's first fragment.
func FirstCMAF(init InitInfo, r io.Reader) (int64, error) {
	s := fragments{init: init}
	err := eachBox(r, "moof", maxMoofBytes, func(body []byte) error {
		return cmp.Or(s.addFragment(body), errEnough)
	})
	if errors.Is(err, errEnough) && s.info.Frames > 0 {
		return s.info.FirstPTS, nil
	}
	return 0, cmp.Or(err, errors.New("no movie fragment"))
}
