package nfs

import "encoding/binary"

// A decoder reads XDR (RFC 4506) from buf. After the first item that does not
// fit, bad is set and every further item is zero.
type decoder struct {
	buf []byte
	bad bool
}

// take returns the next n bytes, which alias the buffer, and skips the padding
// to a multiple of four.
func (d *decoder) take(n int) []byte {
	padded := (n + 3) &^ 3
	if d.bad || n < 0 || padded > len(d.buf) {
		d.bad, d.buf = true, nil
		return nil
	}
	b := d.buf[:n:n]
	d.buf = d.buf[padded:]
	return b
}

func (d *decoder) uint32() uint32 {
	b := d.take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (d *decoder) uint64() uint64 {
	b := d.take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (d *decoder) bool() bool {
	v := d.uint32()
	if v > 1 {
		d.bad = true
	}
	return v == 1 && !d.bad
}

// opaque reads a counted byte string of at most limit bytes, which alias the
// buffer.
func (d *decoder) opaque(limit int) []byte {
	n := d.uint32()
	if uint64(n) > uint64(limit) {
		d.bad = true
	}
	return d.take(int(min(n, uint32(limit))))
}

// handle reads a file handle (RFC 1813 §2.5, nfs_fh3).
func (d *decoder) handle() []byte { return d.opaque(maxHandle) }

// name reads a file name or path. One that is too long for any file system is
// still read as long as it is, so that it gets NAMETOOLONG and not an RPC error.
func (d *decoder) name() string { return string(d.opaque(maxString)) }

// An encoder appends XDR to buf.
type encoder struct {
	buf []byte
}

func (e *encoder) uint32(v uint32) { e.buf = binary.BigEndian.AppendUint32(e.buf, v) }
func (e *encoder) uint64(v uint64) { e.buf = binary.BigEndian.AppendUint64(e.buf, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint32(1)
		return
	}
	e.uint32(0)
}

func (e *encoder) opaque(b []byte) {
	e.uint32(uint32(len(b)))
	e.buf = append(e.buf, b...)
	e.pad(len(b))
}

func (e *encoder) string(s string) {
	e.uint32(uint32(len(s)))
	e.buf = append(e.buf, s...)
	e.pad(len(s))
}

// pad fills up an item of n bytes to a multiple of four.
func (e *encoder) pad(n int) {
	for ; n%4 != 0; n++ {
		e.buf = append(e.buf, 0)
	}
}
