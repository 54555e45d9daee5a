package worker

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// renamed returns a source in which the names of codecs are others.
func renamed(t *testing.T, name, args string, from, to string) string {
	t.Helper()
	file := makeSource(t, name, args)
	data, err := os.ReadFile(file)
	if err == nil && !bytes.Contains(data, []byte(from)) {
		t.Fatalf("%s has no %q", name, from)
	}
	if err == nil {
		err = os.WriteFile(file, bytes.ReplaceAll(data, []byte(from), []byte(to)), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// What this build of ffmpeg cannot do fails once, on one worker, by its name.
func TestBuildLacks(t *testing.T) {
	t.Parallel()
	clip := "-f lavfi -i testsrc2=s=64x64:r=10:d=2 "
	withSound := clip + "-f lavfi -i sine=d=2 " + x264 + "-c:a aac "
	sources := map[string]string{
		"vvc.mp4":    renamed(t, "a.mp4", withSound, "avc1", "vvc1"),
		"vvc.mkv":    renamed(t, "a.mkv", withSound, "V_MPEG4/ISO/AVC", "V_MPEGI/ISO/VVC"),
		"odd.avi":    renamed(t, "a.avi", clip+"-c:v mpeg4", "FMP4", "XYZ9"),
		"silent.mkv": renamed(t, "a.mkv", withSound, "A_AAC", "A_XYZ"),
	}
	c := newCluster(t)
	startWorker(t, &Worker{Config: c.config("worker2")})
	for name, file := range sources {
		c.provide(name, file)
	}
	tests := []struct {
		source string
		want   string // in the reason of the failure; "": done
		note   string
	}{
		{"vvc.mp4", "its video is vvc1, which this ffmpeg cannot decode", ""},
		{"vvc.mkv", "its video is of a codec that it does not know, which this ffmpeg cannot decode", ""},
		{"odd.avi", "its video is XYZ9, which", ""},
		{"silent.mkv", "", "audio (of a codec that it does not know), which ffmpeg cannot decode"},
	}
	for _, tt := range tests {
		job := c.do(transcode.Request{Source: tt.source, Name: tt.source})
		state := queue.Done
		if tt.want != "" {
			state = queue.Failed
		}
		if job.State != state || !strings.Contains(job.Reason, tt.want) || !strings.Contains(job.Note, tt.note) {
			t.Errorf("%s is %s: %q, note %q; want it %s: %q, note %q", tt.source, job.State, job.Reason, job.Note, state, tt.want, tt.note)
		}
		for _, u := range job.Units {
			if u.Attempt > 1 {
				t.Errorf("%s: %s took %d attempts; want one", tt.source, u.ID, u.Attempt)
			}
		}
	}
	c.checkSwept()
}

// A failure is of the build only if ffmpeg says so of itself.
func TestLacks(t *testing.T) {
	for line, want := range map[string]bool{
		"Unknown encoder 'libnothing'":                     true,
		"[vost#0:0 @ 0x5581] Unknown encoder 'libnothing'": true,
		"[AVFilterGraph @ 0x5581] No such filter: 'x'":     true,
		"Unrecognized option 'x'.":                         true,
		"a.mp4: Invalid data found when processing input":  false,
		"[libx264 @ 0x55] malloc of size 100 failed":       false,
	} {
		err := lacks(errors.New("exit status 1"), []string{"Stream mapping:", line})
		if got := errors.As(err, new(buildError)); got != want || err.Error() != "exit status 1" {
			t.Errorf("lacks(%q) = %v, of the build: %t; want %t", line, err, got, want)
		}
	}
}

func TestReadCodecs(t *testing.T) {
	names := map[string]bool{}
	list := "Codecs:\n D..... = Decoding supported\n -------\n DEV.LS h264                 H.264 (decoders: h264 h264_v4l2m2m )\n ..V.L. vvc                  H.266\n DEA.L. aac    AAC\n"
	if err := readCodecs(strings.NewReader(list), names); err != nil || !names["h264"] || !names["aac"] || names["vvc"] {
		t.Errorf("readCodecs = %v, %v; want h264 and aac, not vvc", names, err)
	}
}
