package mediafile

import (
	"encoding/binary"
	"math"
	"testing"
)

// asfHeader has the fields that ASFSeconds reads.
func asfHeader(ticks, preroll uint64, flags uint32) []byte {
	head := append(make([]byte, 30), asfProperties...)
	head = append(head, make([]byte, 48)...) // sizes, identifier and date
	head = binary.LittleEndian.AppendUint64(head, ticks)
	head = binary.LittleEndian.AppendUint64(head, ticks)
	head = binary.LittleEndian.AppendUint64(head, preroll)
	return append(binary.LittleEndian.AppendUint32(head, flags), 0, 0, 0)
}

func TestASFSeconds(t *testing.T) {
	for name, tt := range map[string]struct {
		head []byte
		want float64
	}{
		"of a file":      {asfHeader(91_000_000, 3100, 2), 6},
		"of a broadcast": {asfHeader(91_000_000, 3100, 1), 0},
		"all is preroll": {asfHeader(1, 3100, 2), 0},
		"cut off":        {asfHeader(91_000_000, 3100, 2)[:100], 0},
		"something else": {make([]byte, 200), 0},
	} {
		if got := ASFSeconds(tt.head); math.Abs(got-tt.want) > 1e-6 {
			t.Errorf("%s: %v s; want %v", name, got, tt.want)
		}
	}
}

func FuzzASFSeconds(f *testing.F) {
	f.Add(asfHeader(91_000_000, 3100, 2))
	f.Fuzz(func(t *testing.T, head []byte) {
		if s := ASFSeconds(head); !(s >= 0 && s < 1e13) {
			t.Errorf("%v s", s)
		}
	})
}
