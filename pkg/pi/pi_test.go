package pi

import (
	"bytes"
	"strings"
	"testing"
)

func TestParseMAC(t *testing.T) {
	for in, want := range map[string]string{
		"b8:27:eb:33:34:7a": "b8:27:eb:33:34:7a",
		"B8-27-EB-33-34-7A": "b8:27:eb:33:34:7a",
		"b827.eb33.347a":    "b8:27:eb:33:34:7a",
	} {
		got, err := ParseMAC(in)
		if err != nil || got.String() != want {
			t.Errorf("ParseMAC(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "b8:27:eb", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:5e:10:00:00:00:01"} {
		if got, err := ParseMAC(in); err == nil {
			t.Errorf("ParseMAC(%q) = %v; want an error", in, got)
		}
	}
}

func TestParseSerial(t *testing.T) {
	for in, want := range map[string]string{
		"3333347a":           "3333347a",
		"0x3333347A":         "3333347a",
		"100000003333347a":   "3333347a",
		"0x00000000a2ef5644": "a2ef5644",
	} {
		got, err := ParseSerial(in)
		if err != nil || got.String() != want {
			t.Errorf("ParseSerial(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "33", "zzzzzzzz", "00000000", "3333347", "../../etc", "3333347a00"} {
		if got, err := ParseSerial(in); err == nil {
			t.Errorf("ParseSerial(%q) = %v; want an error", in, got)
		}
	}
}

func TestCheckPair(t *testing.T) {
	pi3 := MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}
	if err := CheckPair(pi3, 0x3333347a); err != nil {
		t.Errorf("CheckPair of one Pi 3 = %v; want nil", err)
	}
	err := CheckPair(pi3, 0x3333347b)
	if err == nil || !strings.Contains(err.Error(), "33347a") {
		t.Errorf("CheckPair of two boards = %v; want an error naming 33347a", err)
	}
	if err := CheckPair(MAC{0xdc, 0xa6, 0x32, 1, 2, 3}, 0x3333347a); err != nil {
		t.Errorf("CheckPair of a Pi 4 = %v; want nil: its address does not tell", err)
	}
}

func TestGUID(t *testing.T) {
	// firmware#1362: serial a2ef5644 is sent low byte first, four times.
	captured := append([]byte{0}, bytes.Repeat([]byte{0x44, 0x56, 0xef, 0xa2}, 4)...)
	if serial, _, ok := DecodeGUID(captured); !ok || serial != 0xa2ef5644 {
		t.Errorf("DecodeGUID(captured) = %v, %v; want a2ef5644", serial, ok)
	}
	maskROM := append([]byte{0}, bytes.Repeat([]byte{0x44}, 16)...)
	if serial, _, ok := DecodeGUID(maskROM); ok {
		t.Errorf("DecodeGUID(mask ROM) = %v; want no serial", serial)
	}
	mac := MAC{0xdc, 0xa6, 0x32, 1, 2, 3}
	for _, model := range []Model{Pi4, Pi5} {
		serial, got, ok := DecodeGUID(EncodeGUID(model, 0xc03111, mac, 0x12345678))
		if !ok || serial != 0x12345678 || got != model {
			t.Errorf("DecodeGUID(EncodeGUID(%s)) = %v, %v, %v", model, serial, got, ok)
		}
	}
	if !bytes.Equal(EncodeGUID(Pi3, 0xc03111, mac, 0xa2ef5644), captured) {
		t.Error("EncodeGUID(Pi 3) is not what was captured")
	}
}

func FuzzDecodeGUID(f *testing.F) {
	f.Add([]byte{0})
	f.Add(EncodeGUID(Pi4, 0xc03111, MAC{1, 2, 3, 4, 5, 6}, 7))
	f.Fuzz(func(t *testing.T, guid []byte) {
		if serial, _, ok := DecodeGUID(guid); ok && serial == 0 {
			t.Error("a decoded serial number is never zero")
		}
	})
}
