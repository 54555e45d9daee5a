//go:build bench

package worker

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"

	"golang.org/x/sync/errgroup"
)

const (
	firstMinutes = 20
	jumpMinute   = 16
	filmWidth    = 320
	filmHeight   = 180
	filmRate     = 25
)

// TestFirstPicture prints how soon somebody sees something of a video of twenty minutes
// that two workers make: its beginning, and the place that he goes to then; and what that
// costs the job.
func TestFirstPicture(t *testing.T) {
	c, seen := newTimed(t)
	provideFilm(c)
	output := transcode.Output{Rungs: []transcode.Rung{{Lines: 180, BitrateBPS: 400_000}, {Lines: 120, BitrateBPS: 200_000}}, NoPictures: true}
	whole := c.timeOf(output)
	output.Progressive = true
	progressive := c.timeOf(output)

	began := time.Now()
	job := c.submit(transcode.Request{Source: "film.mp4", Name: "watched", Output: output})
	c.get(job.ID, queue.SeekName)
	first := time.Since(began)
	jumped := time.Now()
	var g errgroup.Group
	for _, dir := range []string{"180p", "120p", transcode.AudioName} {
		g.Go(func() error {
			c.get(job.ID, path.Join(dir, transcode.ContainerTS.SegmentName(jumpMinute*60/4)))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	jump := time.Since(jumped)
	c.wantDone(job)
	took, chunk := time.Since(began), seen.longest(job.ID)

	row := func(what string, got time.Duration, want string) {
		t.Logf("%-44s %6.1f s, want %s", what, got.Seconds(), want)
	}
	t.Logf("%d minutes of %dx%d in two renditions and sound, two workers; what else this machine does counts", firstMinutes, filmWidth, filmHeight)
	row("first segment of all renditions", first, "<= 8.0 s")
	row(fmt.Sprintf("minute %d, after a jump to it", jumpMinute), jump, fmt.Sprintf("<= %.1f s, the longest chunk and 2 s", chunk.Seconds()+2))
	row("the whole job, progressive", progressive, fmt.Sprintf("<= %.1f s, 1.05 x %.1f s of one that is not (%.2f)", 1.05*whole.Seconds(), whole.Seconds(), progressive.Seconds()/whole.Seconds()))
	t.Logf("with the jump, for which a worker put off what it had begun, the whole job takes %.1f s", took.Seconds())
}

// timeOf returns how long a job takes that makes output of the film.
func (c *cluster) timeOf(output transcode.Output) time.Duration {
	c.Helper()
	began := time.Now()
	c.wantDone(c.submit(transcode.Request{Source: "film.mp4", Name: fmt.Sprintf("progressive-%t", output.Progressive), Output: output}))
	return time.Since(began)
}

// provideFilm makes a film of noise and puts it into the media share.
func provideFilm(c *cluster) {
	c.Helper()
	const loop = 40 // seconds; the film repeats it
	clip := makeSource(c.T, "loop.mp4", fmt.Sprintf("-f lavfi -i testsrc2=s=%dx%d:r=%d:d=%d,noise=alls=20:allf=t -f lavfi -i sine=440:d=%d -c:v libx264 -preset ultrafast -crf 20 -pix_fmt yuv420p -g 50 -c:a aac",
		filmWidth, filmHeight, filmRate, loop, loop))
	film := filepath.Join(c.media, "film.mp4")
	ffmpegRun(c.T, c.media, "ffmpeg", "-v", "error", "-stream_loop", fmt.Sprint(firstMinutes*60/loop-1), "-i", clip, "-c", "copy", film)
}

// unitTimes has when units were begun, and how long they took.
type unitTimes struct {
	mu    sync.Mutex
	begun map[string]time.Time
	took  map[string]time.Duration
}

func (u *unitTimes) note(e queue.UnitEvent) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := fmt.Sprintf("%d %s %d", e.Job, e.Unit, e.Attempt)
	switch e.Event {
	case queue.EventClaimed:
		u.begun[key] = time.Now()
	case queue.EventDone:
		u.took[key] = time.Since(u.begun[key])
	}
}

// longest returns how long the longest unit of video of a job took.
func (u *unitTimes) longest(job int64) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []time.Duration
	for key, took := range u.took {
		if strings.HasPrefix(key, fmt.Sprintf("%d v-", job)) {
			all = append(all, took)
		}
	}
	return slices.Max(all)
}

// newTimed is newCluster that notes how long units take.
func newTimed(t *testing.T) (*cluster, *unitTimes) {
	t.Helper()
	times := &unitTimes{begun: map[string]time.Time{}, took: map[string]time.Duration{}}
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) { o.OnUnit = times.note })
	c := &cluster{T: t, queue: q.Queue, addr: q.Broker.Addr(), media: q.MediaDir}
	for i := range 2 {
		startWorker(t, &Worker{Config: c.config(fmt.Sprintf("worker%d", i))})
	}
	return c, times
}
