package worker

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// timeRows are sources whose time axis, rate, fields or colors are of the kinds that
// go wrong.
func timeRows() []mediaRow {
	return []mediaRow{
		{
			name: "plain", file: "plain.mp4",
			args: "-f lavfi -i testsrc2=s=320x180:r=25:d=3 -f lavfi -i sine=440:d=3 " + x264 + "-c:a aac",
			want: mediaWant{frames: 75, rate: "25/1", size: "320x180", seconds: 3, tracks: []string{"video h264", "audio aac"}},
		},
		{
			name: "plain by two passes", file: "plain.mp4", long: true,
			args:    "-f lavfi -i testsrc2=s=320x180:r=25:d=3 -f lavfi -i sine=440:d=3 " + x264 + "-c:a aac",
			request: transcode.Request{Output: transcode.Output{TwoPass: true, Rungs: []transcode.Rung{{Lines: 180, BitrateBPS: 300_000}}}},
			want:    mediaWant{frames: 75, rate: "25/1", size: "320x180", seconds: 3, tracks: []string{"video h264", "audio aac"}, also: bitsOf(300_000)},
		},
		{
			name: "plain with encrypted samples", file: "plain.mp4", long: true,
			args:    "-f lavfi -i testsrc2=s=320x180:r=25:d=3 -f lavfi -i sine=440:d=3 " + x264 + "-c:a aac",
			request: transcode.Request{Output: transcode.Output{Container: transcode.ContainerCMAF, Encrypted: true, SampleAES: true}},
			want:    mediaWant{frames: 75, rate: "25/1", size: "320x180", seconds: 3, tracks: []string{"video h264", "audio aac"}},
		},
		{
			name: "open GOP, late start", file: "open.ts", long: true,
			args: "-f lavfi -i testsrc2=s=320x180:r=25:d=3 -f lavfi -i sine=440:d=3 " + openGOP + "-c:a aac",
			want: mediaWant{frames: 75, within: 1, rate: "25/1", size: "320x180", tracks: []string{"video h264", "audio aac"}},
		},
		{
			name: "late start by an edit list", file: "late.mp4",
			build: func(t *testing.T, dir, file string) {
				early := makeSource(t, "early.mp4", motion(25, 3)+x264)
				ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-itsoffset", "10", "-i", early, "-c", "copy", file)
			},
			want: mediaWant{frames: 75, rate: "25/1", seconds: 3},
		},
		{
			name: "late start in Matroska", file: "late.mkv", long: true, args: "-itsoffset 10 " + motion(25, 3) + x264,
			want: mediaWant{frames: 75, rate: "25/1", seconds: 3},
		},
		{
			name: "sound two seconds before the picture", file: "late.mkv", args: "-itsoffset 2 " + motion(25, 3) + "-f lavfi -i sine=440:d=5 " + x264 + "-c:a aac",
			want: mediaWant{frames: 125, within: 1, rate: "25/1", seconds: 5, tracks: []string{"video h264", "audio aac"}},
		},
		{
			name: "a recording from between key frames on", file: "cut.ts", build: cutRecording,
			want: mediaWant{frames: 126, within: 4, rate: "25/1", tracks: []string{"video h264", "audio aac"}, note: []string{"the picture stands still for 1.", "s from 0.0 s on, because nothing could be decoded there"}},
		},
		{
			name: "a recording whose first key frame comes late", file: "cut.ts",
			build: func(t *testing.T, dir, file string) { cutFile(t, dir, file, motion(25, 9)+x264+"-g 175", 0.05, 0.95) },
			want:  mediaWant{frames: 200, within: 20, rate: "25/1", note: []string{"the picture stands still for 6.", "s from 0.0 s on, because nothing could be decoded there"}},
		},
		{
			name: "three pictures with sound", file: "slides.mp4", args: "-f lavfi -i testsrc2=s=160x90:r=1/3:d=9 -f lavfi -i sine=440:d=9 " + x264 + "-c:a aac",
			want: mediaWant{frames: 9, rate: "1/1", seconds: 9, tracks: []string{"video h264", "audio aac"}},
		},
		{
			name: "a still before the film", file: "still.mkv",
			args: "-f lavfi -i testsrc2=s=80x60:r=25:d=0.04 " + motion(25, 3) + "-map 0 -map 1 -c:v:0 mjpeg -c:v:1 libx264 -pix_fmt:v:1 yuv420p",
			want: mediaWant{frames: 75, rate: "25/1", seconds: 3},
		},
		{
			name: "a preview before the film", file: "preview.mkv", long: true,
			args: "-f lavfi -i testsrc2=s=80x60:r=25:d=1 " + motion(25, 3) + "-map 0 -map 1 " + x264,
			want: mediaWant{frames: 75, size: "160x90", note: []string{"not in the output: the other video of the source, 80x60 of 1.0 s"}},
		},
		{
			name: "the second film is the default", file: "default.mkv", long: true,
			args: "-f lavfi -i testsrc2=s=80x60:r=25:d=3 " + motion(25, 3) + "-map 0 -map 1 -disposition:v:0 0 -disposition:v:1 default " + x264,
			want: mediaWant{frames: 75, size: "160x90", note: []string{"not in the output: the other video of the source, 80x60 of 3.0 s"}},
		},
		{
			name: "packets lost", file: "lost.ts",
			build: func(t *testing.T, dir, file string) { losePackets(t, dir, file, motion(25, 8)+x264+"-g 12 -f mpegts") },
			want:  mediaWant{frames: 200, within: 12, rate: "25/1"},
		},
		{
			name: "pause of nine seconds", file: "pause.mp4",
			args: motion(30, 16) + "-vf select='lt(t,3)+gt(t,12)' -fps_mode vfr " + x264,
			want: mediaWant{frames: 480, within: 1, rate: "30/1", seconds: 16},
		},
		{
			name: "pause in Matroska", file: "pause.mkv", long: true,
			args: motion(30, 16) + "-vf select='lt(t,3)+gt(t,12)' -fps_mode vfr " + x264,
			want: mediaWant{frames: 480, within: 1, rate: "30/1", seconds: 16},
		},
		{
			name: "phone of 60 frames/s at most", file: "phone.mp4",
			args: motion(60, 4) + "-vf select='not(mod(n,2))+lt(mod(n,120),8)' -fps_mode vfr -video_track_timescale 90000 " + x264,
			want: mediaWant{frames: 120, within: 121, rate: "60/1", seconds: 4},
		},
		{
			name: "phone that drops at random", file: "phone.mkv", long: true,
			args: motion(60, 4) + "-vf select='gt(random(0),0.45)' -fps_mode vfr " + x264,
			want: mediaWant{frames: 240, within: 6, rate: "60/1"},
		},
		{
			name: "camera without a steady rate", file: "jitter.mkv", long: true,
			args: motion(30, 6) + "-vf setpts=PTS+random(1)*0.009/TB,settb=1/1000 -fps_mode passthrough " + x264,
			want: mediaWant{frames: 180, within: 2, rate: "30/1"},
		},
		{name: "20 frames/s", file: "a.mp4", args: motion(20, 3) + x264, want: mediaWant{frames: 60, rate: "20/1", seconds: 3}},
		{name: "18 frames/s", file: "a.avi", long: true, args: motion(18, 3) + "-c:v mpeg4", want: mediaWant{frames: 54, rate: "18/1"}},
		{name: "48 frames/s", file: "a.mkv", args: motion(48, 3) + x264, want: mediaWant{frames: 144, rate: "48/1", seconds: 3}},
		{name: "50 frames/s", file: "a.ts", long: true, args: motion(50, 3) + x264, want: mediaWant{frames: 150, within: 1, rate: "50/1"}},
		{name: "59.94 frames/s", file: "a.mkv", long: true, args: motion("60000/1001", 3) + x264, want: mediaWant{frames: 180, within: 1, rate: "60000/1001"}},
		{
			name: "100 frames/s", file: "a.mp4", args: motion(100, 2) + x264,
			want: mediaWant{frames: 100, rate: "50/1", note: []string{"50 of 100 frames per second are kept: more than 60 need --max-fps"}},
		},
		{
			name: "100 frames/s wanted", file: "a.mp4", long: true, args: motion(100, 2) + x264,
			request: transcode.Request{Output: transcode.Output{MaxFPS: 120}},
			want:    mediaWant{frames: 200, rate: "100/1"},
		},
		{
			name: "120 frames/s", file: "a.mkv", long: true, args: motion(120, 2) + x264,
			want: mediaWant{frames: 120, rate: "60/1", note: []string{"60 of 120 frames per second"}},
		},
		{
			name: "240 frames/s", file: "a.mov", args: motion(240, 2) + x264,
			want: mediaWant{frames: 120, rate: "60/1", note: []string{"60 of 240 frames per second"}},
		},
		{
			name: "25 frames/s of 50", file: "a.mp4", long: true, args: motion(50, 2) + x264,
			request: transcode.Request{Output: transcode.Output{MaxFPS: 30}},
			want:    mediaWant{frames: 50, rate: "25/1", note: []string{"25 of 50 frames per second are kept: more than 30 need --max-fps"}},
		},
		{name: "raw H.264", file: "raw.h264", args: motion(25, 4) + x264, want: mediaWant{frames: 100, rate: "25/1", seconds: 4}},
		{name: "raw H.264 with key frames", file: "raw.h264", long: true, args: motion(30, 6) + x264 + "-g 30", want: mediaWant{frames: 180, rate: "30/1"}},
		{name: "raw H.264 with B-frames", file: "raw.264", long: true, args: motion(25, 4) + openGOP + "-f h264", want: mediaWant{frames: 100, rate: "25/1"}},
		{name: "raw H.265", file: "raw.hevc", long: true, args: motion(25, 4) + x265, want: mediaWant{frames: 100, rate: "25/1"}},
		{name: "raw MPEG-2", file: "raw.m2v", args: motion(25, 4) + "-c:v mpeg2video -bf 2", want: mediaWant{frames: 100, rate: "25/1"}},
		{name: "motion JPEG", file: "raw.mjpeg", long: true, args: motion(25, 4) + "-c:v mjpeg", want: mediaWant{frames: 100, rate: "25/1"}},
		{name: "AVI with B-frames", file: "b.avi", long: true, args: motion(25, 4) + openGOP, want: mediaWant{frames: 100, rate: "25/1"}},
		{
			name: "joined with a jump forward", file: "forward.ts",
			build: func(t *testing.T, dir, file string) { joinFiles(t, dir, file, part(0), part(5000)) },
			want:  mediaWant{frames: 200, within: 1, rate: "25/1", seconds: 8, also: followsOn},
		},
		{
			name: "joined with a jump backward", file: "backward.ts",
			build: func(t *testing.T, dir, file string) { joinFiles(t, dir, file, part(5000), part(0)) },
			want:  mediaWant{frames: 200, within: 1, rate: "25/1", seconds: 8, also: followsOn},
		},
		{
			name: "joined with itself", file: "itself.ts", long: true,
			build: func(t *testing.T, dir, file string) { joinFiles(t, dir, file, part(0), part(0), part(0)) },
			want:  mediaWant{frames: 300, within: 1, rate: "25/1", seconds: 12, also: followsOn},
		},
		{
			name: "joined program streams", file: "joined.mpg", long: true,
			build: func(t *testing.T, dir, file string) {
				p := motion(25, 4) + "-f lavfi -i sine=440:d=4 -c:v mpeg2video -q:v 2 "
				joinFiles(t, dir, file, p, p)
			},
			want: mediaWant{frames: 200, within: 1, rate: "25/1", also: followsOn},
		},
		{
			name: "time stamps that wrap", file: "wrap.ts",
			args: motion(25, 6) + "-f lavfi -i sine=440:d=6 " + x264 + "-g 25 -c:a aac -muxdelay 0 -muxpreload 0 -output_ts_offset 95440.7",
			want: mediaWant{frames: 150, within: 1, rate: "25/1", seconds: 6, also: followsOn},
		},
		{
			name: "a wrap before a join", file: "wrap.ts",
			build: func(t *testing.T, dir, file string) { joinFiles(t, dir, file, part(95442), part(100), part(50)) },
			want:  mediaWant{frames: 300, within: 1, rate: "25/1", seconds: 12, also: followsOn},
		},
		{
			name: "a wrap after a join", file: "wrap.ts", long: true,
			build: func(t *testing.T, dir, file string) { joinFiles(t, dir, file, part(100), part(95442)) },
			want:  mediaWant{frames: 200, within: 1, rate: "25/1", seconds: 8, also: followsOn},
		},
		{
			name: "a join that looks like a wrap", file: "wrap.ts", long: true,
			build: func(t *testing.T, dir, file string) { joinFiles(t, dir, file, part(95400), part(20), part(3000)) },
			want:  mediaWant{frames: 300, within: 1, rate: "25/1", seconds: 12, also: followsOn},
		},
		{
			name: "time stamps that nearly wrap", file: "nearly.ts", long: true,
			args: motion(25, 6) + x264 + "-g 25 -muxdelay 0 -muxpreload 0 -output_ts_offset 95430",
			want: mediaWant{frames: 150, within: 1, rate: "25/1", seconds: 6, also: followsOn},
		},
		{
			name: "another size midway", file: "size.ts",
			build: func(t *testing.T, dir, file string) {
				joinFiles(t, dir, file, shaped("160x90", 0), shaped("320x180", 3))
			},
			want: mediaWant{frames: 150, within: 1, rate: "25/1", size: "160x90", seconds: 6, also: bars(4, 0, 0)},
		},
		{
			name: "a narrower picture midway", file: "narrow.ts",
			build: func(t *testing.T, dir, file string) {
				joinFiles(t, dir, file, shaped("160x90", 0), shaped("120x90", 3))
			},
			want: mediaWant{frames: 150, within: 1, size: "160x90", seconds: 6, also: bars(4, 20, 0)},
		},
		{
			name: "a wider picture midway", file: "wide.ts", long: true,
			build: func(t *testing.T, dir, file string) {
				joinFiles(t, dir, file, shaped("120x90", 0), shaped("160x90", 3))
			},
			want: mediaWant{frames: 150, within: 1, size: "120x90", seconds: 6, also: bars(4, 0, 11)},
		},
		{
			name: "other pixels midway", file: "sar.ts",
			build: func(t *testing.T, dir, file string) {
				p := "-f lavfi -i color=white:s=90x72:r=25:d=3 -c:v mpeg2video -q:v 2 -muxdelay 0 -muxpreload 0 "
				joinFiles(t, dir, file, p+"-vf setsar=64/45 ", p+"-vf setsar=16/15 -output_ts_offset 3 ")
			},
			want: mediaWant{frames: 150, within: 1, size: "128x72", seconds: 6, also: bars(4, 16, 0)},
		},
		{
			name: "another pixel format midway", file: "format.ts", long: true,
			build: func(t *testing.T, dir, file string) {
				p := motion(25, 3) + "-c:v libx264 -preset ultrafast -muxdelay 0 -muxpreload 0 "
				joinFiles(t, dir, file, p+"-pix_fmt yuv420p ", p+"-pix_fmt yuv444p -output_ts_offset 3 ")
			},
			want: mediaWant{frames: 150, within: 1, size: "160x90", seconds: 6},
		},
		{
			name: "another size midway, with options", file: "size.ts", long: true,
			build: func(t *testing.T, dir, file string) {
				joinFiles(t, dir, file, shaped("160x90", 0), shaped("120x90", 3))
			},
			request: transcode.Request{Output: transcode.Output{Format: transcode.FormatMP4, Options: []string{"-c:v", "libx264", "-preset", "ultrafast"}}},
			want:    mediaWant{frames: 150, within: 1, size: "160x90", also: bars(4, 20, 0)},
		},
		{
			name: "DV", file: "camera.dv",
			args:    bar("720x576", "50", 2) + ",tinterlace=interleave_bottom -c:v dvvideo -pix_fmt yuv420p",
			request: transcode.Request{Output: transcode.Output{Rungs: []transcode.Rung{{Lines: 288}}}},
			want:    mediaWant{frames: 50, rate: "25/1", also: combed(false)},
		},
		{
			name: "interlaced", file: "i.ts", long: true, args: fields("50") + "-c:v mpeg2video -q:v 2",
			want: mediaWant{frames: 75, within: 1, rate: "25/1", also: combed(false)},
		},
		{
			name: "interlaced, a frame of each field", file: "i.ts", args: fields("50") + "-c:v mpeg2video -q:v 2",
			request: transcode.Request{Output: transcode.Output{Deinterlace: transcode.DeinterlaceField}},
			want:    mediaWant{frames: 150, within: 2, rate: "50/1", also: combed(false)},
		},
		{
			name: "interlaced, left as it is", file: "i.mkv", long: true, args: fields("50") + "-c:v mpeg2video -q:v 2",
			request: transcode.Request{Output: transcode.Output{Deinterlace: transcode.DeinterlaceOff}},
			want:    mediaWant{frames: 75, within: 1, rate: "25/1", also: combed(true)},
		},
		{
			name: "telecined", file: "film.mkv",
			args: bar("160x96", "24000/1001", 5) + ",telecine -flags +ildct+ilme -c:v mpeg2video -q:v 2 -top 1",
			want: mediaWant{frames: 120, within: 2, rate: "24000/1001", also: combed(false)},
		},
		{
			name: "HDR10, tone-mapped", file: "hdr.mp4", args: hdr10,
			want: mediaWant{frames: 50, colors: "yuv420p tv bt709 bt709 bt709", note: []string{"HDR (PQ) is tone-mapped to SDR, because h264 has 8 bits here; h265 keeps it"}, also: light(150, 240)},
		},
		{
			name: "HDR10, kept", file: "hdr.mp4", args: hdr10, request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265}},
			want: mediaWant{frames: 50, colors: "yuv420p10le tv bt2020nc smpte2084 bt2020", also: graded("PQ")},
		},
		{
			name: "HDR10 in a transport stream, kept", file: "hdr.ts", long: true, args: hdr10, request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265}},
			want: mediaWant{frames: 50, within: 1, colors: "yuv420p10le tv bt2020nc smpte2084 bt2020", also: graded("PQ")},
		},
		{
			name: "HDR10 as SDR by H.265", file: "hdr.mkv", long: true, args: hdr10,
			request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265, HDR: transcode.HDRToSDR}},
			want:    mediaWant{frames: 50, colors: "yuv420p10le tv bt709 bt709 bt709", also: light(150, 240)},
		},
		{
			name: "HDR10, with options of 8 bits", file: "hdr.mp4", long: true, args: hdr10,
			request: transcode.Request{Output: transcode.Output{Format: transcode.FormatMP4, Options: strings.Fields("-c:v libx264 -preset ultrafast -pix_fmt yuv420p")}},
			want:    mediaWant{frames: 50, colors: "yuv420p tv bt709 bt709 bt709"},
		},
		{
			name: "HLG, tone-mapped", file: "hlg.mkv", long: true, args: hlg,
			want: mediaWant{frames: 50, colors: "yuv420p tv bt709 bt709 bt709", note: []string{"HDR (HLG) is tone-mapped"}},
		},
		{
			name: "HLG, kept", file: "hlg.mkv", long: true, args: hlg, request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265}},
			want: mediaWant{frames: 50, colors: "yuv420p10le tv bt2020nc arib-std-b67 bt2020"},
		},
		{
			name: "10 bits", file: "deep.mkv", long: true, args: motion(25, 2) + "-pix_fmt yuv422p10le -c:v ffv1",
			want: mediaWant{frames: 50, note: []string{"10 bits of each sample become 8; h265 keeps 10"}},
		},
		{
			name: "full range", file: "full.mp4", args: motion(25, 2) + "-c:v libx264 -preset ultrafast -pix_fmt yuvj420p",
			want: mediaWant{frames: 50, colors: "yuvj420p pc   "},
		},
		{
			name: "BT.601", file: "601.mp4", long: true, args: motion(25, 2) + "-c:v libx264 -preset ultrafast -pix_fmt yuv422p -color_primaries smpte170m -color_trc smpte170m -colorspace smpte170m",
			want: mediaWant{frames: 50, colors: "yuv420p tv smpte170m smpte170m smpte170m"},
		},
		{
			name: "BT.709 in 4:4:4", file: "444.mp4", long: true, args: motion(25, 2) + "-c:v libx264 -preset ultrafast -pix_fmt yuv444p -color_primaries bt709 -color_trc bt709 -colorspace bt709",
			want: mediaWant{frames: 50, colors: "yuv420p tv bt709 bt709 bt709"},
		},
		{
			name: "RGB", file: "rgb.mkv", long: true, args: motion(25, 2) + "-c:v ffv1 -pix_fmt gbrp",
			want: mediaWant{frames: 50, colors: "yuv420p tv bt709 bt709 bt709"},
		},
		{
			name: "nothing to decode midway", file: "damaged.mp4",
			build: func(t *testing.T, dir, file string) { blank(t, dir, file, 0.3, 0.7, motion(25, 8)+x264+"-g 1") },
			want:  mediaWant{frames: 200, rate: "25/1", seconds: 8, note: []string{"the picture stands still for 3.", "because nothing could be decoded there"}},
		},
		{
			name: "nothing to decode at the end", file: "damaged.mkv", long: true,
			build: func(t *testing.T, dir, file string) {
				blank(t, dir, "a.mp4", 0.6, 0.96, motion(25, 8)+x264+"-g 1")
				ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-i", "a.mp4", "-c", "copy", file)
			},
			want: mediaWant{frames: 200, within: 1, note: []string{"the picture stands still for 2."}},
		},
		{
			name: "two files joined", file: "join.ts",
			build: func(t *testing.T, dir, file string) {
				part := "-f lavfi -i testsrc2=s=320x180:r=25:d=2 " + x264 + "-muxdelay 0 -muxpreload 0 "
				joinFiles(t, dir, file, part, part+"-output_ts_offset 2 ")
			},
			want: mediaWant{frames: 100, rate: "25/1", size: "320x180", seconds: 4},
		},
	}
}

// motion returns the arguments for a moving picture at this rate, this many seconds long.
func motion(rate any, seconds int) string {
	return fmt.Sprintf("-f lavfi -i testsrc2=s=160x90:r=%v:d=%d ", rate, seconds)
}

// cutRecording makes a transport stream of which both ends are missing: its first key frame comes
// more than a second after its first packet.
func cutRecording(t *testing.T, dir, file string) {
	t.Helper()
	cutFile(t, dir, file, motion(25, 6)+"-f lavfi -i sine=440:d=6 "+openGOP+"-g 50 -c:a ac3", 0.05, 0.86)
}

// cutFile makes a file that begins and ends at these shares of another one.
func cutFile(t *testing.T, dir, file, args string, from, to float64) {
	t.Helper()
	whole, err := os.ReadFile(makeSource(t, file, args))
	if err != nil {
		t.Fatal(err)
	}
	size := float64(len(whole))
	if err := os.WriteFile(filepath.Join(dir, file), whole[int(from*size):int(to*size)], 0o644); err != nil {
		t.Fatal(err)
	}
}

// losePackets makes a transport stream of which every tenth packet is lost, but for
// its first hundred.
func losePackets(t *testing.T, dir, file, args string) {
	t.Helper()
	const size = 188
	whole, err := os.ReadFile(makeSource(t, file, args))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewSource(1))
	var left []byte
	for i := 0; i+size <= len(whole); i += size {
		if i < 100*size || random.Intn(10) > 0 {
			left = append(left, whole[i:i+size]...)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, file), left, 0o644); err != nil {
		t.Fatal(err)
	}
}

// blank makes a file of which a part, in shares of its length, is overwritten with
// zeros.
func blank(t *testing.T, dir, file string, from, to float64, args string) {
	t.Helper()
	data, err := os.ReadFile(makeSource(t, file, args))
	if err != nil {
		t.Fatal(err)
	}
	clear(data[int(from*float64(len(data))):int(to*float64(len(data)))])
	if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// joinFiles appends the files that ffmpeg makes by each args to one another, as cat
// does.
func joinFiles(t *testing.T, dir, file string, args ...string) {
	t.Helper()
	var all []byte
	for _, a := range args {
		data, err := os.ReadFile(makeSource(t, "part"+filepath.Ext(file), a))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	if err := os.WriteFile(filepath.Join(dir, file), all, 0o644); err != nil {
		t.Fatal(err)
	}
}

const x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p "

// part returns the arguments for four seconds of transport stream whose time stamps
// begin at this second.
func part(offset int) string {
	return motion(25, 4) + "-f lavfi -i sine=440:d=4 " + x264 + "-c:a aac -muxdelay 0 -muxpreload 0 -output_ts_offset " + strconv.Itoa(offset)
}

// followsOn makes sure that the picture moves on at every frame: none stands for one
// that is missing.
func followsOn(t *testing.T, o mediaOutput) {
	t.Helper()
	out := ffmpegRun(t, ".", "ffmpeg", "-v", "info", "-nostats", "-i", o.video, "-map", "0:v", "-vf", "mpdecimate=hi=1:lo=1:frac=0,showinfo=checksum=0", "-f", "null", "-")
	if n := strings.Count(out, " pts_time:"); n < len(o.frames)-2 {
		t.Errorf("%s: %d of %d frames differ from the one before", o.video, n, len(o.frames))
	}
}

// bitsOf makes sure that the video has about this bitrate.
func bitsOf(want float64) func(*testing.T, mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		out := ffmpegRun(t, ".", "ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=size", "-of", "csv=p=0", o.video)
		bits := 0.0
		for line := range strings.Lines(out) {
			bits += 8 * number(strings.Trim(line, ",\n"))
		}
		if got := bits / 3; got < 0.8*want || got > 1.2*want {
			t.Errorf("%s: %.0f b/s; want %.0f", o.video, got, want)
		}
	}
}

// shaped returns the arguments for three seconds of a white picture of a size, as a
// transport stream that begins at this second.
func shaped(size string, offset int) string {
	return "-f lavfi -i color=white:s=" + size + ":r=25:d=3 " + x264 + "-muxdelay 0 -muxpreload 0 -output_ts_offset " + strconv.Itoa(offset)
}

// hdr10 are the arguments for two seconds of grey at about 200 cd/m² in HDR10, and hlg
// for the same in HLG.
const (
	hdr10 = "-f lavfi -i color=0x959595:s=160x90:r=25:d=2 -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -tag:v hvc1 " +
		"-x265-params log-level=none:hdr10=1:repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:" +
		"master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400 " + hdrTags + "-color_trc smpte2084"
	hlg = "-f lavfi -i color=0xc0c0c0:s=160x90:r=25:d=2 -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -tag:v hvc1 " +
		"-x265-params log-level=none " + hdrTags + "-color_trc arib-std-b67"
	hdrTags = "-color_primaries bt2020 -colorspace bt2020nc "
)

// light makes sure that a grey picture is about so bright.
func light(least, most int) func(*testing.T, mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		out := ffmpegRun(t, ".", "ffmpeg", "-v", "error", "-i", o.video, "-map", "0:v", "-vf", "format=yuv420p", "-frames:v", "1", "-f", "rawvideo", "-")
		if luma := int(out[0]); luma < least || luma > most {
			t.Errorf("%s: grey of %d; want %d to %d", o.video, luma, least, most)
		}
	}
}

// graded makes sure that the master playlist names HDR, and every segment the display
// for which it was graded.
func graded(videoRange string) func(*testing.T, mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		out := ffmpegRun(t, ".", "ffprobe", "-v", "error", "-select_streams", "v:0", "-read_intervals", "%+#1", "-show_frames", o.video)
		for _, want := range []string{"max_content=1000", "max_average=400", "max_luminance=10000000/10000", "green_x=13250/50000"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %s in its first frame", o.video, want)
			}
		}
		if o.job.Request.IsFile() {
			return
		}
		master, err := os.ReadFile(o.entry)
		if err != nil || !strings.Contains(string(master), ",VIDEO-RANGE="+videoRange) {
			t.Errorf("%s: %v; want VIDEO-RANGE=%s in it:\n%s", o.entry, err, videoRange, master)
		}
	}
}

// fields returns the arguments for three seconds of fields at this rate.
func fields(rate string) string {
	return bar("160x96", rate, 3) + ",tinterlace=interleave_top -flags +ildct+ilme -top 1 "
}

// bars makes sure that a white picture has black bars so wide at its sides, and so
// high above and below, at this second.
func bars(second, side, above int) func(*testing.T, mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		f := o.frames[0]
		out := ffmpegRun(t, ".", "ffmpeg", "-v", "error", "-i", o.video, "-map", "0:v",
			"-vf", "select='gte(n,"+strconv.Itoa(25*second)+")',format=gray", "-frames:v", "1", "-f", "rawvideo", "-")
		if len(out) != f.Width*f.Height {
			t.Fatalf("%s: a picture of %d bytes; want %dx%d", o.video, len(out), f.Width, f.Height)
		}
		black := func(x, y int) bool { return out[y*f.Width+x] < 100 }
		gotSide, gotAbove := 0, 0
		for gotSide < f.Width/2 && black(gotSide, f.Height/2) && black(f.Width-1-gotSide, f.Height/2) {
			gotSide++
		}
		for gotAbove < f.Height/2 && black(f.Width/2, gotAbove) && black(f.Width/2, f.Height-1-gotAbove) {
			gotAbove++
		}
		if gotSide < side-1 || gotSide > side+1 || gotAbove < above-1 || gotAbove > above+1 {
			t.Errorf("%s: bars of %d and %d; want %d and %d", o.video, gotSide, gotAbove, side, above)
		}
	}
}

// combed makes sure that frames of a moving bar are, or are not, made of two moments
// each: lines then differ from those above and below.
func combed(want bool) func(*testing.T, mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		w, h := o.frames[0].Width, o.frames[0].Height
		out := ffmpegRun(t, ".", "ffmpeg", "-v", "error", "-i", o.video, "-map", "0:v", "-vf", "format=gray", "-f", "rawvideo", "-")
		n := 0
		for frame := 0; (frame+1)*w*h <= len(out); frame++ {
			if isCombed(out[frame*w*h:(frame+1)*w*h], w) {
				n++
			}
		}
		if (n > len(o.frames)/4) != want || !want && n > 3 {
			t.Errorf("%s: %d of %d frames are combed; want that: %t", o.video, n, len(o.frames), want)
		}
	}
}

func isCombed(gray string, width int) bool {
	n := 0
	for i := width; i+width < len(gray); i++ {
		above, below := int(gray[i])-int(gray[i-width]), int(gray[i])-int(gray[i+width])
		if above > 60 && below > 60 || above < -60 && below < -60 {
			n++
		}
	}
	return n > len(gray)/200
}

// bar returns the arguments for a vertical bar that moves at this rate.
func bar(size, rate string, seconds int) string {
	return fmt.Sprintf("-f lavfi -i color=black:s=%s:r=%s:d=%d,geq=lum='if(lt(abs(X-mod(N*4,W)),W/10),235,16)':cb=128:cr=128", size, rate, seconds)
}
