package rpc

import "encoding/binary"

// A Decoder reads XDR (RFC 4506) from Buf. After the first item that does not
// fit, Bad is set and every further item is zero.
type Decoder struct {
	Buf []byte
	Bad bool
}

// Take returns the next n bytes, which alias the buffer, and skips the padding
// to a multiple of four.
func (d *Decoder) Take(n int) []byte {
	padded := (n + 3) &^ 3
	if d.Bad || n < 0 || padded > len(d.Buf) {
		d.Bad, d.Buf = true, nil
		return nil
	}
	b := d.Buf[:n:n]
	d.Buf = d.Buf[padded:]
	return b
}

// Uint32 reads an unsigned integer.
func (d *Decoder) Uint32() uint32 {
	b := d.Take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Uint64 reads an unsigned hyper integer.
func (d *Decoder) Uint64() uint64 {
	b := d.Take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// Bool reads a boolean, which is 0 or 1.
func (d *Decoder) Bool() bool {
	v := d.Uint32()
	if v > 1 {
		d.Bad = true
	}
	return v == 1 && !d.Bad
}

// Opaque reads a counted byte string of at most limit bytes, which alias the
// buffer.
func (d *Decoder) Opaque(limit int) []byte {
	n := d.Uint32()
	if uint64(n) > uint64(limit) {
		d.Bad = true
	}
	return d.Take(int(min(n, uint32(limit))))
}

// An Encoder appends XDR to Buf.
type Encoder struct {
	Buf []byte
}

// Uint32 appends an unsigned integer.
func (e *Encoder) Uint32(v uint32) { e.Buf = binary.BigEndian.AppendUint32(e.Buf, v) }

// Uint64 appends an unsigned hyper integer.
func (e *Encoder) Uint64(v uint64) { e.Buf = binary.BigEndian.AppendUint64(e.Buf, v) }

// Bool appends a boolean.
func (e *Encoder) Bool(v bool) {
	if v {
		e.Uint32(1)
		return
	}
	e.Uint32(0)
}

// Opaque appends a counted byte string with its padding.
func (e *Encoder) Opaque(b []byte) {
	e.Uint32(uint32(len(b)))
	e.Buf = append(e.Buf, b...)
	e.Pad(len(b))
}

// String is Opaque for a string.
func (e *Encoder) String(s string) {
	e.Uint32(uint32(len(s)))
	e.Buf = append(e.Buf, s...)
	e.Pad(len(s))
}

// Pad fills up an item of n bytes to a multiple of four.
func (e *Encoder) Pad(n int) {
	for ; n%4 != 0; n++ {
		e.Buf = append(e.Buf, 0)
	}
}
