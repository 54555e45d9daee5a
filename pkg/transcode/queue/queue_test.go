package queue

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"pibootd/pkg/transcode"

	"github.com/Eyevinn/hls-m3u8/m3u8"
)

func TestVideoIsPublished(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	if job.State != Queued || len(job.Units) != 1 {
		t.Errorf("submitted: %+v; want queued with a probe", job)
	}
	m := b.join("pi1", transcode.Hello{})
	for range 1 + len(theFixture(t).plan.Units) {
		m.do()
	}
	job = b.waitEnd(job.ID)
	frames := 2 * sourceSeconds * sourceRate
	if job.State != Done || job.Output != "hls/clip/master.m3u8" || job.Frames != frames || job.TotalFrames != frames {
		t.Errorf("job = %+v; want done at hls/clip with %d frames", job, frames)
	}
	checkPublished(t, b, "hls/clip")
	b.stop()
	b.checkSwept(job.ID)
}

// checkPublished makes sure that a whole stream is there and can be played.
func checkPublished(t *testing.T, b *bench, output string) {
	t.Helper()
	checkModes(t, b.media(output))
	for _, dir := range []string{"128p", "64p", "audio"} {
		text, err := os.ReadFile(filepath.Join(b.media(output), dir, transcode.MediaName))
		if err != nil {
			t.Fatal(err)
		}
		list, kind, err := m3u8.DecodeFrom(bytes.NewReader(text), true)
		if err != nil || kind != m3u8.MEDIA {
			t.Fatalf("%s: playlist of kind %v, %v", dir, kind, err)
		}
		for _, s := range list.(*m3u8.MediaPlaylist).GetAllSegments() {
			if _, err := os.Stat(filepath.Join(b.media(output), dir, s.URI)); err != nil {
				t.Error(err)
			}
		}
	}
	got := countFrames(t, filepath.Join(b.media(output), transcode.MasterName))
	if want := []string{"90", "90"}; !slices.Equal(got, want) {
		t.Errorf("ffprobe counts %q frames in the variants; want %q", got, want)
	}
}

// checkModes makes sure that viewers can read all of a stream.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(fileMode)
		if entry.IsDir() {
			want = dirMode
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s: mode %v; want %v", name, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// countFrames has ffprobe read a master playlist and returns the number of
// video packets of each variant.
func countFrames(t *testing.T, master string) []string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-allowed_extensions", "ALL", "-select_streams", "v", "-count_packets",
		"-show_entries", "stream=index,nb_read_packets", "-of", "json", master).Output()
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Streams []struct {
			Packets string `json:"nb_read_packets"`
		}
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	var counts []string
	for _, s := range found.Streams {
		counts = append(counts, s.Packets)
	}
	return counts
}

// Each worker gets its weight with every answer to its Hello.
func TestWorkersAreToldTheirWeight(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), func(o *Options) {
		o.Weight = func(worker string) float64 { return map[string]float64{"pi1": 0.5, "pi2": 1}[worker] }
	})
	for name, want := range map[string]float64{"pi1": 0.5, "pi2": 1, "pi3": 0} {
		m := b.join(name, transcode.Hello{})
		var reply transcode.HelloReply
		m.ask(transcode.SubjectHello, transcode.Hello{Protocol: transcode.Protocol}, &reply)
		if reply.Weight != want {
			t.Errorf("weight of %s = %v; want %v", name, reply.Weight, want)
		}
	}
}
