package mediafile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxKeyFrame bounds how far into a segment its first frame may reach.
const maxKeyFrame = 64 << 20

// KeyEndTS returns how many bytes an MPEG-TS segment has to the end of its first access
// unit, its program map included.
func KeyEndTS(r io.Reader) (int64, error) {
	var packet [tsPacketBytes]byte
	pid, end := -1, int64(0)
	for end < maxKeyFrame {
		_, err := io.ReadFull(r, packet[:])
		if errors.Is(err, io.EOF) && pid >= 0 {
			return end, nil
		}
		if err != nil {
			return 0, fmt.Errorf("looking for a frame: %w", err)
		}
		this := int(packet[1]&0x1f)<<8 | int(packet[2])
		_, begins := packetPTS(packet[:])
		switch {
		case pid < 0 && begins:
			pid = this
		case pid == this && begins:
			return end, nil
		}
		end += tsPacketBytes
	}
	return 0, fmt.Errorf("the first frame has more than %d bytes", maxKeyFrame)
}

// KeyEndCMAF returns how many bytes a segment has to the end of its first sample, the
// header of its fragment included.
func KeyEndCMAF(r io.Reader) (int64, error) {
	var begin int64
	for range maxBoxes {
		var header [boxHeaderBytes]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return 0, fmt.Errorf("looking for a fragment: %w", err)
		}
		size, kind := int64(binary.BigEndian.Uint32(header[:])), string(header[4:])
		if size < boxHeaderBytes || kind == "moof" && size > maxMoofBytes {
			return 0, fmt.Errorf("box %q of %d bytes; want a header and what it says", kind, size)
		}
		if kind != "moof" {
			if _, err := io.CopyN(io.Discard, r, size-boxHeaderBytes); err != nil {
				return 0, fmt.Errorf("looking for a fragment: %w", err)
			}
			begin += size
			continue
		}
		body := make([]byte, size-boxHeaderBytes)
		if _, err := io.ReadFull(r, body); err != nil {
			return 0, fmt.Errorf("reading a fragment: %w", err)
		}
		end, err := firstSample(body)
		return begin + end, err
	}
	return 0, errors.New("no movie fragment")
}

// firstSample returns where the first sample of a fragment ends, counted from the
// fragment's begin.
func firstSample(moof []byte) (int64, error) {
	traf, err := find(moof, "traf")
	if err != nil {
		return 0, err
	}
	usual, err := usualSize(traf)
	if err != nil {
		return 0, err
	}
	trun, err := find(traf, "trun")
	if err != nil {
		return 0, err
	}
	f := fields{data: trun}
	_, flags := f.full()
	count := f.uint32()
	offset := int64(0)
	if flags&runDataOffset != 0 {
		offset = int64(int32(f.uint32()))
	}
	if flags&runFirstFlags != 0 {
		f.bytes(4)
	}
	if flags&runDuration != 0 {
		f.bytes(4)
	}
	size := int64(usual)
	if flags&runSize != 0 {
		size = int64(f.uint32())
	}
	if f.err == nil && (count == 0 || offset <= 0 || size <= 0 || offset+size > maxKeyFrame) {
		f.err = fmt.Errorf("%d samples, the first of %d bytes at %d; want at least one, with its place", count, size, offset)
	}
	return offset + size, f.err
}

// usualSize returns the size of samples without one of their own; 0 if there is none.
func usualSize(traf []byte) (uint32, error) {
	tfhd, err := find(traf, "tfhd")
	if err != nil {
		return 0, err
	}
	f := fields{data: tfhd}
	_, flags := f.full()
	f.bytes(4)
	for _, skip := range []struct {
		flag uint32
		n    int
	}{{0x1, 8}, {0x2, 4}, {0x8, 4}} {
		if flags&skip.flag != 0 {
			f.bytes(skip.n)
		}
	}
	if flags&0x10 == 0 {
		return 0, f.err
	}
	return f.uint32(), f.err
}
