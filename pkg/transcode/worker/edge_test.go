package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// Where units meet, pictures are as good as in a run over all of the film: the key frame at
// which the second begins, and the last frames of the first.
func TestUnitEdges(t *testing.T) {
	t.Parallel()
	const segment, frames = 40, 80
	dir := t.TempDir()
	// A detailed picture that moves slowly: frames refer to each other a lot.
	ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "mandelbrot=s=480x270:r=25:end_pts=400", "-vf", "crop=320:180:x=n/2:y=n/4,format=yuv420p",
		"-frames:v", fmt.Sprint(frames), "-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "film.nut")
	grid := transcode.Grid{Rate: transcode.Rational{Num: 25, Den: 1}, Frames: frames, SegmentFrames: segment}
	rendition := transcode.Rendition{Width: 320, Height: 180, BitrateBPS: 1e6, CRF: 26, MaxrateBPS: 4e6, BufferBits: 8e6}
	encode := func(first, end int) []float64 {
		u := transcode.VideoUnit{Rendition: rendition, Grid: grid, FirstFrame: first, EndFrame: end}
		args := []string{"-v", "error", "-y", "-i", "film.nut", "-vf", fmt.Sprintf("trim=start_frame=%d:end_frame=%d,setpts=PTS-STARTPTS", first, end)}
		args = append(append(args, encoderArgs(u)...), "-force_key_frames", keyFrames(u), "unit.nut")
		ffmpegRun(t, dir, "ffmpeg", args...)
		ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-i", "unit.nut", "-i", "film.nut", "-filter_complex",
			fmt.Sprintf("[0:v]settb=1/25,setpts=N[a];[1:v]trim=start_frame=%d:end_frame=%d,settb=1/25,setpts=N[b];[a][b]ssim=stats_file=unit.ssim", first, end), "-f", "null", "-")
		return frameQualities(t, filepath.Join(dir, "unit.ssim"))
	}
	whole := encode(0, frames)
	first, second := encode(0, segment), encode(segment, frames)
	if got, want := second[0], whole[segment]; got < want-1 {
		t.Errorf("the key frame at which a unit begins has quality %.1f; want %.1f, as in a run over all", got, want)
	}
	if got, want := mean(first[segment-lastFrames:]), mean(whole[segment-lastFrames:segment]); got < want-1 {
		t.Errorf("the last frames of a unit have quality %.1f; want %.1f, as in a run over all", got, want)
	}
}

// frameQualities reads what ffmpeg's ssim says of each frame.
func frameQualities(t *testing.T, file string) (list []float64) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n int
		var ssim float64
		if _, err := fmt.Sscanf(line, "n:%d Y:%f", &n, &ssim); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, transcode.Quality(ssim))
	}
	return list
}
