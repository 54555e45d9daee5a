//go:build bench

package worker

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pibootd/pkg/transcode"
)

// vmafProbe is an ffprobe with libvmaf, in a package of npm. Debian's ffmpeg has none.
const vmafProbe = "@ffprobe-installer/linux-x64@5.2.0"

// vmafCRFs are what each clip is encoded at, the best first.
var vmafCRFs = []int{16, 20, 24, 28, 33, 38}

// TestVMAF prints what VMAF a quality has, over the clips of the benchmark of quality, for the
// table in docs/transcoding.md.
func TestVMAF(t *testing.T) {
	ffprobe := provideVMAF(t)
	b := &qualityBench{cluster: &cluster{T: t, media: t.TempDir()}}
	cartoon, camera := b.realClips()
	found := map[float64][]float64{}
	for _, clip := range qualityClips {
		b.provideClip(clip, cartoon, camera, 20)
		var points [][2]float64
		for _, crf := range vmafCRFs {
			quality, vmaf := b.vmaf(ffprobe, clip.name, crf)
			points = append(points, [2]float64{quality, vmaf})
		}
		t.Logf("%-17s quality and VMAF %.0f", clip.name, points)
		for _, quality := range []float64{65, 80, 90, 100} {
			if vmaf, ok := vmafAt(points, quality); ok {
				found[quality] = append(found[quality], vmaf)
			}
		}
	}
	for quality, list := range found {
		center, squares := mean(list), 0.0
		for _, vmaf := range list {
			squares += (vmaf - center) * (vmaf - center) / float64(len(list))
		}
		t.Logf("quality %3.0f: VMAF %.0f, standard deviation %.1f, from %.0f to %.0f, of %d clips", quality, center, math.Sqrt(squares), slices.Min(list), slices.Max(list), len(list))
	}
}

// vmafAt returns the VMAF at a quality between two of those measured.
func vmafAt(points [][2]float64, quality float64) (float64, bool) {
	for i, b := range points[1:] {
		if a := points[i]; b[0] <= quality && quality <= a[0] {
			return b[1] + (a[1]-b[1])*(quality-b[0])/max(a[0]-b[0], 0.1), true
		}
	}
	return 0, false
}

// provideVMAF returns the path of an ffprobe that has the filter libvmaf.
func provideVMAF(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ffmpegRun(t, dir, "npm", "pack", "--silent", vmafProbe)
	packs, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("npm pack %s made %q, %v; want one archive", vmafProbe, packs, err)
	}
	ffmpegRun(t, dir, "tar", "xzf", packs[0])
	ffprobe := filepath.Join(dir, "package", "ffprobe")
	if err := os.Chmod(ffprobe, 0o755); err != nil {
		t.Fatal(err)
	}
	return ffprobe
}

// vmaf encodes some pieces of a clip, and compares them with it in two ways.
func (b *qualityBench) vmaf(ffprobe, clip string, crf int) (quality, vmaf float64) {
	b.Helper()
	source := clip + ".mp4"
	ffmpegRun(b.T, b.media, "ffmpeg", "-v", "error", "-y", "-ss", "4", "-t", "0.8", "-i", source, "-ss", "9", "-t", "0.8", "-i", source, "-ss", "16", "-t", "0.8", "-i", source,
		"-filter_complex", "[0:v][1:v][2:v]concat=n=3", "-an", "-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "was.nut")
	ffmpegRun(b.T, b.media, "ffmpeg", "-v", "error", "-y", "-i", "was.nut",
		"-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "3", "-crf", fmt.Sprint(crf), "-g", "20", "-sc_threshold", "0", "is.nut")
	const graph = "movie=is.nut,setpts=N,split[a][b];movie=was.nut,setpts=N,split[c][d];[a][c]libvmaf=log_fmt=json:log_path=vmaf.json[v];[b][d]ssim=stats_file=is.ssim[s];[v][s]hstack"
	ffmpegRun(b.T, b.media, ffprobe, "-v", "error", "-f", "lavfi", graph, "-show_entries", "frame=none")
	text, err := os.ReadFile(filepath.Join(b.media, "vmaf.json"))
	var report struct {
		Pooled map[string]struct{ Mean float64 } `json:"pooled_metrics"`
	}
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		b.Fatal(err)
	}
	return transcode.Quality(mean(b.ssims(filepath.Join(b.media, "is.ssim")))), report.Pooled["vmaf"].Mean
}
