package mediafile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// liveMovie is what ffmpeg writes for a live stream: fragments of a quarter of a second.
func liveMovie(t testing.TB) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "live.mp4")
	args := strings.Fields("-v error -f lavfi -i testsrc2=s=64x48:r=20:d=2 -c:v libx264 -g 20 -preset ultrafast -bf 2 -output_ts_offset 10" +
		" -avoid_negative_ts disabled -use_editlist 0 -f mp4 -movflags +empty_moov+default_base_moof+frag_discont+frag_keyframe -frag_duration 250000")
	if out, err := exec.Command("ffmpeg", append(args, file)...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A movie that grows is read fragment by fragment: none is lost, they follow on each
// other, and the key frames are where they were asked for.
func TestReadFragments(t *testing.T) {
	data := liveMovie(t)
	var init InitInfo
	var all []Fragment
	size := 0
	err := ReadFragments(iotestReader{bytes.NewReader(data)}, 1<<20, func(data []byte) (err error) {
		size += len(data)
		init, err = InspectInit(bytes.NewReader(data))
		return err
	}, func(data []byte) error {
		size += len(data)
		f, err := InspectFragment(init, data)
		all = append(all, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	frames := 0
	for i, f := range all {
		if i > 0 && f.Begin != all[i-1].End {
			t.Errorf("fragment %d begins at %d; want %d, where the one before ends", i, f.Begin, all[i-1].End)
		}
		if f.End-f.Begin > TicksPerSecond/4+TicksPerSecond/20 {
			t.Errorf("fragment %d lasts %d ticks; want a quarter of a second", i, f.End-f.Begin)
		}
		frames += f.Frames
	}
	if frames != 40 || !all[0].Key || all[0].FirstPTS != 10*TicksPerSecond {
		t.Errorf("%d frames from %d, key frame: %v; want 40 from %d with one", frames, all[0].FirstPTS, all[0].Key, 10*TicksPerSecond)
	}
	if err := ReadFragments(bytes.NewReader(data), 500, func([]byte) error { return nil }, func([]byte) error { return nil }); err == nil {
		t.Error("fragments larger than allowed are read; want an error")
	}
}

// iotestReader returns few bytes at a time, as a pipe may.
type iotestReader struct{ from *bytes.Reader }

func (r iotestReader) Read(into []byte) (int, error) { return r.from.Read(into[:min(len(into), 7)]) }

func FuzzReadFragments(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08moof\x00\x00\x00\x08mdat"))
	f.Add([]byte("\x00\x00\x00\x10ftypisom\x00\x00\x00\x00\x00\x00\x00\x08moov"))
	f.Add([]byte("\x00\x00\x00\x01mdat\x00\x00\x00\x00\x00\x00\x00\x10"))
	f.Fuzz(func(t *testing.T, data []byte) {
		each := func(whole []byte) error {
			if len(whole) > 1000 {
				t.Errorf("%d bytes; want 1000 at most", len(whole))
			}
			_, _ = InspectFragment(InitInfo{timescale: 1000}, whole)
			return nil
		}
		_ = ReadFragments(bytes.NewReader(data), 1000, each, each)
	})
}
