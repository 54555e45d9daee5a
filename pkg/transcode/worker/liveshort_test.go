package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// liveSource has a rate of 25, a key frame every other second, and sound.
const liveSource = "-f lavfi -i testsrc2=s=320x180:r=25:d=%[1]d -f lavfi -i sine=440:r=48000:d=%[1]d " + x264 + "-g 50 -c:a aac"

// keyDistance is by how many seconds what follows a loss may overlap what was before: a file
// continues at the key frame before.
const keyDistance = 2

// liveRungs are two renditions of it.
var liveRungs = transcode.Output{Rungs: []transcode.Rung{{Lines: 180}, {Lines: 90}}}

// A liveTest is a live stream whose processes are killed. The queue is in this process and
// has another address each time that it is started, of which workers know nothing.
type liveTest struct {
	*testing.T
	dir     string
	queue   *queuetest.Queue
	network *network
	workers map[string]*process
}

func newLiveTest(t *testing.T, seconds int) *liveTest {
	t.Helper()
	l := newLiveQueue(t)
	data, err := os.ReadFile(makeSource(t, fmt.Sprintf("live%d.mp4", seconds), fmt.Sprintf(liveSource, seconds)))
	if err == nil {
		err = os.WriteFile(filepath.Join(l.queue.MediaDir, "a.mp4"), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newLiveQueue starts a queue that takes loopback addresses for those of another machine.
func newLiveQueue(t *testing.T) *liveTest {
	t.Helper()
	l := &liveTest{T: t, dir: t.TempDir(), workers: map[string]*process{}}
	l.queue = queuetest.Start(t, l.dir, func(o *queue.Options) {
		o.Log = testLog(t)
		o.LiveAllow, o.OwnNets = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, func() ([]netip.Prefix, error) { return nil, nil }
		o.LiveKeys = filepath.Join(l.dir, "keys")
	})
	l.network = newNetwork(t, l.queue.Broker.Addr().String(), rand.New(rand.NewPCG(1, 2)))
	return l
}

func (l *liveTest) startWorker(name string) {
	l.Helper()
	config, err := json.Marshal(Config{Name: name, Token: queuetest.Token, QueueURL: "nats://" + l.network.addr().String(), MediaDir: l.queue.MediaDir})
	if err != nil {
		l.Fatal(err)
	}
	l.workers[name] = startProcess(l.T, l.dir, workerConfig, string(config))
}

func (l *liveTest) add(r transcode.Request) {
	l.Helper()
	r.Source, r.Name, r.Output = "a.mp4", "show", liveRungs
	if _, err := l.queue.AddLive(l.Context(), r); err != nil {
		l.Fatal(err)
	}
}

// A liveFollower reads a media playlist again and again, as a player does.
type liveFollower struct {
	rendition string
	list      hls.LivePlaylist
	before    bool // list has been read
}

// next waits for the next part, or the end, and makes sure that the playlist can follow
// the one before.
func (l *liveTest) next(f *liveFollower) {
	l.Helper()
	place := &queue.LivePlace{} // the first part: without a place, a whole segment is waited for
	if n := len(f.list.Segments); n > 0 {
		last := f.list.Segments[n-1]
		place = &queue.LivePlace{Segment: last.Number, Part: len(last.Parts)}
		if !last.Open {
			place = &queue.LivePlace{Segment: last.Number + 1}
		}
	}
	ctx, cancel := context.WithTimeout(l.Context(), patience)
	defer cancel()
	text, err := l.queue.LiveMedia(ctx, "show", f.rendition, place)
	if err != nil {
		l.Fatalf("%s: %v", f.rendition, err)
	}
	list, err := hls.CheckLive(text)
	if err == nil && f.before {
		err = hls.CheckLiveUpdate(f.list, list)
	}
	if err != nil {
		l.Fatalf("%s: %v\n%s", f.rendition, err, text)
	}
	f.list, f.before = list, true
}

// until follows a playlist until a condition holds.
func (l *liveTest) until(f *liveFollower, holds func(hls.LivePlaylist) bool) {
	l.Helper()
	for !holds(f.list) {
		if f.list.Ended {
			l.Fatalf("%s has ended with %+v", f.rendition, f.list.Segments)
		}
		l.next(f)
	}
}

func ended(p hls.LivePlaylist) bool { return p.Ended }

// begun reports whether a playlist has parts of a session.
func begun(session int) func(hls.LivePlaylist) bool {
	return func(p hls.LivePlaylist) bool {
		return len(p.Segments) > 0 && p.Segments[len(p.Segments)-1].Session >= session
	}
}

// inPlaylist returns how many seconds a playlist has, and how many segments with gaps.
func inPlaylist(p hls.LivePlaylist) (seconds float64, gaps int) {
	for _, s := range p.Segments {
		seconds += s.Seconds()
		if s.Gap {
			gaps++
		}
	}
	return seconds, gaps
}

// The worker that receives the source is killed, with what it encodes. Another one takes
// both, behind a discontinuity, and the file continues where it was.
func TestLiveWorkerIsKilled(t *testing.T) {
	t.Parallel()
	l := newLiveTest(t, 10)
	l.startWorker("a")
	l.startWorker("b")
	l.add(transcode.Request{Live: &transcode.Live{}})
	f := &liveFollower{rendition: "180p"}
	l.until(f, begun(0))
	live, err := l.queue.Live("show")
	if err != nil {
		t.Fatal(err)
	}
	l.workers[live.Ingest].kill()
	l.until(f, begun(1))
	l.until(f, ended)
	for _, rendition := range []string{"180p", "90p", transcode.AudioName} {
		f := &liveFollower{rendition: rendition}
		l.next(f)
		// What was received and was no part yet is lost: a second, and another until the loss was noticed.
		if seconds, gaps := inPlaylist(f.list); !f.list.Ended || seconds < 6 || seconds > 10+keyDistance || gaps > 0 {
			t.Errorf("%s has %v s with %d gaps; want about 10 without\n%s", rendition, seconds, gaps, f.list.Text())
		}
	}
}

// The daemon is restarted: what it has stays, and the stream goes on behind a
// discontinuity.
func TestLiveDaemonIsRestarted(t *testing.T) {
	t.Parallel()
	l := newLiveTest(t, 10)
	l.startWorker("a")
	l.startWorker("b")
	l.add(transcode.Request{Live: &transcode.Live{}})
	f := &liveFollower{rendition: "90p"}
	l.until(f, begun(0))
	l.queue.Close()
	l.queue = queuetest.Start(t, l.dir, func(o *queue.Options) { o.Log = testLog(t) })
	l.network.lead(l.queue.Broker.Addr().String())
	l.until(f, begun(1))
	l.until(f, ended)
	if seconds, gaps := inPlaylist(f.list); seconds < 6 || seconds > 10+keyDistance || gaps > 0 {
		t.Errorf("%v s are listed with %d gaps; want about 10 without\n%s", seconds, gaps, f.list.Text())
	}
	job, err := l.queue.Job(t.Context(), 1)
	if err != nil || job.State != queue.Done {
		t.Errorf("the job is %v, %q, %v; want it done", job.State, job.Reason, err)
	}
}

// A stream that is stopped ends with what was received, and gives its name back. What
// cannot be streamed fails with a reason.
func TestLiveStreamIsStopped(t *testing.T) {
	t.Parallel()
	l := newLiveTest(t, 60)
	l.startWorker("a")
	l.add(transcode.Request{Live: &transcode.Live{}})
	f := &liveFollower{rendition: "180p"}
	l.until(f, begun(0))
	if _, err := l.queue.AddLive(t.Context(), transcode.Request{Source: "a.mp4", Name: "show"}); err == nil || !strings.Contains(err.Error(), "is running already") {
		t.Errorf("a second stream of this name: %v; want it refused", err)
	}
	if _, err := l.queue.StopLive(t.Context(), "show"); err != nil {
		t.Fatal(err)
	}
	l.until(f, ended)
	if _, err := l.queue.StopLive(t.Context(), "show"); !errors.Is(err, queue.ErrNoLive) {
		t.Errorf("stopping it again: %v; want ErrNoLive", err)
	}
	if err := os.WriteFile(filepath.Join(l.queue.MediaDir, "a.mp4"), []byte("no video at all"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.add(transcode.Request{Live: &transcode.Live{}})
	for job, err := range l.queue.Watch(t.Context(), 2) {
		if err != nil {
			t.Fatal(err)
		}
		if job.State.Ended() && (job.State != queue.Failed || !strings.Contains(job.Reason, "not a video")) {
			t.Errorf("a stream of text is %v, %q; want it failed", job.State, job.Reason)
		}
	}
}

// A stream that is kept is a video in the end, with all that was received.
func TestLiveStreamIsKept(t *testing.T) {
	t.Parallel()
	l := newLiveTest(t, 6)
	l.startWorker("a")
	l.add(transcode.Request{Live: &transcode.Live{Keep: true}})
	var job queue.Job
	for update, err := range l.queue.Watch(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		job = update
	}
	if job.State != queue.Done || job.Output != "hls/show/master.m3u8" {
		t.Fatalf("the job is %s, %q, with %q; want a stream", job.State, job.Reason, job.Output)
	}
	dir := filepath.Join(l.queue.MediaDir, "hls/show")
	for _, rendition := range []string{"180p", "90p", transcode.AudioName} {
		text, err := os.ReadFile(filepath.Join(dir, rendition, transcode.MediaName))
		if err != nil {
			t.Fatal(err)
		}
		list, err := hls.CheckLive(text)
		if seconds, gaps := inPlaylist(list); err != nil || !list.VOD || seconds < 5.9 || seconds > 6.1 || gaps > 0 {
			t.Errorf("%s: %v, %v s with %d gaps; want a video of 6 s\n%s", rendition, err, seconds, gaps, text)
		}
	}
	out := ffmpegRun(t, dir, "ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", "master.m3u8")
	if got := strings.Fields(out); len(got) == 0 || got[0] != "150" { // a line for each variant stream
		t.Errorf("%q frames can be decoded; want 150", got)
	}
}
