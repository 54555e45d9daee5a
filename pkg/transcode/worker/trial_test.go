package worker

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// trialClip is a film with much and with little in it.
const trialClip = "-f lavfi -i mandelbrot=s=320x180:r=25:end_pts=600 -f lavfi -i testsrc2=s=320x180:r=25:d=3 -f lavfi -i sine=440:d=6 " +
	"-lavfi [0:v]trim=duration=3,format=yuv420p[a];[1:v]format=yuv420p[b];[a][b]concat -map 2:a -c:v libx264 -preset ultrafast -crf 4 -c:a aac"

// A job with a quality has it, in each kind of output, and its note says by what. The trials
// leave nothing behind.
func TestQuality(t *testing.T) {
	t.Parallel()
	const quality, within = 75, 4
	c := newCluster(t)
	c.provide("film.mp4", makeSource(t, "film.mp4", trialClip))
	for _, tt := range []struct {
		name   string
		output transcode.Output
		within float64
	}{
		{"ts", transcode.Output{}, within},
		{"progressive", transcode.Output{Progressive: true, Container: transcode.ContainerCMAF}, within},
		{"mp4", transcode.Output{Format: transcode.FormatMP4}, within},
		{"h265", transcode.Output{Format: transcode.FormatMKV, Codec: transcode.CodecH265}, within},
		{"av1", transcode.Output{Codec: transcode.CodecAV1, NoPictures: true}, 2 * within}, // its CRF has no fractions
	} {
		tt.output.Quality = quality
		job := c.do(transcode.Request{Source: "film.mp4", Name: tt.name, SegmentSeconds: 2, Output: tt.output})
		if job.State != queue.Done {
			t.Errorf("%s: job is %s: %s %q; want it done", tt.name, job.State, job.Reason, job.Stderr)
			continue
		}
		best := regexp.MustCompile(`rung of quality 7[4-9]: (\S+) at CRF`).FindStringSubmatch(job.Note)
		if best == nil {
			t.Errorf("%s: note %q; want the rung of quality %d", tt.name, job.Note, quality)
			continue
		}
		file := job.Output
		if !tt.output.IsFile() {
			file = bestPlaylist(t, filepath.Join(c.media, path.Dir(job.Output)))
		} else {
			file = filepath.Join(c.media, file)
		}
		if got := qualityOf(t, file, filepath.Join(c.media, "film.mp4")); math.Abs(got-quality) > tt.within {
			t.Errorf("%s: %s has quality %.1f; want about %d (%s)", tt.name, file, got, quality, job.Note)
		}
	}
	c.checkSwept()
}

// bestPlaylist returns the playlist of the first variant stream of a master playlist.
func bestPlaylist(t *testing.T, dir string) string {
	t.Helper()
	out := ffmpegRun(t, dir, "grep", "-A1", "EXT-X-STREAM-INF", "master.m3u8")
	return filepath.Join(dir, strings.Split(out, "\n")[1])
}

var ssimLuma = regexp.MustCompile(`SSIM Y:([0-9.]+)`)

// qualityOf compares a file with its source, at the source's size.
func qualityOf(t *testing.T, file, source string) float64 {
	t.Helper()
	out := ffmpegRun(t, "", "ffmpeg", "-nostats", "-i", file, "-i", source, "-lavfi", "[1:v]settb=1/25,setpts=N[b];[0:v]settb=1/25,setpts=N,scale=320:180:flags=bicubic[a];[a][b]ssim", "-an", "-f", "null", "-")
	m := ssimLuma.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("ffmpeg says no SSIM: %s", out)
	}
	ssim, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return transcode.Quality(ssim)
}

// What ffmpeg says of packets and of SSIM is read with care.
func TestReadTrial(t *testing.T) {
	for _, tt := range []struct {
		name, packets, ssim, want string
	}{
		{"two frames", "#tb 0: 1/25\n0, -1, 0, 1, 2169, 0x51b1bfde\n0, 0, 4, 1, 426, 0xc85cdcfd, F=0x0, S=1,        8\n", "n:1 Y:0.9 U:1 V:1 All:1 (inf)\nn:2 Y:0.8 U:1 V:1 All:1 (3)\n", "{2 1 2169 426 0.85} {2169 426 0.85 0.85}"},
		{"no frames", "#tb 0: 1/25\n", "", "SSIM of 0 frames in 0 pieces of 2; want 0, more than none"},
		{"frames that were not compared", "0, -1, 0, 1, 2169, 0x0\n0, 0, 4, 1, 426, 0x0, F=0x0\n", "n:1 Y:0.9 U:1\n", "SSIM of 1 frames in 1 pieces of 2; want 2, more than none"},
		{"a packet without a size", "0, -1, 0, 1\n", "", `packet "0, -1, 0, 1"; want its size in the fifth of six fields`},
		{"a size that is none", "0, -1, 0, 1, -4, 0x0\n", "", `packet of " -4" bytes; want a number`},
		{"an SSIM that is none", "0, -1, 0, 1, 4, 0x0\n", "n:1 Y:nan U:1\n", `SSIM "n:1 Y:nan U:1"; want Y: and a number`},
	} {
		dir := t.TempDir()
		err := errors.Join(os.WriteFile(filepath.Join(dir, packetsName(0)), []byte(tt.packets), 0o644), os.WriteFile(filepath.Join(dir, ssimName(0)), []byte(tt.ssim), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		trial, err := readTrial(dir, 0, 2)
		got := fmt.Sprintf("{%d %d %d %d %.3g}", trial.Frames, trial.Keys, trial.KeyBytes, trial.RestBytes, trial.SSIM)
		for _, p := range trial.Pieces {
			got += fmt.Sprintf(" {%d %d %.3g %.3g}", p.KeyBytes, p.RestBytes, p.NearSSIM, p.SSIM)
		}
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "reading trial 0: ")
		}
		if got != tt.want {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
	}
}
