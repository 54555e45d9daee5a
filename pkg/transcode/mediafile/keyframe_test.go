package mediafile

import (
	"bytes"
	"testing"
)

func FuzzKeyEnd(f *testing.F) {
	f.Add([]byte{0, 0, 0, 8, 'm', 'o', 'o', 'f'})
	f.Add(bytes.Repeat([]byte{0x47, 0x41, 0, 0x10, 0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1}, 50))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, end := range []func() (int64, error){
			func() (int64, error) { return KeyEndTS(bytes.NewReader(data)) },
			func() (int64, error) { return KeyEndCMAF(bytes.NewReader(data)) },
		} {
			if n, err := end(); err == nil && n <= 0 {
				t.Errorf("a frame ends at %d", n)
			}
		}
	})
}
