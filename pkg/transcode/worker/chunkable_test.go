package worker

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// TestChunkable has every encoder whose units are joined make what a single run of it
// makes: bits within 5 %, the same frames, and a picture that is as good.
func TestChunkable(t *testing.T) {
	t.Parallel()
	for _, options := range chunkableRows {
		t.Run(options, func(t *testing.T) {
			source := makeSource(t, "a.mp4", chunkableSource)
			request := transcode.Request{SegmentSeconds: 4, Output: transcode.Output{Format: transcode.FormatMP4, Options: strings.Fields(options + " -an")}}
			j := transcodeAll(t, source, request, chunkableUnit)
			if units := len(j.plan.Units); j.plan.Note != "" || units < 10 {
				t.Fatalf("%d units, note %q; want ten at least", units, j.plan.Note)
			}
			file := j.file()
			single := filepath.Join(t.TempDir(), "single.mp4")
			keys := "expr:not(mod(n," + strconv.Itoa(j.plan.Grid.SegmentFrames) + "))"
			scenes := "0"
			if strings.Contains(options, "mpeg") {
				scenes = noSceneCut
			}
			distance := "600"
			if strings.Contains(options, transcode.EncoderAV1) { // makes key frames at a fixed distance only
				distance = strconv.Itoa(j.plan.Grid.SegmentFrames)
			}
			args := append([]string{"-v", "error", "-i", source, "-an", "-force_key_frames", keys, "-g", distance, "-sc_threshold", scenes}, strings.Fields(options)...)
			ffmpegRun(t, t.TempDir(), "ffmpeg", append(args, single)...)
			if want := 25 * chunkableSeconds; file.Video.Frames != want {
				t.Errorf("%d frames; want %d", file.Video.Frames, want)
			}
			joined := filepath.Join(j.dir, file.Name)
			bits, want := videoBytes(t, joined), videoBytes(t, single)
			if ratio := float64(bits) / float64(want); ratio < 0.95 || ratio > 1.05 {
				t.Errorf("%d bytes of video; a single run makes %d", bits, want)
			}
			if ssim, want := ssimOf(t, joined, source), ssimOf(t, single, source); ssim < want-0.005 {
				t.Errorf("SSIM %.4f; a single run has %.4f", ssim, want)
			}
		})
	}
}

// TestCountingEncoderIsWhole has an encoder that aims at a bitrate by all frames that
// it has seen encode the whole video, which has that bitrate then.
func TestCountingEncoderIsWhole(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", chunkableSource)
	request := transcode.Request{Output: transcode.Output{Format: transcode.FormatMP4, Options: strings.Fields("-c:v mpeg4 -b:v 300k -an")}}
	j := transcodeAll(t, source, request, 0)
	if len(j.plan.Units) != 1 || !strings.Contains(j.plan.Note, "mpeg4 counts bits") {
		t.Errorf("%d units, note %q; want one, and why", len(j.plan.Units), j.plan.Note)
	}
	info, err := os.Stat(filepath.Join(j.dir, j.file().Name))
	if err != nil {
		t.Fatal(err)
	}
	if kbps := float64(info.Size()) * 8 / 1000 / chunkableSeconds; kbps < 270 || kbps > 345 {
		t.Errorf("%.0f kb/s; want about 300", kbps)
	}
}

// videoBytes returns the size of all packets of a file.
func videoBytes(t *testing.T, file string) int {
	t.Helper()
	sum := 0
	for word := range strings.FieldsSeq(ffmpegRun(t, "", "ffprobe", "-v", "error", "-show_entries", "packet=size", "-of", "csv=p=0", file)) {
		n, err := strconv.Atoi(strings.Trim(word, ","))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

var ssimAll = regexp.MustCompile(`SSIM .*All:([0-9.]+)`)

// ssimOf compares two videos frame by frame.
func ssimOf(t *testing.T, file, source string) float64 {
	t.Helper()
	out := ffmpegRun(t, "", "ffmpeg", "-nostats", "-i", file, "-i", source, "-lavfi", "[0:v]setpts=N[a];[1:v]setpts=N[b];[a][b]ssim", "-f", "null", "-")
	m := ssimAll.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("ffmpeg says no SSIM: %s", out)
	}
	ssim, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return ssim
}
