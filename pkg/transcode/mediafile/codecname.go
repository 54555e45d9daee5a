package mediafile

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"strings"
)

// avcName names H.264 by profile, constraints and level (RFC 6381 §3.3).
func avcName(avcC []byte) (string, error) {
	f := fields{data: avcC}
	f.bytes(1)
	name := "avc1." + hex.EncodeToString(f.bytes(3))
	return name, f.err
}

// hevcName names H.265 as ISO 14496-15 annex E.3 does.
func hevcName(hvcC []byte) (string, error) {
	f := fields{data: hvcC}
	f.bytes(1)
	profile, compatible := f.uint8(), f.uint32()
	constraints, level := f.bytes(6), f.uint8()
	if f.err != nil {
		return "", f.err
	}
	space, tier := []string{"", "A", "B", "C"}[profile>>6], "L"
	if profile&0x20 != 0 {
		tier = "H"
	}
	name := fmt.Sprintf("hvc1.%s%d.%x.%s%d", space, profile&0x1f, bits.Reverse32(compatible), tier, level)
	for len(constraints) > 0 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	for _, c := range constraints {
		name += fmt.Sprintf(".%x", c)
	}
	return name, nil
}

// av1Name names AV1 by profile, level, tier and bit depth (AV1 in ISO base media,
// §5). What it leaves out is 4:2:0 and BT.709.
func av1Name(av1C []byte) (string, error) {
	f := fields{data: av1C}
	f.bytes(1)
	profile, flags := f.uint8(), f.uint8()
	tier, depth := "M", 8
	if flags&0x80 != 0 {
		tier = "H"
	}
	if flags&0x40 != 0 {
		depth = 10
	}
	if flags&0x60 == 0x60 {
		depth = 12
	}
	return fmt.Sprintf("av01.%d.%02d%s.%02d", profile>>5, profile&0x1f, tier, depth), f.err
}

// vp9Name names VP9 by profile, level and bit depth (VP codec ISO media file format
// binding). What it leaves out is 4:2:0 and BT.709.
func vp9Name(vpcC []byte) (string, error) {
	f := fields{data: vpcC}
	f.full()
	profile, level, depth := f.uint8(), f.uint8(), f.uint8()>>4
	return fmt.Sprintf("vp09.%02d.%02d.%02d", profile, level, depth), f.err
}

// Descriptors of ISO 14496-1 §7.2.
const (
	tagStream         = 3
	tagDecoder        = 4
	tagDecoderSpecial = 5
)

// objectAAC is the object type of AAC in an MPEG-4 stream descriptor.
const objectAAC = 0x40

// mpeg4Name names what an MPEG-4 stream descriptor describes (RFC 6381 §3.3). Only
// AAC has an audio object type in it.
func mpeg4Name(kind string, esds []byte) (string, error) {
	f := fields{data: esds}
	f.full()
	f.descriptor(tagStream)
	f.bytes(3)
	f.descriptor(tagDecoder)
	object := f.uint8()
	name := fmt.Sprintf("%s.%x", kind, object)
	if kind == "mp4a" && object == objectAAC {
		f.bytes(12)
		f.descriptor(tagDecoderSpecial)
		name += fmt.Sprintf(".%d", f.uint8()>>3)
	}
	return name, f.err
}

// descriptor reads the head of a descriptor: its tag, and its size in up to
// four bytes of seven bits.
func (f *fields) descriptor(want uint8) {
	if tag := f.uint8(); f.err == nil && tag != want {
		f.err = fmt.Errorf("descriptor %d; want %d", tag, want)
	}
	for range 4 {
		if f.uint8()&0x80 == 0 {
			return
		}
	}
}

// IsCodec tells whether name is what a playlist may call a codec.
func IsCodec(name string) bool {
	return name != "" && len(name) < 40 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.") == ""
}
