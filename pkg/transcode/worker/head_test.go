package worker

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"

	"golang.org/x/sys/unix"
)

// A patientProbe is an ffprobe that reads all of a source only when it is let.
type patientProbe struct{ program, gate string }

func newPatientProbe(t *testing.T) patientProbe {
	t.Helper()
	dir := t.TempDir()
	p := patientProbe{filepath.Join(dir, "ffprobe"), filepath.Join(dir, "gate")}
	script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *-read_intervals*) ;; *-show_chapters*) cat '%s' ;; esac\nexec ffprobe \"$@\"\n", p.gate)
	if err := os.WriteFile(p.program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(p.gate, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// open lets one ffprobe read all of its source.
func (p patientProbe) open(t *testing.T) {
	t.Helper()
	gate, err := os.OpenFile(p.gate, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Close(); err != nil {
		t.Fatal(err)
	}
}

// The beginning of a long film can be played while all of it is still being probed. What was
// announced then stays as it is, and the rest follows on it.
func TestBeginningIsPlayedBeforeAllIsProbed(t *testing.T) {
	t.Parallel()
	const seconds, head = 280, 20 // segments of 4 s
	c, probe := newHeadCluster(t)
	c.provide("film.mp4", makeSource(t, "film.mp4", fmt.Sprintf("-f lavfi -i testsrc2=s=64x48:r=5:d=%d -f lavfi -i sine=440:d=%d %s-g 20 -c:a aac", seconds, seconds, x264)))
	job := c.submit(transcode.Request{Source: "film.mp4", Name: "film", Output: transcode.Output{Progressive: true, NoPictures: true}})
	dirs := []string{"48p", transcode.AudioName}
	c.get(job.ID, queue.SeekName)
	for _, dir := range dirs {
		c.get(job.ID, path.Join(dir, transcode.ContainerTS.SegmentName(head-1)))
	}
	job = c.wantUnit(job.ID, "probe", "running")
	seen := map[string]string{}
	for _, dir := range dirs {
		name := path.Join(dir, transcode.MediaName)
		file, err := c.queue.StreamFile(t.Context(), job.ID, name)
		if text := string(file.Text); err != nil || strings.Count(text, "#EXTINF") != head || !strings.Contains(text, "TYPE:EVENT") || strings.Contains(text, "ENDLIST") {
			t.Errorf("%s, %v:\n%s\nwant a playlist of %d segments that grows", name, err, text, head)
		}
		text, err := os.ReadFile(filepath.Join(c.media, path.Dir(job.Output), name))
		if err != nil {
			t.Fatal(err)
		}
		seen[name] = string(text)
	}
	probe.open(t)
	c.wantDone(job)
	for name, before := range seen {
		after, err := os.ReadFile(filepath.Join(c.media, path.Dir(job.Output), name))
		if err != nil || !strings.HasPrefix(string(after), before) || strings.Count(string(after), "#EXTINF") < seconds/4 {
			t.Errorf("%s, %v:\n%s\nwant it to follow on\n%s", name, err, after, before)
		}
	}
	c.checkSwept()
}

// newHeadCluster is newCluster for which every source is long.
func newHeadCluster(t *testing.T) (*cluster, patientProbe) {
	t.Helper()
	q, probe := queuetest.Start(t, t.TempDir(), func(o *queue.Options) { o.HeadBytes = 1 }), newPatientProbe(t)
	c := &cluster{T: t, queue: q.Queue, addr: q.Broker.Addr(), media: q.MediaDir}
	for i := range 2 {
		startWorker(t, &Worker{Config: c.config(fmt.Sprintf("worker%d", i)), FFprobe: probe.program})
	}
	return c, probe
}

// wantUnit makes sure that a unit of a job is in this state.
func (c *cluster) wantUnit(job int64, unit, state string) queue.Job {
	c.Helper()
	now, err := c.queue.Job(c.Context(), job)
	if err != nil {
		c.Fatal(err)
	}
	for _, u := range now.Units {
		if u.ID == unit && u.State != state {
			c.Errorf("%s is %s; want %s", unit, u.State, state)
		}
	}
	return now
}

// Where the beginning of a source leaves doubt about the rest, nothing is made before all of it
// is known, and the note says why.
func TestDoubtfulBeginningWaits(t *testing.T) {
	t.Parallel()
	c, probe := newHeadCluster(t)
	c.provide("film.ts", makeSource(t, "film.ts", "-f lavfi -i testsrc2=s=64x48:r=5:d=300 "+x264+"-g 20"))
	job := c.submit(transcode.Request{Source: "film.ts", Name: "film", Output: transcode.Output{Progressive: true, NoPictures: true}})
	for now, err := range c.queue.Watch(t.Context(), job.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if job = now; job.Note != "" {
			break
		}
	}
	if want := "the first segments come after all of the video was examined, because mpegts does not say what is where in it"; job.Note != want || len(job.Units) != 1 {
		t.Errorf("%d units, note %q; want the probe alone, and %q", len(job.Units), job.Note, want)
	}
	probe.open(t)
	c.wantDone(job)
	if job, err := c.queue.Job(t.Context(), job.ID); err != nil || !strings.Contains(job.Note, "mpegts does not say") {
		t.Errorf("note %q, %v; want why it began late", job.Note, err)
	}
}
