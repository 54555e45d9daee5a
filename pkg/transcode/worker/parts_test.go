package worker

import (
	"bytes"
	"io"
	"testing"
)

// programMap makes packets of a transport stream that say which type its video has.
func programMap(streamType byte) []byte {
	packet := func(pid uint16, table byte, body ...byte) []byte {
		size := 5 + len(body) + 4
		p := []byte{0x47, 0x40 | byte(pid>>8), byte(pid), 0x10, 0, table, 0xb0, byte(size), 0, 1, 0xc1, 0, 0}
		p = append(append(p, body...), 0, 0, 0, 0)
		return append(p, bytes.Repeat([]byte{0xff}, 188-len(p))...)
	}
	return append(packet(0, 0, 0, 1, 0xf0, 0), packet(0x1000, 2, 0xe1, 0, 0xf0, 0, streamType, 0xe1, 0, 0xf0, 0)...)
}

// Changes are found at their byte in a source that is too long to be looked through, and
// little of it is read.
func TestChangesOfLongSource(t *testing.T) {
	const size, each = 40 << 20, 100 * 188
	filler := append([]byte{0x47, 0x01, 0, 0x10}, make([]byte, 184)...)
	changesAt := []int64{size / 3 / each * each, size / 3 * 2 / each * each}
	var source []byte
	for len(source) < size {
		streamType := byte(0x02)
		if at := int64(len(source)); at >= changesAt[0] && at < changesAt[1] {
			streamType = 0x1b
		}
		source = append(append(source, programMap(streamType)...), bytes.Repeat(filler, each/188-2)...)
	}
	var read counter
	m := mapReader{pid: 0x100, size: int64(len(source)), open: func(from int64) (io.ReadCloser, error) {
		return io.NopCloser(io.TeeReader(bytes.NewReader(source[from:]), &read)), nil
	}}
	list, err := m.changes()
	if err != nil || len(list) != 2 {
		t.Fatalf("changes %v, %v; want two", list, err)
	}
	for i, c := range list {
		if want := (change{bytes: changesAt[i], end: changesAt[i] + 188}); c != want {
			t.Errorf("change %d: %+v; want %+v", i, c, want)
		}
	}
	if read.n > size/2 {
		t.Errorf("%d bytes read of %d; want less than half", read.n, size)
	}
}
