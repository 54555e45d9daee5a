package mediafile

import (
	"bytes"
	"slices"
	"testing"
)

// tablePacket makes a packet of a transport stream with one section.
func tablePacket(pid uint16, table byte, body ...byte) []byte {
	size := 5 + len(body) + 4
	p := []byte{0x47, 0x40 | byte(pid>>8), byte(pid), 0x10, 0, table, 0xb0 | byte(size>>8), byte(size), 0, 1, 0xc1, 0, 0}
	p = append(append(p, body...), 1, 2, 3, 4)
	return append(p, bytes.Repeat([]byte{0xff}, tsPacketBytes-len(p))...)
}

func mapPacket(streamType byte) []byte {
	return tablePacket(0x1000, tableMap, 0xe1, 0, 0xf0, 0, streamType, 0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 1, 0xf0, 0)
}

// changing makes a transport stream whose video goes from MPEG-2 to H.264.
func changing(stride int) []byte {
	var out []byte
	for _, streamType := range []byte{0x02, 0x02, 0x1b, 0x1b} {
		for _, p := range [][]byte{tablePacket(0, tableAssociation, 0, 1, 0xf0, 0), mapPacket(streamType), append([]byte{0x47, 0x01, 0, 0x10}, make([]byte, tsPacketBytes-4)...)} {
			if stride == 192 {
				out = append(out, 0, 0, 0, 0)
			}
			out = append(out, p...)
			out = append(out, make([]byte, max(stride-192, 0)/12*16)...)
		}
	}
	return out
}

// The change of a codec is found at its byte, wherever reading begins.
func TestProgramMaps(t *testing.T) {
	for _, stride := range []int{188, 192, 204} {
		data := changing(stride)
		head := 0
		if stride == 192 {
			head = 4
		}
		for _, from := range []int{0, 1, 100, 3*stride + 7} {
			var found []ProgramMap
			err := ReadProgramMaps(bytes.NewReader(data[from:]), int64(from), func(m ProgramMap) bool {
				found = append(found, m)
				return m.Types[0x100] != 0x1b
			})
			if err != nil || len(found) == 0 {
				t.Fatalf("stride %d from %d: %d maps, %v", stride, from, len(found), err)
			}
			last := found[len(found)-1]
			if want := int64(6*stride + head); last.Bytes != want || last.At != want+int64(stride) || last.Types[0x100] != 0x1b || last.Types[0x101] != 0x0f || !last.Complete {
				t.Errorf("stride %d from %d: %+v; want H.264 announced at %d", stride, from, last, want)
			}
		}
	}
}

// pesPacket is the beginning of a PES packet of H.265 in one packet: a parameter set of video, a
// sequence parameter set with these bytes, and a picture.
func pesPacket(set ...byte) []byte {
	p := []byte{0x47, 0x41, 0, 0x10, 0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0, 0, 0, 0, 1, 0x40, 1, 7, 0, 0, 1, 0x42, 1}
	p = append(append(p, set...), 0, 0, 0, 1, 0x26, 1)
	return append(p, bytes.Repeat([]byte{0xff}, tsPacketBytes-len(p))...)
}

// Another sequence parameter set of H.265 is found, with the map before it.
func TestParameterSets(t *testing.T) {
	association, types := tablePacket(0, tableAssociation, 0, 1, 0xf0, 0), mapPacket(typeH265)
	var data []byte
	for _, p := range [][]byte{association, types, pesPacket(9, 9), pesPacket(9, 9), association, types, pesPacket(9, 9), association, types, pesPacket(8)} {
		data = append(data, p...)
	}
	var sets []string
	var at []int64
	err := ReadProgramMaps(bytes.NewReader(data), 0, func(m ProgramMap) bool {
		if set := m.Sets[0x100]; len(sets) == 0 || sets[len(sets)-1] != set {
			sets, at = append(sets, set), append(at, m.Bytes/tsPacketBytes)
		}
		return true
	})
	want, wantAt := []string{"", "\x42\x01\x09\x09", "\x42\x01\x08"}, []int64{0, 0, 7}
	if err != nil || !slices.Equal(sets, want) || !slices.Equal(at, wantAt) {
		t.Errorf("sets %q from packets %d, %v; want %q from %d", sets, at, err, want, wantAt)
	}
	for from, want := range map[int]string{0: want[1], 7: want[2], 10: ""} {
		if set := ParameterSet(append(data[from*tsPacketBytes:], bytes.Repeat(association, 3)...), 0x100); set != want {
			t.Errorf("the set from packet %d on is %q; want %q", from, set, want)
		}
	}
}

func FuzzProgramMaps(f *testing.F) {
	f.Add(slices.Concat(tablePacket(0, tableAssociation, 0, 1, 0xf0, 0), mapPacket(typeH265), pesPacket(9, 9), pesPacket(8)))
	f.Add(changing(188))
	f.Add(changing(192))
	f.Fuzz(func(t *testing.T, data []byte) {
		ParameterSet(data, 0x100)
		_ = ReadProgramMaps(bytes.NewReader(data), 0, func(m ProgramMap) bool {
			if m.At < 0 || m.At >= int64(len(data)) || m.Bytes > m.At {
				t.Errorf("a map at %d, %d of %d bytes", m.Bytes, m.At, len(data))
			}
			return true
		})
	})
}
