package mediafile

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testFile reads a segment of testdata. They are 0.2 s of ffmpeg's testsrc2 at
// 30 frames/s by libx264 with B-frames, and of a 440 Hz sine at 48 kHz.
func testFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestInspectTS(t *testing.T) {
	tests := []struct {
		file string
		want SegmentInfo
	}{
		{"video.ts", SegmentInfo{Codecs: "avc1.4d400a", Frames: 6, FirstPTS: 900000, LastPTS: 915000, Key: true}},
		{"audio.ts", SegmentInfo{Codecs: "mp4a.40.2", Frames: 11, FirstPTS: 898080, LastPTS: 917280, Key: true, SampleRate: 48000}},
	}
	for _, tt := range tests {
		got, err := InspectTS(bytes.NewReader(testFile(t, tt.file)))
		if err != nil || got != tt.want {
			t.Errorf("InspectTS(%s) = %+v, %v; want %+v", tt.file, got, err, tt.want)
		}
	}
}

// A segment that does not begin with an IDR picture is no place to start at.
func TestInspectTSWithoutKey(t *testing.T) {
	video := bytes.Clone(testFile(t, "video.ts"))
	idr := bytes.Index(video, []byte{0, 0, 1, 0x65})
	if idr < 0 {
		t.Fatal("no IDR slice in video.ts")
	}
	video[idr+3] = 0x41
	if got, err := InspectTS(bytes.NewReader(video)); err != nil || got.Key || got.Frames != 6 {
		t.Errorf("InspectTS = %+v, %v; want 6 frames, the first no key frame", got, err)
	}
}

// What is missing from a segment must show in its count: Check refuses it then.
func TestInspectTSWithLoss(t *testing.T) {
	video := packetsOf(testFile(t, "video.ts"), 0, 0x1000, 0x100)
	for lost := 2 * tsPacketBytes; lost < len(video); lost += tsPacketBytes {
		if len(packetsOf(video[lost:lost+tsPacketBytes], 0x100)) == 0 {
			continue // the tables come twice
		}
		rest := slices.Concat(video[:lost], video[lost+tsPacketBytes:])
		if got, err := InspectTS(bytes.NewReader(rest)); err == nil && got.Frames >= 6 {
			t.Errorf("without the packet at %d: InspectTS = %+v; want fewer than 6 frames", lost, got)
		}
	}
}

func TestInspectTSRefuses(t *testing.T) {
	video, audio := testFile(t, "video.ts"), testFile(t, "audio.ts")
	broken := bytes.Clone(audio)
	broken[bytes.Index(broken, []byte{0xff, 0xf1})] = 0
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "no frames in it"},
		{"no TS", bytes.Repeat([]byte("x"), 1880), "sync byte"},
		{"no program map", packetsOf(video, 0x100), "no frames in it"},
		{"no sync word", broken, "want an ADTS sync word"},
		{"video, then audio", slices.Concat(video, audio), "the program map changes"},
		{"two streams", testFile(t, "both.ts"), "2 elementary streams; want one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := InspectTS(bytes.NewReader(tt.data))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("InspectTS = %v; want an error with %q", err, tt.want)
			}
		})
	}
}

// packetsOf returns the TS packets of some PIDs.
func packetsOf(ts []byte, pids ...int) []byte {
	var packets []byte
	for p := range slices.Chunk(ts, tsPacketBytes) {
		if slices.Contains(pids, int(p[1]&0x1f)<<8|int(p[2])) {
			packets = append(packets, p...)
		}
	}
	return packets
}

func TestParseADTS(t *testing.T) {
	whole := []byte{0xff, 0xf1, 0x4c, 0x80, 0x01, 0x3f, 0xfc, 0, 0} // 9 bytes
	if size, rate, err := parseADTS(whole); size != 9 || rate != 48000 || err != nil {
		t.Fatalf("parseADTS = %d, %d, %v; want 9, 48000", size, rate, err)
	}
	tests := []struct {
		name string
		at   int
		to   byte
		want string
	}{
		{"sync word", 0, 0xfe, "header begins with fef1; want an ADTS sync word"},
		{"profile", 2, 0x0c, "AAC profile 0; want 1 (low complexity)"},
		{"rate", 2, 0x7c, "sampling frequency index 15; want 0 to 12"},
		{"longer than there is", 5, 0x5f, "frame of 10 bytes in 9; want it whole"},
		{"shorter than its header", 4, 0x00, "frame of 1 bytes in 9; want it whole"},
		{"blocks", 6, 0xfd, "2 raw data blocks in one frame; want 1"},
	}
	for _, tt := range tests {
		frame := bytes.Clone(whole)
		frame[tt.at] = tt.to
		if _, _, err := parseADTS(frame); err == nil || err.Error() != tt.want {
			t.Errorf("%s: parseADTS = %v; want %s", tt.name, err, tt.want)
		}
	}
	if _, _, err := parseADTS(whole[:6]); err == nil {
		t.Error("parseADTS of 6 bytes succeeds; want a header of 7")
	}
}

func FuzzInspectTS(f *testing.F) {
	f.Add(testFile(f, "video.ts"))
	f.Add(testFile(f, "audio.ts"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := InspectTS(bytes.NewReader(data))
		if err == nil && (got.Frames <= 0 || got.Frames > len(data) || got.FirstPTS > got.LastPTS) {
			t.Errorf("InspectTS = %+v of %d bytes", got, len(data))
		}
	})
}
