package worker

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/broker/natstest"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// A job is done over a NATS server that is not pibootd's, although that goes
// away while a unit is at work and comes back with nothing it had stored.
func TestExternalServerForgets(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, "../../../docs/machines.md")
	credentials, err := broker.ParseCredentials([]byte(s.Credentials))
	if err != nil {
		t.Fatal(err)
	}
	broker, err := broker.Connect(broker.ExternalOptions{
		URL: s.URL(), Credentials: credentials, Log: testLog(t),
		Authenticate: func(_, token string) bool { return token == queuetest.Token },
	})
	if err != nil {
		t.Fatal(err)
	}
	claimed := make(chan struct{})
	tell := sync.OnceFunc(func() { close(claimed) })
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) {
		o.Broker, o.Log = broker, testLog(t)
		o.OnUnit = func(e queue.UnitEvent) {
			if e.Event == queue.EventClaimed && e.Unit != "probe" {
				tell()
			}
		}
	})
	c := &cluster{T: t, queue: q.Queue, media: q.MediaDir}
	c.provide("a.mp4", makeSource(t, "a.mp4", shortClip))
	job := c.submit(transcode.Request{Source: "a.mp4", Name: "clip", SegmentSeconds: 1})
	startWorker(t, &Worker{Config: Config{Name: "pi1", Token: queuetest.Token, QueueURL: broker.URL(), MediaDir: q.MediaDir}})
	<-claimed
	s.Stop()
	s.Forget()
	s.Run()
	if job = c.waitEnd(job); job.State != queue.Done {
		t.Errorf("job is %s: %s, %q; want it done", job.State, job.Reason, job.Stderr)
	}
	if _, err := os.Stat(filepath.Join(q.MediaDir, job.Output)); err != nil {
		t.Error(err)
	}
	c.checkSwept()
}
