package worker

import (
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// shortPicture and beep are the inputs of a short source.
const (
	shortPicture = "-f lavfi -i testsrc2=s=320x180:r=25:d=2 "
	beep         = "-f lavfi -i sine=440:d=2 "
)

// oddRows are sources of kinds that are rare, or at the limits of what is a video.
func oddRows() []mediaRow {
	film := mediaWant{frames: 50, rate: "25/1", size: "320x180"}
	withAudio := film
	withAudio.tracks = []string{"video h264", "audio aac"}
	return []mediaRow{
		{name: "odd one frame", file: "a.mp4", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25 -frames:v 1 " + x264, want: mediaWant{frames: 1, size: "320x180"}},
		{name: "odd two frames", file: "a.mkv", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=10:d=0.2 " + x264, want: mediaWant{frames: 2, rate: "10/1"}},
		{name: "odd audio longer", file: "a.mp4", args: shortPicture + "-f lavfi -i sine=440:d=7 " + x264 + "-c:a aac", want: mediaWant{frames: 50, tracks: withAudio.tracks, note: []string{"the video ends 5.0 s before the sound"}}},
		{name: "odd video longer", file: "a.mp4", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25:d=7 " + "-f lavfi -i sine=440:d=1 " + x264 + "-c:a aac", want: mediaWant{frames: 175, tracks: withAudio.tracks}},
		{name: "odd grey", file: "a.mkv", long: true, args: shortPicture + "-c:v ffv1 -pix_fmt gray", want: film},
		{name: "odd grey 16 bits", file: "a.mkv", args: shortPicture + "-c:v ffv1 -pix_fmt gray16le", want: mediaWant{frames: 50, size: film.size, note: []string{"16 bits of each sample become 8"}}},
		{name: "odd alpha", file: "a.mov", long: true, args: shortPicture + "-c:v qtrle -pix_fmt argb", want: mediaWant{frames: 50, size: film.size, note: []string{"its transparency is not in the output"}}},
		{name: "odd ProRes 4444", file: "a.mov", long: true, args: shortPicture + beep + "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le -c:a pcm_s16le", want: mediaWant{frames: 50, note: []string{"its transparency is not in the output", "bits of each sample become 8"}}},
		{name: "odd PNG of 16 bits", file: "a.mov", long: true, args: shortPicture + "-c:v png -pix_fmt rgb48be", want: mediaWant{frames: 50, note: []string{"16 bits of each sample become 8"}}},
		{name: "odd interlaced ProRes", file: "a.mov", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=50:d=2,tinterlace=interleave_top -flags +ildct+ilme -c:v prores_ks -top 1", want: mediaWant{frames: 50, within: 1, rate: "25/1", note: []string{"10 bits of each sample become 8"}}},
		{name: "odd interlaced H.264", file: "a.ts", long: true, args: "-f lavfi -i testsrc2=s=320x192:r=50:d=3,tinterlace=interleave_top " + x264 + "-flags +ildct+ilme -x264opts tff=1", want: mediaWant{frames: 75, within: 1, rate: "25/1"}},
		{name: "odd 192 kHz", file: "a.mkv", long: true, args: shortPicture + "-f lavfi -i sine=440:r=192000:d=2 " + x264 + "-c:a flac", want: withAudio},
		{name: "odd 3.1", file: "a.mkv", long: true, args: shortPicture + "-f lavfi -i aevalsrc=sin(440*t)|sin(550*t)|sin(660*t)|sin(80*t):c=3.1:d=2 " + x264 + "-c:a flac", want: mediaWant{frames: 50}},
		{name: "odd AMR", file: "a.3gp", build: speechSource("#!AMR\n", 0x3c, 31), want: withAudio},
		{name: "odd wideband AMR", file: "a.3gp", long: true, build: speechSource("#!AMR-WB\n", 0x44, 60), want: withAudio},
		{name: "odd AMR alone", file: "a.amr", long: true, build: speech("#!AMR\n", 0x3c, 31), request: transcode.Request{Output: transcode.Output{Format: transcode.FormatHLS}}, want: mediaWant{seconds: 2, tracks: []string{"audio aac"}}},
		{name: "odd font", file: "a.mkv", long: true, build: withFont, want: mediaWant{frames: 50, note: []string{"1 of attachments, such as fonts"}}},
		{name: "odd sparse FLV", file: "a.flv", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25:d=3,select=lt(n\\,2)+gt(n\\,60) -f lavfi -i sine=440:d=3 -fps_mode vfr -ar 44100 " + x264 + "-c:a aac", want: mediaWant{frames: 75, within: 2, rate: "25/1"}},
		{name: "odd two videos", file: "a.mov", long: true, args: shortPicture + "-f lavfi -i testsrc2=s=80x60:r=25:d=2 -map 0 -map 1 " + x264, want: mediaWant{frames: 50, size: film.size, note: []string{"the other video of the source, 80x60 of 2.0 s"}}},
		{name: "odd VP9 with hidden frames", file: "a.webm", long: true, args: hiddenFrames, want: mediaWant{frames: 75, within: 1, rate: "25/1", seconds: 3}},
		{name: "odd VP9 in MP4", file: "a.mp4", long: true, build: copied("a.webm", hiddenFrames, ""), want: mediaWant{frames: 75, rate: "25/1", seconds: 3}},
		{name: "odd VP9 in IVF", file: "a.ivf", long: true, build: copied("a.webm", hiddenFrames, ""), want: mediaWant{frames: 75, rate: "25/1", seconds: 3}},
		{name: "odd AV1 with hidden frames", file: "a.mp4", long: true, args: hiddenAV1, want: mediaWant{frames: 50, rate: "25/1"}},
		{name: "odd AV1 in IVF", file: "a.ivf", long: true, args: hiddenAV1, want: mediaWant{frames: 50, rate: "25/1"}},
		{name: "odd raw AV1", file: "a.obu", long: true, args: hiddenAV1, want: mediaWant{frames: 50, rate: "25/1"}},
		{name: "odd edit list from the middle", file: "a.mp4", long: true, build: copied("b.mp4", edited, "-ss 1.1"), want: mediaWant{frames: 47, within: 2, rate: "25/1"}},
		{name: "odd edit list before zero", file: "a.mp4", long: true, build: copied("b.mp4", edited, "-itsoffset -0.7"), want: mediaWant{frames: 57, within: 2, rate: "25/1"}},
		{name: "odd WebM with alpha", file: "a.webm", long: true, args: shortPicture + beep + "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuva420p -c:a libopus", want: withAudio},
		{name: "odd rotated", file: "a.mp4", build: rotatedSource, want: mediaWant{frames: 50, rate: "25/1", size: "180x320"}},
		{name: "odd size", file: "a.mkv", args: "-f lavfi -i testsrc2=s=321x181:r=25:d=2 -c:v ffv1 -pix_fmt yuv444p", want: mediaWant{frames: 50, rate: "25/1"}},
		{name: "odd huge GOP", file: "a.mp4", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25:d=8 " + x264 + "-g 9999 -sc_threshold 0", want: mediaWant{frames: 200, rate: "25/1"}},
		{name: "odd intra refresh", file: "a.ts", args: "-f lavfi -i testsrc2=s=320x180:r=25:d=8 " + x264 + "-x264-params intra-refresh=1:keyint=50", want: mediaWant{frames: 200, within: 1, rate: "25/1"}},
		{name: "odd time code", file: "a.mov", args: shortPicture + beep + x264 + "-c:a aac -timecode 01:00:00:00", want: mediaWant{frames: 50, tracks: withAudio.tracks, note: []string{"1 of data"}}},
		{name: "odd fragments", file: "a.mp4", long: true, args: shortPicture + beep + x264 + "-g 10 -c:a aac -movflags frag_keyframe+empty_moov", want: mediaWant{frames: 50, within: 1, tracks: withAudio.tracks}},
		{name: "odd AVI with B-frames", file: "a.avi", long: true, args: shortPicture + beep + "-c:v mpeg4 -bf 2 -c:a libmp3lame", want: mediaWant{frames: 50, within: 1, rate: "25/1"}},
		{name: "odd Xvid", file: "a.avi", long: true, args: shortPicture + beep + "-c:v libxvid -bf 2 -c:a libmp3lame", want: mediaWant{frames: 50, within: 1}},
		{name: "odd FLV", file: "a.flv", long: true, args: shortPicture + beep + "-c:v flv1 -ar 44100 -c:a libmp3lame", want: mediaWant{frames: 50, within: 1, rate: "25/1"}},
		{name: "odd FLV of H.264", file: "a.flv", long: true, args: shortPicture + beep + x264 + "-c:a aac", want: mediaWant{frames: 50, within: 1, rate: "25/1"}},
		{name: "odd program stream", file: "a.mpg", long: true, args: shortPicture + beep + "-c:v mpeg2video -c:a mp2", want: mediaWant{frames: 50, within: 1, rate: "25/1"}},
		{name: "odd program stream with gaps", file: "a.mpg", long: true, build: gappedSource, want: mediaWant{frames: 200, within: 25, rate: "25/1"}},
		{name: "odd GIF", file: "a.gif", args: "-f lavfi -i testsrc2=s=320x180:r=10:d=2", want: mediaWant{frames: 20, rate: "10/1"}},
		{name: "odd APNG", file: "a.apng", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=10:d=2 -f apng", want: mediaWant{frames: 20, within: 1, rate: "10/1"}},
		{name: "odd MJPEG", file: "a.avi", long: true, args: shortPicture + beep + "-c:v mjpeg -c:a pcm_s16le", want: mediaWant{frames: 50, rate: "25/1"}},
		{name: "odd WMV", file: "a.wmv", long: true, args: shortPicture + beep + "-c:v wmv2 -c:a wmav2", want: mediaWant{frames: 50, within: 1, rate: "25/1"}},
		{name: "odd 3GP", file: "a.3gp", long: true, args: "-f lavfi -i testsrc2=s=176x144:r=15:d=2 " + beep + "-c:v h263 -c:a aac -ar 16000 -ac 1", want: mediaWant{frames: 30, rate: "15/1"}},
		{name: "odd Theora", file: "a.ogv", long: true, args: shortPicture + beep + "-c:v libtheora -c:a libvorbis", want: mediaWant{frames: 50, rate: "25/1"}},
		{name: "odd ProRes", file: "a.mov", long: true, args: shortPicture + beep + "-c:v prores_ks -pix_fmt yuv422p10le -c:a pcm_s24le", want: mediaWant{frames: 50, rate: "25/1", note: []string{"10 bits of each sample become 8"}}},
		{name: "odd MXF", file: "a.mxf", long: true, args: "-f lavfi -i testsrc2=s=720x576:r=25:d=1 -f lavfi -i sine=440:r=48000:d=1 -c:v mpeg2video -pix_fmt yuv422p -b:v 50M -c:a pcm_s16le", want: mediaWant{frames: 25, rate: "25/1"}},
		{name: "odd raw pictures", file: "a.y4m", long: true, args: shortPicture + "-pix_fmt yuv420p", want: film},
		{name: "odd NUT", file: "a.nut", long: true, args: shortPicture + beep + x264 + "-c:a flac", want: withAudio},
		{name: "odd one frame a second", file: "a.mp4", args: "-f lavfi -i testsrc2=s=320x180:r=1:d=5 " + x264, want: mediaWant{frames: 5, rate: "1/1"}},
		{name: "odd sample rate", file: "a.mkv", long: true, args: shortPicture + "-f lavfi -i sine=440:r=96000:d=2 " + x264 + "-c:a flac", want: withAudio},
		{name: "odd phone call", file: "a.mkv", long: true, args: shortPicture + "-f lavfi -i sine=440:r=8000:d=2 " + x264 + "-c:a pcm_mulaw", want: withAudio},
		{name: "odd late audio", file: "a.mkv", long: true, args: shortPicture + "-itsoffset 1 -f lavfi -i sine=440:d=1 " + x264 + "-c:a aac", want: withAudio},
		{name: "odd picture", file: "a.png", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25 -frames:v 1", want: mediaWant{frames: 1}},
		{name: "odd photograph", file: "a.jpg", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25 -frames:v 1", want: mediaWant{frames: 1}},
		{name: "odd wide", file: "a.mkv", long: true, args: "-f lavfi -i testsrc2=s=8192x64:r=5:d=1 -c:v ffv1", want: mediaWant{frames: 5}},
		{name: "odd too wide", file: "a.mkv", long: true, args: "-f lavfi -i color=s=8300x64:d=0.1 -c:v ffv1", want: mediaWant{fails: "its picture is 8300x64"}},
		{name: "odd tiny", file: "a.mkv", long: true, args: "-f lavfi -i testsrc2=s=16x16:r=25:d=2 -c:v ffv1", want: mediaWant{frames: 50, size: "16x16"}},
		{name: "odd AVI that is cut short", file: "a.avi", build: cutShort("-c:v mpeg4 -c:a mp3"), want: mediaWant{fails: "it ends after 3."}},
		{name: "odd WMV that is cut short", file: "a.wmv", long: true, build: cutShort("-c:v wmv2 -c:a wmav2"), want: mediaWant{fails: "it ends after 3."}},
		{name: "odd FLV that is cut short", file: "a.flv", long: true, build: cutShort(x264 + "-c:a aac -ar 44100"), want: mediaWant{fails: "it ends after 3."}},
		{name: "odd Matroska that is cut short", file: "a.mkv", long: true, build: cutShort(x264 + "-c:a aac"), want: mediaWant{fails: "it ends after 3."}},
		{name: "odd MP4 that is cut short", file: "a.mp4", long: true, build: cutShort(x264 + "-c:a aac"), want: mediaWant{fails: "it has no index, as an MP4 file that was cut short"}},
		{name: "odd rate of 30.3", file: "a.mp4", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=1000/33:d=2 " + x264, want: mediaWant{frames: 61, rate: "1000/33"}},
		{name: "odd MP4 with a timecode", file: "a.mov", long: true, args: shortPicture + beep + x264 + "-c:a aac -timecode 01:00:00:00", want: mediaWant{frames: 50, rate: "25/1", note: []string{"not in the output: streams of the source, 1 of data"}}},
		{name: "odd two programs", file: "a.ts", long: true, args: shortPicture + "-f lavfi -i testsrc=s=160x90:r=25:d=2 " + beep + "-map 0 -map 1 -map 2 " + x264 + "-c:a aac -program st=0:st=2 -program st=1", want: mediaWant{frames: 50, within: 1, size: "320x180", note: []string{"the other video of the source, 160x90"}}},
		{name: "odd transparent WebM", file: "a.webm", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25:d=2,format=yuva420p -c:v libvpx-vp9 -auto-alt-ref 0 -deadline realtime -cpu-used 8", want: mediaWant{frames: 50, size: "320x180", note: []string{"its transparency is not in the output"}}},
		{name: "odd one pixel", file: "a.mkv", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25:d=1,scale=1:1,setsar=1,format=yuv444p -c:v ffv1", want: mediaWant{fails: "its picture is 1x1; want 16 to 8192 on each side"}},
		{name: "odd playlist", file: "a.mp4", build: playlistSource, want: mediaWant{fails: "not a video"}},
		{name: "odd empty sound", file: "a.mkv", long: true, args: shortPicture + "-f lavfi -i sine=d=2 " + x264 + "-c:a aac -frames:a 0", want: film},
	}
}

const (
	// hiddenFrames and hiddenAV1 have frames that are decoded, but not shown.
	hiddenFrames = "-f lavfi -i testsrc2=s=160x90:r=25:d=3 -c:v libvpx-vp9 -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 16"
	hiddenAV1    = "-f lavfi -i testsrc2=s=160x90:r=25:d=2 -c:v libaom-av1 -cpu-used 8 -lag-in-frames 19"
	edited       = "-f lavfi -i testsrc2=s=160x90:r=25:d=3 -f lavfi -i sine=440:d=3 " + x264 + "-bf 2 -c:a aac"
)

// copied makes a file of the packets of another one.
func copied(from, args, seek string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		command := append([]string{"-v", "error"}, strings.Fields(seek)...)
		ffmpegRun(t, dir, "ffmpeg", append(command, "-i", makeSource(t, from, args), "-c", "copy", file)...)
	}
}

// withFont makes a film to which a font is attached.
func withFont(t *testing.T, dir, file string) {
	font := written(t, "a.ttf", "no font")
	moveSource(t, makeSource(t, file, shortPicture+x264+"-attach "+font+" -metadata:s:t mimetype=application/x-truetype-font"), dir)
}

// rotatedSource makes a film whose header says that it is shown turned.
func rotatedSource(t *testing.T, dir, file string) {
	plain := makeSource(t, "plain.mp4", shortPicture+x264)
	ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-i", plain, "-c", "copy", "-metadata:s:v:0", "rotate=90", file)
}

// gappedSource makes a program stream in which a tenth of a second is missing here
// and there.
func gappedSource(t *testing.T, dir, file string) {
	data, err := os.ReadFile(makeSource(t, "plain.mpg", "-f lavfi -i testsrc2=s=320x180:r=25:d=8 -f lavfi -i sine=440:d=8 -c:v mpeg2video -g 12 -c:a mp2"))
	if err != nil {
		t.Fatal(err)
	}
	var gapped []byte
	for i := 0; i+100_000 < len(data); i += 100_000 {
		gapped = append(gapped, data[i:i+98_000]...)
	}
	if err := os.WriteFile(filepath.Join(dir, file), gapped, 0o644); err != nil {
		t.Fatal(err)
	}
}

// cutShort makes a film of six seconds of which the last two fifths are missing.
func cutShort(codecs string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		source := makeSource(t, file, "-f lavfi -i testsrc2=s=320x180:r=25:d=6 -f lavfi -i sine=440:d=6 "+codecs)
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data[:len(data)*3/5], 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// playlistSource makes a playlist by the name of a film.
func playlistSource(t *testing.T, dir, file string) {
	text := "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n/etc/hostname\n#EXT-X-ENDLIST\n"
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// speech makes 2 s of AMR, which ffmpeg can only decode: frames of one mode (RFC 4867 §5) with
// any bits, which sound like noise.
func speech(magic string, mode byte, size int) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		t.Helper()
		data, random := []byte(magic), rand.New(rand.NewSource(1))
		for range 2 * 50 {
			frame := make([]byte, size)
			random.Read(frame)
			data = append(append(data, mode), frame...)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// speechSource makes what phones record: H.264 with AMR.
func speechSource(magic string, mode byte, size int) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		t.Helper()
		speech(magic, mode, size)(t, dir, "speech.amr")
		args := "-v error " + shortPicture + "-i speech.amr " + x264 + "-c:a copy " + file
		ffmpegRun(t, dir, "ffmpeg", strings.Fields(args)...)
	}
}
