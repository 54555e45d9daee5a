//go:build linux

package virtualpi

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestPackRRQ(t *testing.T) {
	const want = "\x00\x013333347a/start4.elf\x00octet\x00tsize\x000\x00blksize\x001024\x00"
	if got := string(packRRQ("3333347a/start4.elf", pi4b().tftp)); got != want {
		t.Errorf("packRRQ = %q; want %q", got, want)
	}
}

func TestParseSize(t *testing.T) {
	tests := []struct {
		name, packet string
		want         int64
		wantIs       error
		wantErr      string
	}{
		{name: "size", packet: "\x00\x06blksize\x001024\x00tsize\x00123456\x00", want: 123456},
		{name: "size in capitals", packet: "\x00\x06TSIZE\x007\x00", want: 7},
		{name: "empty file", packet: "\x00\x06tsize\x000\x00", want: 0},
		{name: "other options only", packet: "\x00\x06blksize\x001024\x00", wantIs: errNoSize},
		{name: "no options at all", packet: "\x00\x03\x00\x01data", wantIs: errNoSize},
		{name: "no such file", packet: "\x00\x05\x00\x01file not found\x00", wantIs: fs.ErrNotExist, wantErr: `"code: 1, message: file not found"`},
		{name: "no access", packet: "\x00\x05\x00\x02", wantIs: fs.ErrNotExist},
		{name: "not a number", packet: "\x00\x06tsize\x00many\x00", wantErr: `tsize is "many"`},
		{name: "negative", packet: "\x00\x06tsize\x00-1\x00", wantErr: `tsize is "-1"`},
		{name: "cut off", packet: "\x00\x06tsize", wantIs: errNoSize},
		{name: "an error without a code", packet: "\x00\x05\x00", wantErr: "want a code"},
		{name: "one byte", packet: "\x00", wantErr: "1 bytes"},
		{name: "a request", packet: "\x00\x01a\x00octet\x00", wantErr: "opcode 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseSize([]byte(tt.packet))
			if (err != nil) != (tt.wantIs != nil || tt.wantErr != "") || tt.wantIs != nil && !errors.Is(err, tt.wantIs) {
				t.Fatalf("parseSize = %d, %v; want %d, %v", got, err, tt.want, tt.wantIs)
			}
			if err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error = %v; want %q in it", err, tt.wantErr)
			}
			if got != tt.want {
				t.Errorf("parseSize = %d; want %d", got, tt.want)
			}
		})
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add([]byte("\x00\x06tsize\x00123456\x00blksize\x001024\x00"))
	f.Add([]byte("\x00\x05\x00\x01no\x00"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if size, err := parseSize(packet); size < 0 || err != nil && size != 0 {
			t.Errorf("parseSize = %d, %v", size, err)
		}
	})
}
