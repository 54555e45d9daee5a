package mediafile

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"slices"
)

// silenceInit is what ffmpeg writes for -f lavfi -i anullsrc=r=48000:cl=stereo -c:a aac
// -movflags empty_moov+default_base_moof -f mp4, before its first fragment.
//
//go:embed silence.mp4
var silenceInit []byte

// SilenceSamples is how many samples a frame of SilentFragment has, at 48 kHz.
const SilenceSamples = 1024

// SilenceInit returns the initialization section of SilentFragment: AAC, stereo, 48 kHz.
func SilenceInit() []byte { return slices.Clone(silenceInit) }

// SilentFragment returns a movie fragment of this many frames of silence, the first of which
// begins at a sample. It fits every track of AAC, stereo, 48 kHz, that ffmpeg begins.
func SilentFragment(sample int64, frames int) []byte {
	frame := []byte{0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c} // as ffmpeg encodes it
	const dataOffset = 108                              // of the frames, from the start of moof
	u32 := func(values ...uint32) (b []byte) {
		for _, v := range values {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	const flags = 0x020038 // default-base-is-moof, and the defaults that follow
	tfhd := makeBox("tfhd", u32(flags, 1, SilenceSamples, uint32(len(frame)), 0x02000000))
	tfdt := makeBox("tfdt", binary.BigEndian.AppendUint64(u32(1<<24), uint64(sample)))
	trun := makeBox("trun", u32(1, uint32(frames), dataOffset))
	moof := makeBox("moof", makeBox("mfhd", u32(0, 1)), makeBox("traf", tfhd, tfdt, trun))
	return append(moof, makeBox("mdat", bytes.Repeat(frame, frames))...)
}

// makeBox returns an MP4 box of these parts.
func makeBox(kind string, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	b := binary.BigEndian.AppendUint32(nil, uint32(boxHeaderBytes+len(body)))
	return append(append(b, kind...), body...)
}
