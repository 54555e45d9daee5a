package mediafile

import (
	"bytes"
	"slices"
	"testing"
)

// captioned is a message with one triple, n times.
func captioned(n int, triple ...byte) []byte {
	message := append([]byte("\x00\x00\x01\x06\x04\x10\xb5\x00\x31GA94\x03\x41\xff"), triple...)
	return bytes.Repeat(append(message, 0xff, 0x80), n)
}

func TestReadCaptions(t *testing.T) {
	far := append(make([]byte, captionsBlock-20), captioned(2, 0xfc, 0x14, 0x20)...) // across two blocks
	for _, tt := range []struct {
		name string
		data []byte
		want []string
	}{
		{"none", []byte("GA94"), nil},
		{"first channel", captioned(2, 0xfc, 0x94, 0x20), []string{"CC1"}},
		{"second channel", captioned(2, 0xfc, 0x1c, 0x20), []string{"CC2"}},
		{"second field", slices.Concat(captioned(2, 0xfd, 0x15, 0x20), captioned(3, 0xfd, 0x1d, 0x20)), []string{"CC3", "CC4"}},
		{"once, by chance", captioned(1, 0xfc, 0x14, 0x20), nil},
		{"padding", captioned(9, 0xfc, 0x80, 0x80), nil},
		{"not valid", captioned(9, 0xf8, 0x14, 0x20), nil},
		{"services", slices.Concat(captioned(2, 0xff, 0x02, 0x21), captioned(2, 0xff, 0x42, 0x43)), []string{"SERVICE1", "SERVICE2"}},
		{"across two blocks", far, []string{"CC1"}},
	} {
		got, some, err := ReadCaptions(bytes.NewReader(tt.data))
		if err != nil || some != (tt.name != "none") || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func FuzzReadCaptions(f *testing.F) {
	f.Add(captioned(2, 0xfc, 0x94, 0x20))
	f.Add(captioned(2, 0xff, 0x02, 0x21))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, _, err := ReadCaptions(bytes.NewReader(data))
		if err != nil || len(names) > 10 {
			t.Errorf("%q, %v", names, err)
		}
	})
}
