package worker

import (
	"os"
	"path/filepath"
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
		{name: "odd one frame with sound, TS", file: "a.mp4", request: transcode.Request{Output: transcode.Output{Container: transcode.ContainerTS}}, args: "-f lavfi -i testsrc2=s=320x180:r=25:d=0.04 -f lavfi -i sine=440:d=0.04 " + x264 + "-c:a aac", want: mediaWant{frames: 1}},
		{name: "odd two frames", file: "a.mkv", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=10:d=0.2 " + x264, want: mediaWant{frames: 2, rate: "10/1"}},
		{name: "odd audio longer", file: "a.mp4", args: shortPicture + "-f lavfi -i sine=440:d=7 " + x264 + "-c:a aac", want: mediaWant{frames: 50, tracks: withAudio.tracks, note: []string{"the video ends 5.0 s before the sound"}}},
		{name: "odd video longer", file: "a.mp4", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25:d=7 " + "-f lavfi -i sine=440:d=1 " + x264 + "-c:a aac", want: mediaWant{frames: 175, tracks: withAudio.tracks}},
		{name: "odd grey", file: "a.mkv", long: true, args: shortPicture + "-c:v ffv1 -pix_fmt gray", want: film},
		{name: "odd grey 16 bits", file: "a.mkv", args: shortPicture + "-c:v ffv1 -pix_fmt gray16le", want: mediaWant{frames: 50, size: film.size, note: []string{"16 bits of each sample become 8"}}},
		{name: "odd alpha", file: "a.mov", long: true, args: shortPicture + "-c:v qtrle -pix_fmt argb", want: film},
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
		{name: "odd one frame a second", file: "a.mp4", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=1:d=5 " + x264, want: mediaWant{frames: 5, rate: "1/1"}},
		{name: "odd sample rate", file: "a.mkv", long: true, args: shortPicture + "-f lavfi -i sine=440:r=96000:d=2 " + x264 + "-c:a flac", want: withAudio},
		{name: "odd phone call", file: "a.mkv", long: true, args: shortPicture + "-f lavfi -i sine=440:r=8000:d=2 " + x264 + "-c:a pcm_mulaw", want: withAudio},
		{name: "odd late audio", file: "a.mkv", long: true, args: shortPicture + "-itsoffset 1 -f lavfi -i sine=440:d=1 " + x264 + "-c:a aac", want: withAudio},
		{name: "odd picture", file: "a.png", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25 -frames:v 1", want: mediaWant{frames: 1}},
		{name: "odd photograph", file: "a.jpg", long: true, args: "-f lavfi -i testsrc2=s=320x180:r=25 -frames:v 1", want: mediaWant{frames: 1}},
		{name: "odd wide", file: "a.mkv", long: true, args: "-f lavfi -i testsrc2=s=8192x64:r=5:d=1 -c:v ffv1", want: mediaWant{frames: 5}},
		{name: "odd too wide", file: "a.mkv", long: true, args: "-f lavfi -i color=s=8300x64:d=0.1 -c:v ffv1", want: mediaWant{fails: "its picture is 8300x64"}},
		{name: "odd tiny", file: "a.mkv", long: true, args: "-f lavfi -i testsrc2=s=16x16:r=25:d=2 -c:v ffv1", want: mediaWant{frames: 50, size: "16x16"}},
		{name: "odd playlist", file: "a.mp4", build: playlistSource, want: mediaWant{fails: "not a video"}},
		{name: "odd empty sound", file: "a.mkv", long: true, args: shortPicture + "-f lavfi -i sine=d=2 " + x264 + "-c:a aac -frames:a 0", want: film},
	}
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

// playlistSource makes a playlist by the name of a film.
func playlistSource(t *testing.T, dir, file string) {
	text := "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n/etc/hostname\n#EXT-X-ENDLIST\n"
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
