package rpc

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// MaxData is the largest counted item of a call or a reply.
	MaxData = 1 << 20

	// LastFragment marks a fragment that ends its record (RFC 5531 §11).
	LastFragment = 1 << 31

	// maxRecord is the largest call: a WRITE of MaxData with its header, the
	// largest credentials and a file handle.
	maxRecord = MaxData + 4096

	// MaxStrangerCall is the largest call from an address that may mount nothing:
	// enough for any MNT.
	MaxStrangerCall = 4096

	// bigBuffer is what the pooled buffers hold: any call, and any reply.
	bigBuffer = MaxData + 8192

	// smallBuffer is the size up to which a buffer is not worth pooling.
	smallBuffer = 16 << 10

	// smallResults is what of a small reply is left for data.
	smallResults = smallBuffer - 1<<10
)

// readRecord reads one record of at most limit bytes from r and appends it to
// buf. A length is checked against limit before there is memory for it.
func readRecord(r io.Reader, limit int, buf *Buffer) error {
	for {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return fmt.Errorf("reading a record mark: %w", err)
		}
		v := binary.BigEndian.Uint32(mark[:])
		n := int(v &^ LastFragment)
		if n > limit-len(buf.Bytes) {
			return fmt.Errorf("record of more than %d bytes; want at most %d", len(buf.Bytes)+n, limit)
		}
		if _, err := io.ReadFull(r, buf.Grow(n)); err != nil {
			return fmt.Errorf("reading a fragment of %d bytes: %w", n, err)
		}
		if v&LastFragment != 0 {
			return nil
		}
	}
}

// Mark fills in the record mark of the reply out, which is one fragment and of
// which more bytes follow out.
func Mark(out []byte, more int) []byte {
	binary.BigEndian.PutUint32(out, uint32(len(out)-4+more)|LastFragment)
	return out
}

// A Buffer is a byte slice that comes from the server's pool as soon as it is
// large. It is not safe for concurrent use.
type Buffer struct {
	Bytes  []byte
	memory *Memory
	pooled *[]byte // what Bytes is cut from; nil: not from the pool

	// Lost is set in the reply to a call that left its thread with the rights
	// of the caller: the goroutine that ran it has to end.
	Lost bool

	// splices says that the reply goes to where a pipe can be emptied into;
	// then file may be set to one that holds what follows Bytes, up to the padding.
	splices bool
	file    *pipe
}

// Grow makes b longer by n bytes and returns these. Their content is undefined.
func (b *Buffer) Grow(n int) []byte {
	old := len(b.Bytes)
	if need := old + n; need > cap(b.Bytes) {
		b.Bytes = append(b.fresh(need)[:0], b.Bytes...)
	}
	b.Bytes = b.Bytes[:old+n]
	return b.Bytes[old:]
}

func (b *Buffer) fresh(n int) []byte {
	if n <= smallBuffer || n > bigBuffer || b.pooled != nil {
		return make([]byte, n)
	}
	b.pooled = b.memory.buffers.Get().(*[]byte)
	return *b.pooled
}

// Follows is how many bytes of a reply come after Bytes, with their padding.
func (b *Buffer) Follows() int {
	if b.file == nil {
		return 0
	}
	return (b.file.n + 3) &^ 3
}

// Keep makes b hold what Bytes have grown into, if that is worth it.
func (b *Buffer) Keep(grown []byte) {
	if b.pooled == nil {
		b.Bytes = grown
	}
}

// reset makes b empty, keeping memory that is not worth pooling.
func (b *Buffer) reset() {
	small := b.Bytes[:0]
	if b.pooled != nil || cap(small) > smallBuffer {
		small = nil
	}
	b.free()
	b.Bytes, b.Lost = small, false
}

// free gives the memory back. Nothing may refer to it any more.
func (b *Buffer) free() {
	if b.pooled != nil {
		b.memory.buffers.Put(b.pooled)
	}
	if b.file != nil {
		b.memory.freePipe(b.file)
	}
	b.Bytes, b.pooled, b.file = nil, nil, nil
}
