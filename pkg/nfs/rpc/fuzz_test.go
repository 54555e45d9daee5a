package rpc

import (
	"bytes"
	"testing"
)

// FuzzReadRecord: no record grows beyond its limit.
func FuzzReadRecord(f *testing.F) {
	f.Add(append(words(LastFragment|4), "abcd"...))
	f.Add(bytes.Join([][]byte{words(2), []byte("ab"), words(LastFragment | 1), []byte("c")}, nil))
	f.Add(words(1<<32 - 1))
	memory := NewMemory(0)
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 100
		buf := &Buffer{memory: memory}
		err := readRecord(bytes.NewReader(in), limit, buf)
		if len(buf.Bytes) > limit || cap(buf.Bytes) > 2*limit {
			t.Errorf("a record has %d bytes in %d; want at most %d", len(buf.Bytes), cap(buf.Bytes), limit)
		}
		if err == nil && len(buf.Bytes)+4 > len(in) {
			t.Errorf("a record has %d bytes of %d", len(buf.Bytes), len(in))
		}
	})
}

// FuzzDecoder: items never reach beyond what there is.
func FuzzDecoder(f *testing.F) {
	f.Add(words(3, 0x61626300, 7, 1, 0, 9))
	f.Add(words(1<<31, 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := Decoder{Buf: in}
		for !d.Bad && len(d.Buf) > 0 {
			before := len(d.Buf)
			if b := d.Opaque(16); len(b) > 16 {
				t.Fatalf("an item of %d bytes; want at most 16", len(b))
			}
			d.Bool()
			d.Uint64()
			if len(d.Buf) >= before {
				t.Fatal("reading does not get further")
			}
		}
	})
}
