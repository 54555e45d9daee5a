package mediafile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxInitBytes bounds an initialization section.
const MaxInitBytes = 1 << 20

// Sizes of ISO 14496-12 boxes, and limits of what is read of them.
const (
	boxHeaderBytes  = 8
	fullBoxBytes    = 4 // version and flags
	maxMoofBytes    = 8 << 20
	maxBoxes        = 10_000 // of one file or one box
	maxMoofSamples  = 1_000_000
	sampleIsNotSync = 0x00010000
)

// A box is a part of a file with a header of its type and size.
type box struct {
	kind string
	body []byte
}

// boxes splits data into boxes.
func boxes(data []byte) ([]box, error) {
	var list []box
	for len(data) > 0 {
		if len(data) < boxHeaderBytes {
			return nil, fmt.Errorf("%d bytes are left; want a box header of %d", len(data), boxHeaderBytes)
		}
		size, kind := int64(binary.BigEndian.Uint32(data)), string(data[4:boxHeaderBytes])
		if size < boxHeaderBytes || size > int64(len(data)) {
			return nil, fmt.Errorf("box %q of %d bytes in %d; want it whole", kind, size, len(data))
		}
		if len(list) >= maxBoxes {
			return nil, fmt.Errorf("more than %d boxes", maxBoxes)
		}
		list = append(list, box{kind, data[boxHeaderBytes:size]})
		data = data[size:]
	}
	return list, nil
}

// find descends to the first box on a path, and returns its body.
func find(data []byte, path ...string) ([]byte, error) {
	for _, kind := range path {
		list, err := boxes(data)
		if err != nil {
			return nil, err
		}
		if data, err = firstBox(list, kind); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func firstBox(list []box, kind string) ([]byte, error) {
	for _, b := range list {
		if b.kind == kind {
			return b.body, nil
		}
	}
	return nil, fmt.Errorf("%w %q", errNoBox, kind)
}

// errNoBox reports that a box is missing.
var errNoBox = errors.New("no box")

// fields reads big-endian numbers from a box. Reading past the end sets err, which the
// caller checks once at the end.
type fields struct {
	data []byte
	err  error
}

func (f *fields) bytes(n int) []byte {
	if f.err == nil && n > len(f.data) {
		f.err = fmt.Errorf("box ends %d bytes early", n-len(f.data))
	}
	if f.err != nil {
		return make([]byte, n)
	}
	taken := f.data[:n]
	f.data = f.data[n:]
	return taken
}

func (f *fields) uint8() uint8   { return f.bytes(1)[0] }
func (f *fields) uint32() uint32 { return binary.BigEndian.Uint32(f.bytes(4)) }
func (f *fields) uint64() uint64 { return binary.BigEndian.Uint64(f.bytes(8)) }

// wide reads 64 bits if the box is of version 1, else 32.
func (f *fields) wide(version uint8) uint64 {
	if version == 1 {
		return f.uint64()
	}
	return uint64(f.uint32())
}

// full reads the version and the flags of a full box.
func (f *fields) full() (version uint8, flags uint32) {
	word := f.uint32()
	return uint8(word >> 24), word & 0xffffff
}

// eachBox reads r to its end and calls f with the body of every box of type keep. It
// skips the others, which may have 64-bit sizes.
func eachBox(r io.Reader, keep string, most int64, f func(body []byte) error) error {
	var header [boxHeaderBytes]byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("box header %d: %w", n, err)
		}
		if n >= maxBoxes {
			return fmt.Errorf("more than %d boxes", maxBoxes)
		}
		size, kind := int64(binary.BigEndian.Uint32(header[:])), string(header[4:])
		if size == 1 {
			var large [8]byte
			if _, err := io.ReadFull(r, large[:]); err != nil {
				return fmt.Errorf("size of box %q: %w", kind, err)
			}
			size = int64(binary.BigEndian.Uint64(large[:])) - int64(len(large))
		}
		if size -= boxHeaderBytes; size < 0 {
			return fmt.Errorf("box %q of %d bytes; want a header of %d and what it says", kind, size+boxHeaderBytes, boxHeaderBytes)
		}
		if err := readBox(r, kind == keep, size, most, f); err != nil {
			return fmt.Errorf("box %q: %w", kind, err)
		}
	}
}

func readBox(r io.Reader, keep bool, size, most int64, f func([]byte) error) error {
	if !keep {
		_, err := io.CopyN(io.Discard, r, size)
		return err
	}
	if size > most {
		return fmt.Errorf("%d bytes; want %d at most", size, most)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return f(body)
}
