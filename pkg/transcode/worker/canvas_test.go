package worker

import (
	"bytes"
	"testing"
)

func TestDVBCanvas(t *testing.T) {
	page := []byte{0x0f, 0x10, 0, 1, 0, 2, 30, 0}
	for _, tt := range []struct {
		name          string
		data          []byte
		width, height int
	}{
		{"none", nil, 720, 576},
		{"without a display definition", page, 720, 576},
		{"HD", append(page, 0x0f, 0x14, 0, 1, 0, 5, 0, 0x07, 0x7f, 0x04, 0x37), 1920, 1080},
		{"cut off", []byte{0x0f, 0x14, 0, 1, 0, 5, 0, 0x07}, 720, 576},
		{"other data", []byte("no segment at all"), 720, 576},
	} {
		if width, height := dvbCanvas(bytes.NewReader(tt.data)); width != tt.width || height != tt.height {
			t.Errorf("%s: %dx%d; want %dx%d", tt.name, width, height, tt.width, tt.height)
		}
	}
}

func FuzzDVBCanvas(f *testing.F) {
	f.Add([]byte{0x0f, 0x14, 0, 1, 0, 5, 0, 0x07, 0x7f, 0x04, 0x37})
	f.Fuzz(func(t *testing.T, data []byte) {
		if width, height := dvbCanvas(bytes.NewReader(data)); width < 1 || height < 1 || width > 1<<16 || height > 1<<16 {
			t.Errorf("%dx%d is no size", width, height)
		}
	})
}
