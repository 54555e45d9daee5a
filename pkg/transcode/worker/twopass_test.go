package worker

import (
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// easyAndHard is a film with parts that need few bits and parts that need many.
func easyAndHard(t *testing.T, size string, seconds int) string {
	t.Helper()
	part := strconv.Itoa(seconds / 5)
	source := "-f lavfi -i smptebars=s=" + size + ":r=25:d=" + part + " -f lavfi -i mandelbrot=s=" + size + ":r=25:end_pts=400" +
		" -f lavfi -i testsrc2=s=" + size + ":r=25:d=" + part + " -f lavfi -i life=s=" + size + ":r=25:mold=10:life_color=#C83232:death_color=#3264C8:seed=1 " +
		"-f lavfi -i color=gray:s=" + size + ":r=25:d=" + part
	filter := "[0:v]format=yuv420p[a];[1:v]trim=duration=" + part + ",setpts=PTS-STARTPTS,format=yuv420p[b];[2:v]noise=alls=8:allf=t:all_seed=1,format=yuv420p[c];" +
		"[3:v]trim=duration=" + part + ",setpts=PTS-STARTPTS,format=yuv420p[d];[4:v]noise=alls=3:allf=t:all_seed=1,format=yuv420p[e];[a][b][c][e][d]concat=n=5"
	return makeSource(t, "a.mp4", source+" -lavfi "+filter+" -c:v libx264 -preset ultrafast -crf 8 -pix_fmt yuv420p")
}

// Two passes over units make of a film with easy and hard parts what two passes over all
// of it make: bits within 5 %, and a picture that is as good.
func TestTwoPass(t *testing.T) {
	t.Parallel()
	source := easyAndHard(t, twoPassSize, twoPassSeconds)
	for _, tt := range twoPassRows {
		t.Run(tt.codec, func(t *testing.T) {
			lines, err := strconv.Atoi(strings.Split(twoPassSize, "x")[1])
			if err != nil {
				t.Fatal(err)
			}
			o := transcode.Output{Format: transcode.FormatMP4, TwoPass: true, Codec: transcode.Codec(tt.codec), Audio: transcode.AudioNone, Rungs: []transcode.Rung{{Lines: lines, BitrateBPS: tt.bps}}}
			j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 2, Output: o}, twoPassUnit)
			if len(j.plan.Units) < 10 {
				t.Fatalf("%d units; want ten at least", len(j.plan.Units))
			}
			var budgets []int
			for _, u := range j.plan.Units {
				budgets = append(budgets, u.Video.Rendition.BudgetBPS/1000)
			}
			joined := filepath.Join(j.dir, j.file().Name)
			single := singleTwoPass(t, source, tt.codec, tt.bps)
			bits, want := videoBytes(t, joined), videoBytes(t, single)
			ssim, ssimWant := ssimOf(t, joined, source), ssimOf(t, single, source)
			t.Logf("%d bytes, a single run has %d; SSIM %.4f, a single run has %.4f; budgets of units in kb/s: %v", bits, want, ssim, ssimWant, budgets)
			asked := float64(tt.bps) * twoPassSeconds / 8
			if ratio := float64(bits) / asked; ratio < 0.95 || ratio > 1.05 {
				t.Errorf("%d bytes; asked were %.0f", bits, asked)
			}
			// At 2 Mb/s, a single run makes 6 % less than what was asked.
			nearer := math.Abs(float64(bits)-asked) <= math.Abs(float64(want)-asked)
			if ratio := float64(bits) / float64(want); (ratio < 0.95 || ratio > 1.05) && !nearer {
				t.Errorf("%d bytes; a single run makes %d", bits, want)
			}
			if ssim < ssimWant-0.005 {
				t.Errorf("SSIM %.4f; a single run has %.4f", ssim, ssimWant)
			}
		})
	}
}

// singleTwoPass encodes a source in two passes over all of it.
func singleTwoPass(t *testing.T, source, codec string, bps int) string {
	t.Helper()
	dir := t.TempDir()
	for pass := 1; pass <= 2; pass++ {
		args := []string{"-v", "error", "-y", "-i", source, "-an", "-b:v", strconv.Itoa(bps), "-maxrate", strconv.Itoa(2 * bps), "-bufsize", strconv.Itoa(2 * bps),
			"-preset", "veryfast", "-force_key_frames", "expr:not(mod(n,50))", "-g", "9999"}
		if codec == "h265" {
			args = append(args, "-c:v", "libx265", "-forced-idr", "1", "-x265-params", "open-gop=0:scenecut=0:keyint=9999:log-level=error:pass="+strconv.Itoa(pass)+":stats=stats")
		} else {
			args = append(args, "-c:v", "libx264", "-profile:v", "main", "-bf", "3", "-sc_threshold", "0", "-pass", strconv.Itoa(pass))
		}
		ffmpegRun(t, dir, "ffmpeg", append(args, "single.mp4")...)
	}
	return filepath.Join(dir, "single.mp4")
}

// The statistics of both encoders: what one frame says at two quantizers.
func TestParseStats(t *testing.T) {
	const x264, x265 = transcode.EncoderX264, transcode.EncoderX265
	for _, tt := range []struct {
		name, encoder, text string
		want                transcode.Survey
	}{
		{"at a step of about one", x264, "#options: mbtree=1\nin:0 out:0 type:P dur:2 q:13.406 tex:1000 mv:100 misc:10 ;\n", transcode.Survey{Texture: 1000, Motion: 100, Rest: 10}},
		{"key frames have a lower step", x264, "in:0 type:I q:13.406 tex:1000 mv:0 misc:0 ;\n", transcode.Survey{Texture: 1448}},
		{"six more are twice the step", x264, "in:0 type:P q:19.406 tex:1000 mv:0 misc:0 ;\n", transcode.Survey{Texture: 2144}},
		{"B-frames of x265", x265, "#options: cutree\nin:0 type:B q:13.406 q-aq:1 tex:1000 mv:0 misc:0 ;\n", transcode.Survey{Texture: 749}},
		{"without a tree", x264, "#options: mbtree=0\nin:0 type:P q:13.406 tex:1000 mv:0 misc:7 ;\n", transcode.Survey{Texture: 48, Rest: 7}},
	} {
		got, err := parseStats(strings.NewReader(tt.text), tt.encoder)
		near := func(a, b float64) bool { return a > 0.99*b-1 && a < 1.01*b+1 }
		if err != nil || !near(got.Texture, tt.want.Texture) || !near(got.Motion, tt.want.Motion) || !near(got.Rest, tt.want.Rest) {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
	for _, text := range []string{"", "#options: x\n", "in:0 type:P q:no tex:1 mv:1 misc:1\n", "in:0 type:P q:1e300 tex:1 mv:1 misc:1\n"} {
		if got, err := parseStats(strings.NewReader(text), x264); err == nil {
			t.Errorf("%q: %+v; want an error", text, got)
		}
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add("#options: mbtree=0\nin:0 out:0 type:I q:20 tex:1000 mv:100 misc:10 ;\n", "libx264")
	f.Fuzz(func(t *testing.T, text, encoder string) {
		s, err := parseStats(strings.NewReader(text), encoder)
		if err == nil && !(s.Texture >= -1e300 && s.Motion >= -1e300) {
			t.Errorf("%+v", s)
		}
	})
}
