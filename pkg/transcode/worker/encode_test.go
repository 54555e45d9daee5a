package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/hls-m3u8/m3u8"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// ffmpegRun runs ffmpeg or ffprobe for a test and returns what it prints.
func ffmpegRun(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// makeSource makes a file with ffmpeg, whose arguments stand between -y and
// the file's name.
func makeSource(t *testing.T, name, args string) string {
	t.Helper()
	dir := t.TempDir()
	ffmpegRun(t, dir, "ffmpeg", append(append([]string{"-v", "error", "-y"}, strings.Fields(args)...), name)...)
	return filepath.Join(dir, name)
}

// A job is a source on its way through the worker's own code.
type job struct {
	*testing.T
	w       *Worker
	source  string
	probe   transcode.Probe
	plan    transcode.Plan
	results map[string]transcode.Result
	dir     string // of the finished stream
}

// transcodeAll does what a queue and its workers do, without either. Chunks
// are cut every so many segments, unless that is 0.
func transcodeAll(t *testing.T, source string, r transcode.Request, chunk int) *job {
	t.Helper()
	return transcodeBy(t, &Worker{Log: testLog(t)}, source, r, chunk)
}

// transcodeBy is transcodeAll by a worker of the test's own.
func transcodeBy(t *testing.T, w *Worker, source string, r transcode.Request, chunk int) *job {
	t.Helper()
	j := &job{T: t, w: w, source: source, results: map[string]transcode.Result{}, dir: t.TempDir()}
	j.w.Config.MediaDir = j.dir
	probe, stderr, err := j.w.probe(t.Context(), source, newPulse(time.Now()))
	if err != nil {
		t.Fatalf("probe = %v, %q", err, stderr)
	}
	j.probe = probe
	if err := transcode.Check(transcode.Unit{Kind: transcode.KindProbe}, transcode.Result{Probe: &probe}); err != nil {
		t.Error(err)
	}
	if j.plan, err = transcode.NewPlan(r, probe, 0); err != nil {
		t.Fatal(err)
	}
	if chunk > 0 {
		j.plan.Units = recut(j.plan, probe, chunk)
	}
	for _, name := range r.Sidecars {
		if err := os.Link(filepath.Join(filepath.Dir(source), name), filepath.Join(j.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	j.encodeAll()
	if r.IsFile() {
		j.join()
	} else {
		j.publish()
	}
	return j
}

// encodeAll does all units of the plan, surveys first, and leaves these out of it.
func (j *job) encodeAll() {
	j.Helper()
	isSurvey := func(u transcode.Unit) bool { return u.Kind == transcode.KindSurvey }
	var surveyed []transcode.Unit
	for _, u := range j.plan.Units {
		if isSurvey(u) {
			j.encode(j.Context(), u)
		}
		if u.Surveyed {
			surveyed = append(surveyed, u)
		}
	}
	surveyed = transcode.Budget(surveyed, j.results)
	j.plan.Units = slices.DeleteFunc(j.plan.Units, isSurvey)
	for i, u := range j.plan.Units {
		if u.Surveyed {
			u, surveyed = surveyed[0], surveyed[1:]
			j.plan.Units[i] = u
		}
		j.encode(j.Context(), u)
	}
}

// join makes the file of a plan.
func (j *job) join() {
	j.Helper()
	dirs := map[string]string{}
	for _, u := range j.plan.Units {
		dirs[u.ID] = u.Dir()
		for _, piece := range transcode.Pieces(u, j.results[u.ID])[1:] {
			if u.Text == nil {
				continue
			}
			// A worker leaves them below the directory of the first.
			to := filepath.Join(j.dir, u.Dir(), piece.Dir)
			if err := os.Rename(filepath.Join(j.dir, piece.Dir), to); err != nil {
				j.Fatal(err)
			}
		}
	}
	u, err := transcode.Join(j.plan, j.results, dirs)
	if err != nil {
		j.Fatal(err)
	}
	j.encode(j.Context(), u)
}

// recut cuts the plan's video into shorter units than NewPlan does.
func recut(p transcode.Plan, probe transcode.Probe, chunk int) []transcode.Unit {
	var units []transcode.Unit
	for _, u := range p.Units {
		if u.Video == nil || u.Video.Container == transcode.ContainerNUT {
			units = append(units, u)
			continue
		}
		if u.Video.FirstFrame > 0 || u.Kind == transcode.KindSurvey {
			continue // the first unit of its renditions is cut into all
		}
		segments := p.Grid.Segments()
		for i := 0; i < segments; i += chunk {
			v := *u.Video
			v.FirstFrame, _ = p.Grid.Segment(i)
			_, v.EndFrame = p.Grid.Segment(min(i+chunk, segments) - 1)
			v.SeekSeconds = max(p.Grid.Seconds(v.FirstFrame)-probe.PrerollSeconds(), 0)
			units = append(units, transcode.Unit{ID: fmt.Sprintf("%s-%d", u.ID, i), Kind: u.Kind, Source: u.Source, Video: &v})
		}
	}
	return transcode.AddSurveys(units)
}

// encode does one unit and moves its segments to where they are published.
func (j *job) encode(ctx context.Context, u transcode.Unit) {
	j.Helper()
	dir, p := filepath.Join(j.TempDir(), "attempt"), newPulse(time.Now())
	if err := freshDir(dir, u); err != nil {
		j.Fatal(err)
	}
	source := j.source
	if u.Source != j.plan.Units[len(j.plan.Units)-1].Source && u.Text != nil { // beside it
		source = filepath.Join(j.dir, u.Source)
	}
	stderr, err := j.w.encode(ctx, u, source, dir, p)
	if err != nil {
		j.Fatalf("%s: %v, %q", u.ID, err, stderr)
	}
	result, err := j.w.proof(j.Context(), u, dir, p)
	if err == nil {
		err = transcode.Check(u, result)
	}
	if err != nil {
		j.Fatalf("%s: %v, %q", u.ID, err, stderr)
	}
	if frames, _ := p.read(); u.Video != nil && frames != u.Video.EndFrame-u.Video.FirstFrame || frames == 0 {
		j.Errorf("%s: progress ended at %d frames", u.ID, frames)
	}
	j.results[u.ID] = result
	for _, piece := range transcode.Pieces(u, result) {
		for _, s := range piece.Result.Files() {
			to := filepath.Join(j.dir, piece.Unit.Dir(), s.Name)
			if slices.Contains(piece.Result.Pictures, s) {
				to = filepath.Join(j.dir, piece.Unit.PictureName(s.Name))
			}
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				j.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, piece.Dir, s.Name), to); err != nil {
				j.Fatal(err)
			}
		}
	}
}

func (j *job) publish() {
	j.Helper()
	playlists, err := hls.Playlists(j.plan, j.results, hls.Sealed{})
	if err != nil {
		j.Fatal(err)
	}
	for name, text := range playlists {
		if !strings.HasSuffix(name, ".m3u8") {
			// It says what the stream is about.
		} else if _, _, err := m3u8.Decode(*bytes.NewBuffer(text), true); err != nil {
			j.Errorf("%s: %v\n%s", name, err, text)
		}
		if err := os.WriteFile(filepath.Join(j.dir, name), text, 0o644); err != nil {
			j.Fatal(err)
		}
	}
	if err := hls.Check(os.DirFS(j.dir)); err != nil {
		j.Error(err)
	}
}

// frames returns the times, in seconds, of the frames that a player sees in a
// media playlist, in order of their PTS.
func (j *job) frames(playlist string) []float64 {
	j.Helper()
	out := ffmpegRun(j.T, j.dir, "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0", playlist)
	var times []float64
	for line := range strings.Lines(out) {
		line = strings.Trim(line, ",\n")
		if line == "" {
			continue // side data
		}
		at, err := strconv.ParseFloat(line, 64)
		if err != nil {
			j.Fatalf("%s: %q: %v", playlist, line, err)
		}
		times = append(times, at)
	}
	return times
}

// verify plays every rendition and checks that frames lie on the grid.
func (j *job) verify() {
	j.Helper()
	for _, r := range j.plan.Renditions {
		times := j.frames(filepath.Join(r.Name, transcode.MediaName))
		if len(times) != j.plan.Grid.Frames {
			j.Errorf("%s: %d frames decoded; want %d", r.Name, len(times), j.plan.Grid.Frames)
			continue
		}
		for i, at := range times {
			if want := 10 + j.plan.Grid.Seconds(i); at < want-0.001 || at > want+0.001 {
				j.Errorf("%s: frame %d at %v; want %v", r.Name, i, at, want)
				break
			}
		}
	}
	out := ffmpegRun(j.T, j.dir, "ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=index,codec_type,nb_read_packets", "-of", "csv=p=0", transcode.MasterName)
	// Every variant is named twice: in its program, and by itself.
	want := fmt.Sprintf(",video,%d\n", j.plan.Grid.Frames)
	if n := strings.Count(out, want); n != 2*len(j.plan.Renditions) {
		j.Errorf("the master playlist's streams are %q; want %d times %q", out, 2*len(j.plan.Renditions), want)
	}
	if has := strings.Contains(out, ",audio,"); has != (j.plan.Audio != nil) {
		j.Errorf("the master playlist's streams are %q; want audio: %v", out, j.plan.Audio != nil)
	}
}

const (
	video = "-f lavfi -i testsrc2=s=192x128:r=30:d=5 "
	sound = "-f lavfi -i sine=440:d=5 "
	x264  = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p "
	// openGOP has B-frames, and key frames that lie on no boundary of ours.
	two     = "192x128 96x64"
	openGOP = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 3 -g 50 -x264-params open-gop=1:b-adapt=0 "
)

// turn has players show an MP4 file of one track turned by 90 degrees. ffmpeg 5.1
// and 7.1 have no option for that in common.
func turn(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const beforeMatrix = 4 + 40 // the type of the box and its other fields (ISO/IEC 14496-12 §8.3.2, version 0)
	at := bytes.Index(content, []byte("tkhd")) + beforeMatrix
	if at < beforeMatrix {
		t.Fatalf("%s has no track header", file)
	}
	for i, n := range [9]int32{0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30} {
		binary.BigEndian.PutUint32(content[at+4*i:], uint32(n))
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTranscodeRotated(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "turned.mp4", "-f lavfi -i testsrc2=s=192x128:r=25:d=2 "+x264)
	turn(t, source)
	j := transcodeAll(t, source, transcode.Request{}, 0)
	if r := j.plan.Renditions[0]; r.Width != 128 || r.Height != 192 {
		t.Errorf("the first rendition is %dx%d; want 128x192", r.Width, r.Height)
	}
	j.verify()
}

// A little may be missing at the end.
func TestTranscodeCutShort(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"a.mkv", "a.ts"} {
		source := spoiled(t, 0.93, file, video+sound+openGOP+"-c:a aac")
		transcodeAll(t, source, transcode.Request{SegmentSeconds: 1}, 3).verify()
	}
}

// hardware is an ffmpeg whose hardware encoder, as the boards' does, makes key
// frames of its own beside those that are forced.
const hardware = `#!/bin/bash
args=()
for a; do
	case $a in
	h264_v4l2m2m) args+=(libx264 -preset ultrafast -bf 0 -g 20) ;;
	*) args+=("$a") ;;
	esac
done
exec ffmpeg "${args[@]}"
`

// Segments are cut where they shall be, whatever key frames lie between.
func TestTranscodeByHardware(t *testing.T) {
	t.Parallel()
	ffmpeg := written(t, "ffmpeg", hardware)
	if err := os.Chmod(ffmpeg, 0o755); err != nil {
		t.Fatal(err)
	}
	source := makeSource(t, "a.mp4", video+sound+openGOP+"-c:a aac")
	for _, container := range []transcode.Container{transcode.ContainerTS, transcode.ContainerCMAF} {
		output := transcode.Output{Container: container, Encoder: "h264_v4l2m2m", Rungs: []transcode.Rung{{Lines: 64}}}
		j := transcodeBy(t, &Worker{Log: testLog(t), FFmpeg: ffmpeg}, source, transcode.Request{SegmentSeconds: 1, Output: output}, 2)
		for id, r := range j.results {
			if id != transcode.AudioName && r.Encoder != "h264_v4l2m2m" {
				t.Errorf("%s was made by %s; want the encoder that was asked for", id, r.Encoder)
			}
		}
		j.verify()
	}
}

// A source that is damaged in its middle is shown as far as it can be: the last
// good frame stands for the lost ones.
func TestTranscodeDamaged(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"a.mp4", "a.ts", "a.mkv"} {
		source := makeSource(t, file, video+sound+openGOP+"-c:a aac")
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		middle := data[len(data)/2 : len(data)/2+len(data)/20]
		rand.New(rand.NewSource(1)).Read(middle)
		if err := os.WriteFile(source, data, 0o644); err != nil {
			t.Fatal(err)
		}
		j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: transcode.Output{Rungs: []transcode.Rung{{Lines: 64}}}}, 3)
		if n := j.plan.Grid.Frames; n < 100 || n > 152 { // Matroska's reader does not get over it
			t.Errorf("%s: %d frames planned; want about 150", file, n)
		}
		j.verify()
	}
}

// Where the decoder gives less than the packets promised, the last frame is shown on,
// and the result says so of more than a second.
func TestTranscodeLastFrames(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=10:d=3 "+x264)
	for missing, held := range map[float64]bool{0.5: false, 1.5: true} {
		w := &Worker{}
		probe, _, err := w.probe(t.Context(), source, newPulse(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		probe.Video.EndSeconds += missing
		plan, err := transcode.NewPlan(transcode.Request{SegmentSeconds: 1}, probe, 0)
		if err != nil {
			t.Fatal(err)
		}
		u, dir, p := plan.Units[0], t.TempDir(), newPulse(time.Now())
		if stderr, err := w.encode(t.Context(), u, source, dir, p); err != nil {
			t.Fatalf("%v, %q", err, stderr)
		}
		result, err := w.proof(t.Context(), u, dir, p)
		if err == nil {
			err = transcode.Check(u, result)
		}
		if err != nil || (len(result.Held) > 0) != held {
			t.Errorf("%v s missing: %v, held %v; want it accepted, and said: %v", missing, err, result.Held, held)
		}
	}
}

func TestTranscode(t *testing.T) {
	tests := []struct {
		name, file, args string
		frames           int // 0: whatever was planned
		within           int
		sizes            string
		output           transcode.Output
	}{
		{"B-frames", "a.mp4", video + sound + openGOP + "-c:a aac", 150, 0, two, transcode.Output{}},
		{"variable rate", "a.mkv", video + sound + "-vf select='gt(random(0),0.35)' -fps_mode vfr " + openGOP + "-c:a aac", 0, 0, two, transcode.Output{}},
		{"late start", "a.ts", video + sound + openGOP + "-c:a aac", 150, 1, two, transcode.Output{}},
		{"film rate", "a.mp4", "-f lavfi -i testsrc2=s=192x128:r=24000/1001:d=5 " + openGOP, 120, 1, two, transcode.Output{}},
		{"no audio", "a.mp4", video + x264, 150, 0, two, transcode.Output{}},
		{"audio longer", "a.mp4", video + "-f lavfi -i sine=440:d=7 " + x264 + "-c:a aac", 150, 0, two, transcode.Output{}},
		{"mono", "a.mkv", video + sound + x264 + "-c:a libopus -ac 1", 150, 0, two, transcode.Output{}},
		{"late video", "a.mkv", "-itsoffset 0.5 " + video + sound + x264 + "-c:a aac", 165, 1, two, transcode.Output{}},
		{"portrait", "a.mp4", "-f lavfi -i testsrc2=s=128x192:r=25:d=5 " + x264, 125, 0, "128x192 64x96", transcode.Output{}},
		{"tiny", "a.avi", "-f lavfi -i testsrc2=s=32x24:r=15:d=0.2 -c:v mpeg4", 3, 0, "32x24", transcode.Output{}},
		{"wide pixels", "a.mp4", "-f lavfi -i testsrc2=s=96x128:r=25:d=2 -vf setsar=2 " + x264, 50, 0, two, transcode.Output{}},
		{"tail", "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=30:d=3.1 " + x264, 93, 0, "64x64", transcode.Output{}},
		{"10 bit", "a.mkv", "-f lavfi -i testsrc2=s=64x64:r=30:d=1 -pix_fmt yuv444p10le -c:v ffv1", 30, 0, "64x64", transcode.Output{}},
		{"one frame", "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=25 -frames:v 1 " + x264, 1, 0, "64x64", transcode.Output{}},
		{"wrong extension", "a.avi", "-f lavfi -i testsrc2=s=64x64:r=25:d=1 " + x264 + "-f matroska", 25, 0, "64x64", transcode.Output{}},
		{"interlaced", "a.ts", "-f lavfi -i testsrc2=s=160x120:r=25:d=4 -flags +ildct+ilme -c:v mpeg2video", 100, 1, "160x120", transcode.Output{}},
		{"H.265", "a.ts", video + sound + openGOP + "-c:a aac", 150, 1, two, transcode.Output{Codec: transcode.CodecH265}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := makeSource(t, tt.file, tt.args)
			j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: tt.output}, 3)
			if n := j.plan.Grid.Frames; tt.frames > 0 && (n < tt.frames-tt.within || n > tt.frames+tt.within) {
				t.Errorf("%d frames planned; want %d", n, tt.frames)
			}
			var sizes []string
			for _, r := range j.plan.Renditions {
				sizes = append(sizes, fmt.Sprintf("%dx%d", r.Width, r.Height))
			}
			if got := strings.Join(sizes, " "); got != tt.sizes {
				t.Errorf("renditions %s; want %s", got, tt.sizes)
			}
			j.verify()
		})
	}
}

// Machines with other versions of ffmpeg make units of the same rendition: no
// version is in what all have in common.
func TestInitIsOfNoVersion(t *testing.T) {
	t.Parallel()
	version := regexp.MustCompile(`Lav[cf][0-9.]+`)
	source := makeSource(t, "a.mp4", shortClip)
	for _, codec := range []transcode.Codec{transcode.CodecH264, transcode.CodecH265} {
		j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: transcode.Output{Container: transcode.ContainerCMAF, Codec: codec}}, 3)
		inits, err := filepath.Glob(filepath.Join(j.dir, "*", transcode.InitName))
		if err != nil || len(inits) < 2 {
			t.Fatalf("%s: initialization sections %q, %v; want one of video and one of audio at least", codec, inits, err)
		}
		for _, file := range inits {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if found := version.Find(data); found != nil {
				t.Errorf("%s: %s has %q in it; want no version", codec, filepath.Base(filepath.Dir(file)), found)
			}
		}
	}
}

// A board with little memory has fewer threads for each of several encoders.
func TestEncoderThreads(t *testing.T) {
	t.Parallel()
	one := transcode.VideoUnit{Rendition: transcode.Rendition{Name: "1080p", Width: 1920, Height: 1080}, Grid: transcode.Grid{Rate: transcode.Rational{Num: 25, Den: 1}, SegmentFrames: 100, Frames: 100}, EndFrame: 100}
	all := one
	all.Others = []transcode.Rendition{{Name: "720p", Width: 1280, Height: 720}, {Name: "540p", Width: 960, Height: 540}}
	great := all
	great.Rendition = transcode.Rendition{Name: "2160p", Width: 3840, Height: 2160}
	tests := map[string]struct {
		unit   transcode.VideoUnit
		memory int64
		want   int // how often threads are said
	}{
		"one on a small board":       {one, 900 << 20, 0},
		"several on a small board":   {all, 900 << 20, 3},
		"several on a greater board": {all, 3800 << 20, 0},
		"more than it has room for":  {great, 1900 << 20, 3},
	}
	for name, test := range tests {
		w := &Worker{memory: test.memory}
		args := strings.Join(w.videoArgs(test.unit, "a.mp4", ""), " ")
		if got := strings.Count(args, " -threads 2 "); got != test.want {
			t.Errorf("%s: %d times -threads 2 in %q; want %d", name, got, args, test.want)
		}
	}
	if n := (&Worker{}).memoryBytes(); n < 64<<20 {
		t.Errorf("this machine has %d bytes of memory; want more", n)
	}
}
