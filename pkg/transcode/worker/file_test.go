package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/transcode"
)

// A file that is joined from units has every frame and all of the sound; so has
// one that was made whole.
func TestTranscodeToFile(t *testing.T) {
	const clip = video + sound + openGOP + "-c:a aac"
	tests := []struct {
		name    string
		format  transcode.Format
		options string
		codec   string
		sizes   [2]int
		note    string
	}{
		{"MP4", transcode.FormatMP4, "", "h264", [2]int{192, 128}, ""},
		{"MKV", transcode.FormatMKV, "", "h264", [2]int{192, 128}, ""},
		{"options", transcode.FormatMP4, "-c:v mpeg4 -q:v 5 -metadata title=X", "mpeg4", [2]int{192, 128}, ""},
		{"filter", transcode.FormatMKV, "-c:v libx264 -preset ultrafast -crf 30 -vf scale=-2:64,hflip -an", "h264", [2]int{96, 64}, ""},
		{"whole", transcode.FormatMP4, "-c:v libx264 -preset ultrafast -vf hqdn3d", "h264", [2]int{192, 128}, "one worker does the whole video: filter hqdn3d looks at more than one frame"},
		{"two passes", transcode.FormatMKV, "-c:v libx264 -preset ultrafast -b:v 200k -pass 2", "h264", [2]int{192, 128}, "one worker does the whole video: two passes need the whole video"},
		{"two passes by the usual encoder", transcode.FormatMP4, "-b:v 200k -pass 2", "h264", [2]int{192, 128}, "one worker does the whole video: two passes need the whole video"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := makeSource(t, "a.mp4", clip)
			request := transcode.Request{SegmentSeconds: 1, Output: transcode.Output{Format: tt.format, Options: strings.Fields(tt.options)}}
			j := transcodeAll(t, source, request, 2)
			if j.plan.Note != tt.note {
				t.Errorf("note %q; want %q", j.plan.Note, tt.note)
			}
			file := j.file()
			if file.Video.Codec != tt.codec || file.Video.Frames != 150 {
				t.Errorf("video = %+v; want 150 frames of %s", file.Video, tt.codec)
			}
			if muted := strings.Contains(tt.options, "-an"); (file.Audio == nil) != muted {
				t.Errorf("audio = %+v; want none: %v", file.Audio, muted)
			}
			if a := file.Audio; a != nil && tt.note == "" && math.Abs(a.EndSeconds-file.Video.StartSeconds-5) > transcode.AudioSeconds(1)+0.001 {
				t.Errorf("audio ends at %v; want 5 s within one frame", a.EndSeconds)
			}
			j.verifyFile(file.Name, tt.sizes)
		})
	}
}

// file returns the proof of the job's file.
func (j *job) file() transcode.File {
	j.Helper()
	for _, r := range j.results {
		if r.File != nil {
			return *r.File
		}
	}
	j.Fatal("there is no file")
	return transcode.File{}
}

// verifyFile decodes a file and looks at its frames one by one.
func (j *job) verifyFile(name string, sizes [2]int) {
	j.Helper()
	times := j.frames(name)
	if len(times) != 150 {
		j.Fatalf("%d frames decoded; want 150", len(times))
	}
	for i, at := range times {
		if want := times[0] + float64(i)/30; math.Abs(at-want) > 0.0015 || times[0] > transcode.AudioSeconds(1)+0.001 {
			j.Fatalf("frame %d at %v; want %v", i, at, want)
		}
	}
	out := ffmpegRun(j.T, j.dir, "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=width,height:format_tags=title", "-of", "csv=p=0", name)
	if want := strings.TrimSpace(strings.Split(out, "\n")[0]); want != size(sizes) {
		j.Errorf("picture %s; want %s", want, size(sizes))
	}
	if len(j.plan.Output.Options) > 5 && j.plan.Output.Options[4] == "-metadata" && !strings.Contains(out, "X") {
		j.Errorf("%q has no title", out)
	}
	ffmpegRun(j.T, j.dir, "ffmpeg", "-v", "error", "-xerror", "-i", filepath.Join(j.dir, name), "-f", "null", "-")
}

func size(s [2]int) string { return fmt.Sprintf("%d,%d", s[0], s[1]) }

// What ffmpeg did not get is said by whoever could not read it; that ffmpeg is
// gone it says itself.
func TestFeedFile(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "segment"), make([]byte, 1<<20), 0o644), os.Mkdir(filepath.Join(dir, "dir"), 0o755)); err != nil {
		t.Fatal(err)
	}
	w := &Worker{Config: Config{MediaDir: dir}}
	for _, tt := range []struct {
		name string
		want error
	}{{"segment", errGone}, {"none", fs.ErrNotExist}, {"dir", syscall.EISDIR}} {
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.feedFile(t.Context(), in, tt.name); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, err, tt.want)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
}
