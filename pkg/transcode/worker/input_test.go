package worker

import (
	"path/filepath"
	"testing"

	"pibootd/pkg/transcode"
)

// inputRows are sources that are read with input options.
func inputRows() []mediaRow {
	const film = gradients + "-f lavfi -i sine=440:d=10 "
	window := func(o transcode.Output, words ...string) transcode.Request {
		o.InputOptions = words
		return transcode.Request{Output: o}
	}
	return []mediaRow{
		{
			name: "input from 3.3 s", file: "a.mp4", args: "-f lavfi -i testsrc2=s=320x180:r=10:d=10 -f lavfi -i sine=440:d=10 " + x264 + "-g 20 -c:a aac",
			request: window(transcode.Output{}, "-ss", "3.3", "-t", "4"), want: mediaWant{frames: 40, seconds: 4, also: likeWindow(3.3)},
		},
		{
			name: "input to 4 s of a transport stream", file: "a.ts", args: film + x264 + "-g 20 -c:a aac", long: true,
			request: window(transcode.Output{}, "-to", "4"), want: mediaWant{frames: 40, within: 1, seconds: 4},
		},
		{
			name: "input from 1 s with subtitles", file: "a.mkv", build: subtitledBy("srt"), request: window(transcode.Output{}, "-ss", "1"),
			want: mediaWant{frames: 50, also: hasTracks("video", "subtitle de", "subtitle en")},
		},
		{
			name: "input from 4 s, burnt", file: "a.mkv", build: burntSource("srt", burntCues),
			request: window(transcode.Output{BurnSubtitles: "de"}, "-ss", "4"),
			want:    mediaWant{frames: 60, also: likePlain("subtitles=%s,trim=start=4")},
		},
		{
			name: "input from 4 s, burnt PGS", file: "a.mkv", build: burntSource("copy", ""), long: true,
			request: window(transcode.Output{BurnSubtitles: "de"}, "-ss", "4"),
			want:    mediaWant{frames: 60, also: likePlain(overPicture + ",trim=start=4")},
		},
		{
			name: "input of another rate", file: "raw.h264", args: motion(25, 4) + x264, request: window(transcode.Output{}, "-r", "50"),
			want: mediaWant{frames: 100, rate: "50/1", seconds: 2},
		},
		{
			name: "input of another rate that has one", file: "a.mp4", args: motion(25, 1) + x264, request: window(transcode.Output{}, "-r", "50"),
			want: mediaWant{fails: "-r before the input is for video without time stamps"},
		},
		{
			name: "input after its end", file: "a.mp4", args: motion(25, 1) + x264, request: window(transcode.Output{}, "-ss", "5"),
			want: mediaWant{fails: "it is 1.0 s long, and -ss leaves out 5.0"},
		},
		{
			name: "input in one go", file: "a.mp4", args: film + x264 + "-c:a aac", long: true,
			request: window(transcode.Output{Format: transcode.FormatMP4, Options: []string{"-c:v", "libx264", "-pass", "2", "-b:v", "300k"}}, "-ss", "3", "-t", "4"),
			want:    mediaWant{frames: 40, seconds: 4, note: []string{"one worker does the whole video"}},
		},
	}
}

// likeWindow compares each frame with those of the source from a time on.
func likeWindow(from float64) func(t *testing.T, o mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		plain := filepath.Join(t.TempDir(), "plain.mkv")
		ffmpegRun(t, "", "ffmpeg", "-v", "error", "-ss", seconds(from), "-i", o.source, "-an", "-c:v", "ffv1", plain)
		compareFrames(t, o.video, plain, len(o.frames), 0.85)
	}
}

// Subtitles follow what is left out at the beginning, in streams and in files.
func TestInputOfText(t *testing.T) {
	t.Parallel()
	for _, format := range []transcode.Format{transcode.FormatHLS, transcode.FormatMKV} {
		j := transcodeAll(t, subtitled(t, "a.mkv", "srt"), transcode.Request{
			SegmentSeconds: 1, Output: transcode.Output{Format: format, InputOptions: []string{"-ss", "1"}},
		}, 0)
		text := filepath.Join(j.dir, "subtitles-1", "00000.vtt")
		if format == transcode.FormatMKV {
			text = filepath.Join(j.dir, j.file().Name)
		}
		got := ffprobeOf(t, text, "s:0", "packet=pts_time")
		// Sound may begin a little before the video, and the source with it.
		if len(got) != 1 || number(got[0]) < 0.5 || number(got[0]) > 0.56 {
			t.Errorf("%s: cues at %q; want one at 0.5 s", format, got)
		}
	}
}
