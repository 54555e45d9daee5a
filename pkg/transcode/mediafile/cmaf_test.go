package mediafile

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// The CMAF files of testdata are made from the same pictures and sounds as
// those of MPEG-TS.
func TestInspectCMAF(t *testing.T) {
	tests := []struct {
		name string
		want SegmentInfo
	}{
		{"video", SegmentInfo{Codecs: "avc1.4d400a", Frames: 6, FirstPTS: 900000, LastPTS: 915000, Key: true}},
		{"hevc", SegmentInfo{Codecs: "hvc1.1.6.L30.90", Frames: 6, FirstPTS: 900000, LastPTS: 915000, Key: true}},
		{"mpeg4", SegmentInfo{Codecs: "mp4v.20", Frames: 6, FirstPTS: 900000, LastPTS: 915000, Key: true}},
		{"audio", SegmentInfo{Codecs: "mp4a.40.2", Frames: 11, FirstPTS: 898080, LastPTS: 917280, Key: true, SampleRate: 48000}},
	}
	for _, tt := range tests {
		init, err := InspectInit(bytes.NewReader(testFile(t, tt.name+"-init.mp4")))
		if err != nil {
			t.Errorf("InspectInit(%s) = %v", tt.name, err)
			continue
		}
		got, err := InspectCMAF(init, bytes.NewReader(testFile(t, tt.name+".m4s")))
		if err != nil || got != tt.want {
			t.Errorf("InspectCMAF(%s) = %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}

// bend returns a copy of data in which f has changed the body of the first box
// of this kind.
func bend(t *testing.T, data []byte, kind string, f func(body []byte)) []byte {
	t.Helper()
	data = bytes.Clone(data)
	i := bytes.Index(data, []byte(kind))
	if i < 4 {
		t.Fatalf("no box %s", kind)
	}
	f(data[i+4:])
	return data
}

func TestInspectCMAFRefuses(t *testing.T) {
	head, segment := testFile(t, "video-init.mp4"), testFile(t, "video.m4s")
	init, err := InspectInit(bytes.NewReader(head))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "no frames in it"},
		{"cut short", segment[:len(segment)-1], `box "mdat": EOF`},
		{"no time", bend(t, segment, "tfdt", func(b []byte) { copy(b, []byte{1, 0, 0, 0, 255}) }), "decode time"},
		{"no such box", bytes.Replace(segment, []byte("tfdt"), []byte("free"), 1), `no box "tfdt"`},
		{"too many samples", bend(t, segment, "trun", func(b []byte) { binary.BigEndian.PutUint32(b[4:], 1<<31) }), "want 1000000 at most"},
		{"fewer samples than said", bend(t, segment, "trun", func(b []byte) { binary.BigEndian.PutUint32(b[4:], 100) }), "ends 4 bytes early"},
		{"fragments that do not meet", append(bytes.Clone(segment), segment...), "want no gap"},
		{"a box in nothing", []byte{0, 0, 0, 4, 'm', 'o', 'o', 'f'}, "want a header of 8"},
		{"a huge box", []byte{0x7f, 0, 0, 0, 'm', 'o', 'o', 'f'}, "want 8388608 at most"},
	}
	for _, tt := range tests {
		if got, err := InspectCMAF(init, bytes.NewReader(tt.data)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v; want %s", tt.name, got, err, tt.want)
		}
	}
	for name, data := range map[string][]byte{
		"no moov":        head[:20],
		"another entry":  bytes.Replace(head, []byte("avc1"), []byte("evil"), 1),
		"no clock":       bend(t, head, "mdhd", func(b []byte) { clear(b[12:16]) }),
		"two edits":      bend(t, head, "elst", func(b []byte) { b[7] = 2 }),
		"negative start": bend(t, head, "elst", func(b []byte) { b[12] = 0xff }),
		"no codec":       bytes.Replace(head, []byte("avcC"), []byte("free"), 1),
	} {
		if got, err := InspectInit(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: %+v; want an error", name, got)
		}
	}
}

// A lost or doubled frame shows in the count, a moved one in its time.
func TestInspectCMAFKey(t *testing.T) {
	init, err := InspectInit(bytes.NewReader(testFile(t, "video-init.mp4")))
	if err != nil {
		t.Fatal(err)
	}
	// The first sample's flags stand behind the data offset of the run.
	segment := bend(t, testFile(t, "video.m4s"), "trun", func(b []byte) { b[13] |= 1 })
	if got, err := InspectCMAF(init, bytes.NewReader(segment)); err != nil || got.Key || got.Frames != 6 {
		t.Errorf("InspectCMAF = %+v, %v; want 6 frames, the first no key frame", got, err)
	}
}

func FuzzInspectCMAF(f *testing.F) {
	for _, name := range []string{"video", "hevc", "mpeg4", "audio"} {
		f.Add(testFile(f, name+"-init.mp4"), testFile(f, name+".m4s"))
	}
	f.Fuzz(func(t *testing.T, head, segment []byte) {
		init, err := InspectInit(bytes.NewReader(head))
		if err != nil {
			return
		}
		if init.Codecs != "" && !IsCodec(init.Codecs) {
			t.Errorf("codec %q", init.Codecs)
		}
		got, err := InspectCMAF(init, bytes.NewReader(segment))
		if err == nil && (got.Frames < 1 || got.FirstPTS > got.LastPTS) {
			t.Errorf("InspectCMAF = %+v", got)
		}
	})
}
