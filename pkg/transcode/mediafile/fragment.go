package mediafile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ReadFragments reads a fragmented MP4 as it is written, to its end. It calls init with
// the initialization section and then fragment with each movie fragment, its samples
// included. Each is of most bytes at most; what is neither is skipped.
func ReadFragments(r io.Reader, most int, init, fragment func(data []byte) error) error {
	var data []byte // what belongs to the box that is awaited
	for {
		kind, whole, err := readWhole(r, most-len(data))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading fragments: %w", err)
		}
		each := fragment
		switch kind {
		case "ftyp", "moof":
			data = whole
			continue
		case "moov":
			each = init
		case "mdat":
		default:
			continue
		}
		if err := each(append(data, whole...)); err != nil {
			return err
		}
		data = nil
	}
}

// readWhole reads a box with its header, of most bytes at most.
func readWhole(r io.Reader, most int) (kind string, whole []byte, err error) {
	var header [boxHeaderBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return "", nil, err
	}
	size := int64(binary.BigEndian.Uint32(header[:]))
	if kind = string(header[4:]); size < boxHeaderBytes || size > int64(most) {
		return "", nil, fmt.Errorf("box %q of %d bytes; want %d to %d", kind, size, boxHeaderBytes, most)
	}
	whole = make([]byte, size)
	copy(whole, header[:])
	if _, err := io.ReadFull(r, whole[boxHeaderBytes:]); err != nil {
		return "", nil, fmt.Errorf("box %q of %d bytes: %w", kind, size, io.ErrUnexpectedEOF)
	}
	return kind, whole, nil
}

// A Fragment is what a movie fragment has, in 90 kHz ticks.
type Fragment struct {
	SegmentInfo
	Begin, End int64 // decode times of the first sample, and behind the last
}

// InspectFragment reads a movie fragment that belongs to an initialization section.
func InspectFragment(init InitInfo, data []byte) (Fragment, error) {
	s := fragments{init: init, info: SegmentInfo{Codecs: init.Codecs, SampleRate: init.SampleRate}}
	if err := eachBox(bytes.NewReader(data), "moof", maxMoofBytes, s.addFragment); err != nil {
		return Fragment{}, fmt.Errorf("reading a fragment: %w", err)
	}
	if s.info.Frames == 0 {
		return Fragment{}, errors.New("reading a fragment: no frames in it")
	}
	at := func(ticks int64) int64 { return rescale(ticks-init.editStart, init.timescale) }
	return Fragment{SegmentInfo: s.info, Begin: at(s.begin), End: at(s.end)}, nil
}
