package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// A fixture is a small real source and what each unit of its plan encodes to.
type fixture struct {
	source  []byte
	probe   transcode.Probe
	plan    transcode.Plan
	results map[string]transcode.Result
	files   map[string]map[string][]byte // unit, segment name
}

const (
	sourceName    = "films/test clip.mp4"
	sourceSeconds = 3
	sourceRate    = 30
)

var fixtureRequest = transcode.Request{Source: sourceName, Name: "clip", SegmentSeconds: 1}

// loadFixture encodes the fixture once for all tests.
var loadFixture = sync.OnceValues(func() (*fixture, error) {
	dir, err := os.MkdirTemp("", "queue-fixture-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return makeFixture(dir, fixtureRequest)
})

func theFixture(t testing.TB) *fixture {
	t.Helper()
	f, err := loadFixture()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func makeFixture(dir string, r transcode.Request) (*fixture, error) {
	source := filepath.Join(dir, "source.mp4")
	length := fmt.Sprintf("duration=%d", sourceSeconds)
	err := ffmpeg("-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=160x128:rate=%d:%s", sourceRate, length),
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:"+length,
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", source)
	if err != nil {
		return nil, err
	}
	f := &fixture{results: map[string]transcode.Result{}, files: map[string]map[string][]byte{}}
	if f.source, err = os.ReadFile(source); err != nil {
		return nil, err
	}
	f.probe = transcode.Probe{
		Format: "mp4", Seconds: sourceSeconds, SizeBytes: int64(len(f.source)), BitrateBPS: 500_000,
		Video: &transcode.VideoStream{
			Codec: "h264", Width: 160, Height: 128, Rate: transcode.Rational{Num: sourceRate, Den: 1},
			PixelFormat: "yuv420p", EndSeconds: sourceSeconds,
		},
		Audio: &transcode.AudioStream{Codec: "aac", Channels: 1, SampleRate: 48000, EndSeconds: sourceSeconds},
	}
	f.results["probe"] = transcode.Result{Probe: &f.probe}
	if f.plan, err = transcode.NewPlan(r, f.probe, 0); err != nil {
		return nil, err
	}
	for _, u := range f.plan.Units {
		if err := f.encode(source, filepath.Join(dir, u.ID), u); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// encode does a unit as a worker would.
func (f *fixture) encode(source, dir string, u transcode.Unit) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	args := audioArgs(u)
	if u.Video != nil {
		args = videoArgs(*u.Video)
	}
	args = append([]string{"-copyts", "-i", source}, args...)
	args = append(args, "-output_ts_offset", "10", "-muxdelay", "0", "-muxpreload", "0", "-f", "hls",
		"-hls_list_size", "0", "-hls_playlist_type", "vod", "-start_number", fmt.Sprint(u.FirstSegment()), "-hls_segment_filename", filepath.Join(dir, "%05d.ts"),
		filepath.Join(dir, "unit.m3u8"))
	if err := ffmpeg(args...); err != nil {
		return err
	}
	result, files := transcode.Result{Encoder: "libx264"}, map[string][]byte{}
	for i := u.FirstSegment(); ; i++ {
		name := u.Container().SegmentName(i)
		data, err := os.ReadFile(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			break
		}
		info, err := mediafile.InspectTS(bytes.NewReader(data))
		if err != nil {
			return err
		}
		files[name] = data
		result.Codecs = info.Codecs
		result.Segments = append(result.Segments, describe(u, name, data, info))
	}
	f.results[u.ID], f.files[u.ID] = result, files
	return transcode.Check(u, result)
}

func describe(u transcode.Unit, name string, data []byte, info mediafile.SegmentInfo) transcode.Segment {
	sum := sha256.Sum256(data)
	s := transcode.Segment{
		Name: name, SizeBytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Frames: info.Frames,
		FirstPTS: info.FirstPTS, LastPTS: info.LastPTS, Key: info.Key, Seconds: transcode.AudioSeconds(info.Frames),
	}
	if u.Video != nil {
		s.Seconds = u.Video.Grid.Seconds(info.Frames)
	}
	return s
}

func videoArgs(v transcode.VideoUnit) []string {
	return []string{
		"-map", "0:v:0", "-an", "-vf",
		fmt.Sprintf("fps=%v:round=near:start_time=0,trim=start_pts=%d:end_pts=%d,scale=%d:%d,format=yuv420p",
			v.Grid.Rate, v.FirstFrame, v.EndFrame, v.Rendition.Width, v.Rendition.Height),
		"-fps_mode", "passthrough", "-enc_time_base", fmt.Sprintf("%d:%d", v.Grid.Rate.Den, v.Grid.Rate.Num),
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "9999", "-sc_threshold", "0",
		"-force_key_frames", fmt.Sprintf("expr:not(mod(n,%d))", v.Grid.SegmentFrames), "-hls_time", "0.1",
	}
}

func audioArgs(u transcode.Unit) []string {
	if u.Audio == nil {
		return nil
	}
	return []string{
		"-map", "0:a:0", "-vn", "-af", "aresample=async=1:first_pts=0", "-c:a", "aac", "-ar", "48000",
		"-ac", fmt.Sprint(u.Audio.Rendition.Channels), "-hls_time", fmt.Sprint(u.Audio.SegmentSeconds),
	}
}

func ffmpeg(args ...string) error {
	args = append([]string{"-nostdin", "-v", "error", "-threads", "1"}, args...)
	out, err := exec.Command("ffmpeg", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ffmpeg %q: %w\n%s", args, err, out)
	}
	return nil
}
