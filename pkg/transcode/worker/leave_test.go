package worker

import (
	"testing"
	"time"

	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// watchWorkers runs a queue that reports what becomes of its workers.
func watchWorkers(t *testing.T) (c *cluster, events chan queue.WorkerEvent) {
	events = make(chan queue.WorkerEvent, 64)
	media := t.TempDir()
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) {
		o.MediaDir, o.Log, o.OnWorker = media, testLog(t), func(e queue.WorkerEvent) { events <- e }
	})
	return &cluster{T: t, queue: q.Queue, addr: q.Broker.Addr(), media: media}, events
}

// A worker that is stopped says so, and reports its machine while it runs.
func TestStoppedWorkerLeaves(t *testing.T) {
	t.Parallel()
	c, events := watchWorkers(t)
	r := startWorker(t, &Worker{Config: c.config("worker0")})
	if e := wait(t, "event", events); !e.Online || e.Left || e.Hello.Machine.RootSize == 0 || time.Since(e.Hello.Machine.Time).Abs() > patience {
		t.Errorf("event %+v; want the worker online, with its machine", e)
	}
	r.end()
	if e := wait(t, "event", events); e.Online || !e.Left {
		t.Errorf("event %+v; want the worker offline, because it was stopped", e)
	}
}

// A worker without ffmpeg says why it ends.
func TestWorkerWithoutFFmpeg(t *testing.T) {
	t.Parallel()
	c, _ := watchWorkers(t)
	r := startWorker(t, &Worker{Config: c.config("worker0"), FFmpeg: "/nonexistent/ffmpeg"})
	if err := wait(t, "end", r.ended); err == nil {
		t.Error("a worker without ffmpeg ends without an error")
	}
	for _, w := range c.queue.Workers() {
		if w.Hello.NoFFmpeg == "" || !w.Online {
			t.Errorf("worker %+v; want it online, and why it has no ffmpeg", w)
		}
	}
	if len(c.queue.Workers()) != 1 {
		t.Errorf("workers %+v; want one", c.queue.Workers())
	}
}
