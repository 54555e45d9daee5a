package nfs

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// lastFragment marks a fragment that ends its record (RFC 5531 §11).
	lastFragment = 1 << 31

	// maxRecord is the largest call: a WRITE of maxIO with its header, the
	// largest credentials and a file handle.
	maxRecord = maxIO + 4096

	// maxStranger is the largest call from an address that may mount nothing:
	// enough for any MNT.
	maxStranger = 4096

	// bigBuffer is what the pooled buffers hold: any call, and any reply.
	bigBuffer = maxIO + 8192

	// smallBuffer is the size up to which a buffer is not worth pooling.
	smallBuffer = 16 << 10

	// smallResults is what of a small reply is left for data.
	smallResults = smallBuffer - 1<<10
)

// readRecord reads one record of at most limit bytes from r and appends it to
// buf. A length is checked against limit before there is memory for it.
func readRecord(r io.Reader, limit int, buf *buffer) error {
	for {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return fmt.Errorf("reading a record mark: %w", err)
		}
		v := binary.BigEndian.Uint32(mark[:])
		n := int(v &^ lastFragment)
		if n > limit-len(buf.b) {
			return fmt.Errorf("record of more than %d bytes; want at most %d", len(buf.b)+n, limit)
		}
		if _, err := io.ReadFull(r, buf.grow(n)); err != nil {
			return fmt.Errorf("reading a fragment of %d bytes: %w", n, err)
		}
		if v&lastFragment != 0 {
			return nil
		}
	}
}

// marked fills in the record mark of a reply, which is one fragment.
func marked(out []byte) []byte { return markedWith(out, 0) }

// markedWith is marked for a reply of which more bytes follow out.
func markedWith(out []byte, more int) []byte {
	binary.BigEndian.PutUint32(out, uint32(len(out)-4+more)|lastFragment)
	return out
}

// A buffer is a byte slice that comes from the server's pool as soon as it is
// large. It is not safe for concurrent use.
type buffer struct {
	s      *Server
	b      []byte
	pooled *[]byte // what b is cut from; nil: not from the pool

	// lost is set in the reply to a call that left its thread with the rights
	// of the caller: the goroutine that ran it has to end.
	lost bool

	// splices says that the reply goes to where a pipe can be emptied into;
	// then file may be set to one that holds what follows b, up to the padding.
	splices bool
	file    *pipe
}

// grow makes b longer by n bytes and returns these. Their content is undefined.
func (b *buffer) grow(n int) []byte {
	old := len(b.b)
	if need := old + n; need > cap(b.b) {
		b.b = append(b.fresh(need)[:0], b.b...)
	}
	b.b = b.b[:old+n]
	return b.b[old:]
}

func (b *buffer) fresh(n int) []byte {
	if n <= smallBuffer || n > bigBuffer || b.pooled != nil {
		return make([]byte, n)
	}
	b.pooled = b.s.buffers.Get().(*[]byte)
	return *b.pooled
}

// follows is how many bytes of a reply come after b, with their padding.
func (b *buffer) follows() int {
	if b.file == nil {
		return 0
	}
	return (b.file.n + 3) &^ 3
}

// reset makes b empty, keeping memory that is not worth pooling.
func (b *buffer) reset() {
	small := b.b[:0]
	if b.pooled != nil || cap(small) > smallBuffer {
		small = nil
	}
	b.free()
	b.b, b.lost = small, false
}

// free gives the memory back. Nothing may refer to it any more.
func (b *buffer) free() {
	if b.pooled != nil {
		b.s.buffers.Put(b.pooled)
	}
	if b.file != nil {
		b.s.freePipe(b.file)
	}
	b.b, b.pooled, b.file = nil, nil, nil
}
