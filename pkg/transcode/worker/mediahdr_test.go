package worker

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// hdrRows are sources in HDR of which there are several renditions, and Dolby Vision.
func hdrRows() []mediaRow {
	const sdr = "yuv420p tv bt709 bt709 bt709"
	return []mediaRow{
		{
			name: "HDR10 in HDR and SDR", file: "hdr.mp4", args: hdr10,
			request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265, MoreCodecs: []transcode.Codec{transcode.CodecH264}, Container: transcode.ContainerCMAF}},
			want:    mediaWant{frames: 50, colors: "yuv420p10le tv bt2020nc smpte2084 bt2020", also: inBothRanges("PQ")},
		},
		{
			name: "HDR10 in SDR and HDR", file: "hdr.mp4", args: hdr10, long: true,
			request: transcode.Request{Output: transcode.Output{MoreCodecs: []transcode.Codec{transcode.CodecH265}, Container: transcode.ContainerCMAF}},
			want:    mediaWant{frames: 50, colors: sdr, also: inBothRanges("PQ")},
		},
		{
			name: "HLG in HDR and SDR", file: "hlg.mkv", args: hlg, long: true,
			request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265, MoreCodecs: []transcode.Codec{transcode.CodecH264}, Container: transcode.ContainerCMAF}},
			want:    mediaWant{frames: 50, colors: "yuv420p10le tv bt2020nc arib-std-b67 bt2020", also: inBothRanges("HLG")},
		},
		{
			name: "HDR10 by AV1", file: "hdr.mp4", args: hdr10,
			request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecAV1, Container: transcode.ContainerCMAF}},
			want:    mediaWant{frames: 50, colors: sdr, note: []string{"HDR (PQ) is tone-mapped to SDR, because av1 has 8 bits here"}, also: hasLightPoster},
		},
		{
			name: "SDR after HDR10", file: "a.ts", build: inRanges(hdr10, sdrPart),
			want: mediaWant{frames: 100, within: 2, colors: sdr, note: []string{"HDR (PQ) is tone-mapped to SDR"}, also: lights([2]int{180, 230}, [2]int{120, 132})},
		},
		{
			name: "SDR after HDR10, kept", file: "a.ts", long: true, build: inRanges(hdr10, sdrPart), request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265}},
			want: mediaWant{frames: 100, within: 2, colors: "yuv420p10le tv bt2020nc smpte2084 bt2020", also: lights([2]int{141, 147}, [2]int{105, 110})},
		},
		{
			name: "HDR10 after SDR", file: "a.ts", long: true, build: inRanges(sdrPart, hdr10),
			want: mediaWant{frames: 100, within: 2, colors: sdr, note: []string{"HDR (PQ) from 2.0 s on is tone-mapped to SDR, in which the source begins"}, also: lights([2]int{120, 132}, [2]int{180, 230})},
		},
		{
			name: "SDR after HLG, kept", file: "a.ts", long: true, build: inRanges(hlg, sdrPart), request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265}},
			want: mediaWant{frames: 100, within: 2, colors: "yuv420p10le tv bt2020nc arib-std-b67 bt2020", also: lights([2]int{180, 190}, [2]int{111, 117})},
		},
		{
			name: "SDR after HDR10 in one codec", file: "a.ts", build: inRanges(hdr10, sdrH265),
			want: mediaWant{frames: 100, within: 2, colors: sdr, note: []string{"HDR (PQ) is tone-mapped to SDR"}, also: lights([2]int{180, 230}, [2]int{120, 132})},
		},
		{
			name: "HDR10 after SDR in one codec, of a long source", file: "a.ts",
			build: func(t *testing.T, dir, file string) {
				inRanges(sdrH265, hdr10)(t, dir, file)
				spread(t, filepath.Join(dir, file), lookAll+1)
			},
			want: mediaWant{frames: 100, within: 4, colors: sdr, note: []string{"HDR (PQ) from ", " s on is tone-mapped to SDR, in which the source begins"}, also: lights([2]int{120, 132}, [2]int{180, 230})},
		},
		{
			name: "HDR10 after SDR in one codec, with a jump", file: "a.ts", long: true,
			build: func(t *testing.T, dir, file string) { joinFiles(t, dir, file, at(0, sdrH265), at(500, hdr10)) },
			want:  mediaWant{frames: 100, within: 2, colors: sdr, note: []string{"HDR (PQ) from 2.0 s on is tone-mapped to SDR, in which the source begins"}, also: lights([2]int{120, 132}, [2]int{180, 230})},
		},
		{
			name: "SDR after HLG in one codec, kept", file: "a.ts", long: true, build: inRanges(hlg, sdrH265), request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265}},
			want: mediaWant{frames: 100, within: 2, colors: "yuv420p10le tv bt2020nc arib-std-b67 bt2020", also: lights([2]int{180, 190}, [2]int{111, 117})},
		},
		{
			name: "Dolby Vision 5", file: "a.mp4", build: dolbySource(5, 0),
			want: mediaWant{fails: "its video is Dolby Vision of profile 5, whose colors only a decoder of Dolby Vision can show"},
		},
		{
			name: "Dolby Vision 8", file: "a.mp4", build: dolbySource(8, 1), request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265}},
			want: mediaWant{frames: 50, colors: "yuv420p10le tv bt2020nc smpte2084 bt2020", note: []string{"of Dolby Vision, the base layer is kept, which is PQ"}},
		},
	}
}

// sdrPart is of the same size as hdr10, in another codec.
const sdrPart = "-f lavfi -i color=0x808080:s=160x90:r=25:d=2 " + x264 + "-color_primaries bt709 -colorspace bt709 -color_trc bt709"

// sdrH265 is of the same size and codec as hdr10.
const sdrH265 = "-f lavfi -i color=0x808080:s=160x90:r=25:d=2 " + x265 + "-color_primaries bt709 -colorspace bt709 -color_trc bt709"

// inRanges makes a transport stream of two parts of 2 s.
func inRanges(first, second string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) { joinFiles(t, dir, file, at(0, first), at(2, second)) }
}

// spread makes a transport stream this long, by packets without content after each of its own.
func spread(t *testing.T, file string, size int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const packet = 188
	null := append([]byte{0x47, 0x1f, 0xff, 0x10}, make([]byte, packet-4)...)
	var long []byte
	for at := 0; at+packet <= len(data); at += packet {
		long = append(append(long, data[at:at+packet]...), bytes.Repeat(null, size/len(data))...)
	}
	if err := os.WriteFile(file, long, 0o644); err != nil {
		t.Fatal(err)
	}
}

// lights makes sure that the greys of two parts of 2 s are within these, of 255.
func lights(want ...[2]int) func(t *testing.T, o mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		out := ffmpegRun(t, ".", "ffmpeg", "-v", "error", "-i", o.video, "-map", "0:v", "-vf", "scale=2:2,format=yuv420p10le", "-f", "rawvideo", "-")
		for i, w := range want {
			frame := out[12*(25+50*i):]
			if luma := int(binary.LittleEndian.Uint16([]byte(frame))) / 4; luma < w[0] || luma > w[1] {
				t.Errorf("%s: grey of %d at %d s; want %d to %d", o.video, luma, 1+2*i, w[0], w[1])
			}
		}
	}
}

// inBothRanges makes sure that the master playlist has each range, also of the playlists
// of key frames, and that the poster is SDR.
func inBothRanges(hdr string) func(t *testing.T, o mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		compareRanges(t, o, hdr)
		hasLightPoster(t, o)
	}
}

func compareRanges(t *testing.T, o mediaOutput, hdr string) {
	t.Helper()
	master, err := os.ReadFile(o.entry)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(master)) {
		if !strings.HasPrefix(line, "#EXT-X-STREAM-INF") && !strings.HasPrefix(line, "#EXT-X-I-FRAME-STREAM-INF") {
			continue
		}
		want := "VIDEO-RANGE=SDR"
		if strings.Contains(line, "hvc1") {
			want = "VIDEO-RANGE=" + hdr
		}
		if strings.HasPrefix(line, "#EXT-X-STREAM-INF") {
			want += map[bool]string{true: ",SCORE=2.0", false: ",SCORE=1.0"}[strings.Contains(line, "hvc1")]
		}
		if !strings.Contains(line, ","+want) {
			t.Errorf("%s; want %s", line, want)
		}
	}
}

// hasLightPoster makes sure that the poster of hdr10 is as bright as in SDR.
func hasLightPoster(t *testing.T, o mediaOutput) {
	t.Helper()
	for _, name := range []string{"poster.jpg", "storyboard/000.jpg"} {
		picture := filepath.Join(filepath.Dir(o.entry), filepath.FromSlash(name))
		if matches, err := filepath.Glob(filepath.Join(filepath.Dir(o.entry), "storyboard", "*.jpg")); name != "poster.jpg" && err == nil && len(matches) > 0 {
			picture = matches[0]
		}
		out := ffmpegRun(t, ".", "ffmpeg", "-v", "error", "-i", picture, "-vf", "format=gray", "-frames:v", "1", "-f", "rawvideo", "-")
		if luma := int(out[0]); luma < 180 || luma > 230 {
			t.Errorf("%s: grey of %d; want 180 to 230", picture, luma)
		}
	}
}

// dolbySource makes hdr10 say that it is Dolby Vision of this profile, whose base layer is
// compatible with what the other number says: a dvvC in the sample entry (Dolby Vision
// streams within the ISO base media file format, §3.2).
func dolbySource(profile, compatible byte) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		data, err := os.ReadFile(makeSource(t, "plain.mp4", hdr10))
		if err != nil {
			t.Fatal(err)
		}
		record := make([]byte, 32)
		binary.BigEndian.PutUint32(record, 32)
		copy(record[4:], "dvvC")
		record[8], record[9], record[10], record[11], record[12] = 1, 0, profile<<1, 3<<3|5, compatible<<4
		entry := bytes.LastIndex(data, []byte("hvc1"))
		end := entry - 4 + int(binary.BigEndian.Uint32(data[entry-4:]))
		data = append(data[:end:end], append(record, data[end:]...)...)
		for _, box := range []string{"hvc1", "stsd", "stbl", "minf", "mdia", "trak", "moov"} {
			at := bytes.LastIndex(data[:entry+4], []byte(box)) - 4
			binary.BigEndian.PutUint32(data[at:], binary.BigEndian.Uint32(data[at:])+32)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
