package worker

import (
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// Jobs that an earlier version left half-way are finished by today's queue and
// worker: by the probes, plans and units that the earlier one stored, and with the
// files that it had accepted. scripts/old-queues made what is in testdata.
func TestEarlierQueues(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("testdata/*.tar.gz")
	if err != nil || len(archives) < 2 {
		t.Fatalf("%q, %v; want the archives of two versions", archives, err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			c := openEarlier(t, archive, testLog(t))
			jobs := c.halfDone()
			unpaused := false
			for _, job := range jobs {
				if _, err := c.queue.Change(t.Context(), job.ID, queue.Change{Paused: &unpaused}); job.Paused && err != nil {
					t.Error(err)
				}
			}
			startWorker(t, &Worker{Config: c.config("pc1")})
			for _, job := range jobs {
				c.checkFinished(job)
			}
			c.checkSwept()
		})
	}
}

const earlierStates = "cancelled:cancelled waiting whole:queued waiting stream:queued paused:running:paused" +
	" join:running file:running cmaf:running stream:running failed:failed done:done"

// openEarlier runs a queue on the database and the media share of an archive.
func openEarlier(t *testing.T, archive string, log *slog.Logger) *cluster {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-C", dir, "--no-same-owner", "-xzf", archive).CombinedOutput(); err != nil {
		t.Fatalf("unpacking %s: %v\n%s", archive, err, out)
	}
	q := queuetest.Start(t, dir, func(o *queue.Options) { o.Log = log })
	return &cluster{T: t, queue: q.Queue, addr: q.Broker.Addr(), media: q.MediaDir}
}

// halfDone returns all jobs. It makes sure that they are as scripts/old-queues left
// them: one unit is claimed, and of each of five jobs the probe, the audio and a part
// of the video are done.
func (c *cluster) halfDone() []queue.Job {
	c.Helper()
	jobs, err := c.queue.Jobs(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	if got := statesOf(jobs); got != earlierStates {
		c.Errorf("jobs before: %s; want %s", got, earlierStates)
	}
	units := map[string]int{}
	for i := range jobs {
		if jobs[i], err = c.queue.Job(c.Context(), jobs[i].ID); err != nil {
			c.Fatal(err)
		}
		for _, unit := range jobs[i].Units {
			if jobs[i].State == queue.Running {
				units[unit.State+" "+string(unit.Kind)]++
			}
		}
	}
	for _, kind := range []transcode.Kind{transcode.KindProbe, transcode.KindAudio, transcode.KindVideo} {
		if n := units["done "+string(kind)]; n != 5 {
			c.Errorf("of running jobs, %d units of %s are done; want 5", n, kind)
		}
	}
	if n := units["running video"]; n != 1 {
		c.Errorf("%d units are claimed; want one", n)
	}
	return jobs
}

// statesOf returns names and states of jobs.
func statesOf(jobs []queue.Job) string {
	var states []string
	for _, job := range jobs {
		state := job.Request.Name + ":" + string(job.State)
		if job.Paused {
			state += ":paused"
		}
		states = append(states, state)
	}
	return strings.Join(states, " ")
}

// checkFinished waits for a job of an earlier version. What was done stays done, and
// the output has all frames of its source.
func (c *cluster) checkFinished(before queue.Job) {
	c.Helper()
	after := c.waitEnd(before)
	name := after.Request.Name
	if name == "failed" || name == "cancelled" {
		if after.State != before.State {
			c.Errorf("%s is %s; want it as it was, %s", name, after.State, before.State)
		}
		return
	}
	if after.State != queue.Done {
		c.Errorf("%s is %s: %s, %q; want it done", name, after.State, after.Reason, after.Stderr)
		return
	}
	for i, unit := range before.Units {
		if unit.State == "done" && after.Units[i].Attempt != unit.Attempt {
			c.Errorf("%s: %s was done again", name, unit.ID)
		}
	}
	args := []string{"-v", "error", "-allowed_extensions", "ALL", "-select_streams", "v:0", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", after.Output}
	if after.Request.IsFile() {
		args = append(args[:2], args[4:]...)
	}
	want := map[string]string{"a.mp4": "240", "short.mp4": "30"}[after.Request.Source]
	if got := strings.Fields(ffmpegRun(c.T, c.media, "ffprobe", args...)); len(got) == 0 || got[0] != want {
		c.Errorf("%s has %q frames of video; want %s", name, got, want)
	}
}
