package worker

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// leastPSNR is what no frame may be below, compared with the frame that one
// plain run of ffmpeg has at the same time. The pictures move so much that the
// neighbour of a frame is far below.
const leastPSNR = 40

// What many workers make of a source in pieces is, frame for frame and at the
// same times, what one process makes of it in one go.
func TestExact(t *testing.T) {
	const (
		clip    = "-f lavfi -i testsrc2=s=192x128:r=30:d=4 "
		tone    = "-f lavfi -i sine=440:d=4 "
		bframes = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 3 -g 77 -x264-params open-gop=0:b-adapt=0 "
	)
	turned := makeSource(t, "turned.mp4", "-f lavfi -i testsrc2=s=192x128:r=25:d=4 "+x264)
	turn(t, turned)
	ts, cmaf := transcode.Output{}, transcode.Output{Container: transcode.ContainerCMAF}
	mp4, mkv := transcode.Output{Format: transcode.FormatMP4}, transcode.Output{Format: transcode.FormatMKV}
	tests := []struct {
		name, file, args string
		filter           string // that one process needs besides
		outputs          []transcode.Output
	}{
		{"open GOP", "a.mp4", clip + tone + openGOP + "-c:a aac", "", []transcode.Output{ts, cmaf, mp4}},
		{"rare key frames", "a.mp4", clip + tone + "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 3 -g 70 -c:a aac", "", []transcode.Output{ts}},
		{"intra refresh", "a.mkv", clip + "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 3 -g 25 -x264-params intra-refresh=1", "", []transcode.Output{cmaf}},
		{"fragments without an index", "a.mp4", clip + tone + openGOP + "-c:a aac -movflags frag_keyframe+empty_moov+skip_trailer", "", []transcode.Output{cmaf}},
		{"no cues", "a.mkv", clip + tone + openGOP + "-c:a aac -f matroska -live 1", "", []transcode.Output{mkv}},
		{"H.265", "a.mp4", clip + tone + "-c:v libx265 -preset ultrafast -x265-params log-level=none:open-gop=1:keyint=40:bframes=4 -c:a aac", "", []transcode.Output{ts}},
		{"variable rate", "a.mkv", clip + tone + "-vf select='gt(random(0),0.35)' -fps_mode vfr " + openGOP + "-c:a aac", "", []transcode.Output{ts, cmaf, mkv}},
		{"late start", "a.ts", clip + tone + openGOP + "-c:a aac", "", []transcode.Output{ts, mp4}},
		{"B-frames", "a.mkv", "-f lavfi -i testsrc2=s=192x128:r=24000/1001:d=4 " + bframes, "", []transcode.Output{cmaf, mkv}},
		{"interlaced", "a.ts", "-f lavfi -i testsrc2=s=160x120:r=25:d=4 -flags +ildct+ilme -c:v mpeg2video -q:v 2", "bwdif=mode=send_frame,", []transcode.Output{ts, cmaf}},
		{"rotated", "a.mp4", "-i " + turned + " -c copy", "", []transcode.Output{cmaf, mp4}},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := makeSource(t, tt.file, tt.args)
			for _, output := range exactOutputs(tt.outputs, n) {
				output.Rungs = []transcode.Rung{{Lines: 120, BitrateBPS: 3_000_000}}
				j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: output}, 1)
				if chunks := len(j.plan.Units); chunks < 4 {
					t.Fatalf("%d units; want the video in four at least", chunks)
				}
				j.exact(tt.filter)
			}
		})
	}
}

// exactOutputs are those that are tried of a row: one, or all in make test-media.
func exactOutputs(all []transcode.Output, row int) []transcode.Output {
	if mediaLong {
		return all
	}
	return all[row%len(all):][:1]
}

// exact compares what came of a job with what one process makes of its source.
func (j *job) exact(filter string) {
	j.Helper()
	what := fmt.Sprintf("%s%s", j.plan.Output.Format, j.plan.Output.Container)
	got := filepath.Join(j.dir, j.plan.Renditions[0].Name, transcode.MediaName)
	if j.plan.Output.IsFile() {
		got = filepath.Join(j.dir, j.file().Name)
	} else {
		j.verify()
	}
	r := j.plan.Renditions[0]
	single := filepath.Join(j.dir, "single.mkv")
	// Without the sound ffmpeg would take the video's first frame for the zero of time.
	ffmpegRun(j.T, j.dir, "ffmpeg", "-v", "error", "-y", "-i", j.source, "-map", "0:V:0", "-map", "0:a?", "-vf",
		fmt.Sprintf("%sfps=%v:round=near:start_time=0,tpad=stop=10:stop_mode=clone,trim=end_frame=%d,scale=%d:%d,setsar=1", filter, j.plan.Grid.Rate, j.plan.Grid.Frames, r.Width, r.Height),
		"-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-pix_fmt", "yuv420p", single)
	begin, want, have := 0.0, j.frames(single), j.frames(got)
	if len(have) > 0 && len(want) > 0 {
		begin = have[0] - want[0]
	}
	same := slices.EqualFunc(have, want, func(a, b float64) bool { return math.Abs(a-begin-b) < 0.0021 })
	if !same {
		j.Errorf("%s: %d frames at %.3f; want %d at %.3f", what, len(have), have, len(want), want)
	}
	out := ffmpegRun(j.T, j.dir, "ffmpeg", "-v", "error", "-i", got, "-i", single, "-lavfi",
		"[0:v]settb=1/1000,setpts=N[a];[1:v]settb=1/1000,setpts=N[b];[a][b]psnr=stats_file=-", "-f", "null", "-")
	worst := math.Inf(1)
	for line := range strings.Lines(out) {
		_, value, ok := strings.Cut(line, "psnr_avg:")
		if !ok {
			continue
		}
		value, _, _ = strings.Cut(value, " ")
		if psnr, err := strconv.ParseFloat(value, 64); err == nil {
			worst = min(worst, psnr)
		}
	}
	j.Logf("%s: worst frame %.1f dB", what, worst)
	if worst < leastPSNR || math.IsInf(worst, 1) {
		j.Errorf("%s: the worst frame has a PSNR of %.1f dB; want %d", what, worst, leastPSNR)
	}
}
