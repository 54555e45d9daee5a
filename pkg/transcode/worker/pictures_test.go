package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// A stream has a poster, thumbnails of all its length, and playlists of key frames that
// can be decoded by themselves.
func TestPictures(t *testing.T) {
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=320x180:r=25:d=6.3 "+x264)
	for _, container := range []transcode.Container{transcode.ContainerTS, transcode.ContainerCMAF} {
		t.Run(string(container), func(t *testing.T) {
			t.Parallel()
			output := transcode.Output{Container: container, Rungs: []transcode.Rung{{Lines: 180}, {Lines: 90}}}
			j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: output}, 3)
			if got := ffprobeOf(t, filepath.Join(j.dir, transcode.PosterName), "v", "stream=codec_name,width,height"); got[0] != "mjpeg,320,180" {
				t.Errorf("poster is %q; want mjpeg,320,180", got)
			}
			j.verifyStoryboard(7)
			for _, r := range j.plan.Renditions {
				j.verifyIFrames(r)
			}
		})
	}
}

// verifyStoryboard looks at each thumbnail: it is within its picture, and there is one
// for each second.
func (j *job) verifyStoryboard(want int) {
	j.Helper()
	f, err := os.Open(filepath.Join(j.dir, transcode.StoryboardName))
	if err != nil {
		j.Fatal(err)
	}
	defer f.Close()
	track, err := mediafile.ReadWebVTT(f)
	if err != nil || len(track.Cues) != want {
		j.Fatalf("%d thumbnails, %v; want %d", len(track.Cues), err, want)
	}
	for i, c := range track.Cues {
		name, place, _ := strings.Cut(c.Text, "#xywh=")
		var x, y, w, h, width, height int
		_, err := fmt.Sscanf(place, "%d,%d,%d,%d", &x, &y, &w, &h)
		size := ffprobeOf(j.T, filepath.Join(j.dir, transcode.StoryboardDir, name), "v", "stream=width,height")[0]
		if _, err2 := fmt.Sscanf(size, "%d,%d", &width, &height); err != nil || err2 != nil || w != 160 || h != 90 || x+w > width || y+h > height {
			j.Errorf("thumbnail %d is %s of %s; want 160x90 within it", i, c.Text, size)
		}
		if c.Start != duration(float64(i)) {
			j.Errorf("thumbnail %d is shown at %v; want %d s", i, c.Start, i)
		}
	}
	if end := duration(j.plan.Grid.Seconds(j.plan.Grid.Frames)); track.Cues[want-1].End != end {
		j.Errorf("the last thumbnail is shown until %v; want %v", track.Cues[want-1].End, end)
	}
}

// verifyIFrames decodes what a player fetches of each key frame.
func (j *job) verifyIFrames(r transcode.Rendition) {
	j.Helper()
	dir := filepath.Join(j.dir, r.Name)
	text, err := os.ReadFile(filepath.Join(dir, "iframes.m3u8"))
	if err != nil {
		j.Fatal(err)
	}
	init, err := os.ReadFile(filepath.Join(dir, transcode.InitName))
	if err != nil && j.plan.Output.Container == transcode.ContainerCMAF {
		j.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	frames := 0
	for i, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line, "#EXT-X-BYTERANGE:%d@0", &n); err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, lines[i+1]))
		if err != nil {
			j.Fatal(err)
		}
		file := written(j.T, "frame", string(init)+string(data[:n]))
		out := ffmpegRun(j.T, "", "ffprobe", "-v", "quiet", "-count_frames", "-show_entries", "stream=nb_read_frames:frame=pict_type", "-of", "csv=p=0", file)
		if want := "I"; !strings.HasPrefix(out, want) || strings.Count(out, "I") != 1 || strings.ContainsAny(out, "PB") {
			j.Errorf("%s: frames of %s %q; want one I frame", r.Name, lines[i+1], out)
		}
		frames++
	}
	if frames != j.plan.Grid.Segments() {
		j.Errorf("%s: %d key frames; want %d", r.Name, frames, j.plan.Grid.Segments())
	}
}

// Without them there are none.
func TestNoPictures(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=25:d=2 "+x264)
	j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: transcode.Output{NoPictures: true}}, 0)
	for _, pattern := range []string{"*.jpg", transcode.StoryboardDir, "*/iframes.m3u8"} {
		if found, err := filepath.Glob(filepath.Join(j.dir, pattern)); err != nil || len(found) > 0 {
			t.Errorf("there are %q, %v", found, err)
		}
	}
	j.verify()
}
