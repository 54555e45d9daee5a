package queue

import (
	"path"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// newHead returns a film whose beginning is planned, while its probe runs, and that.
func newHead(t *testing.T, b *bench) (*watched, transcode.ClaimReply, transcode.Probe) {
	t.Helper()
	r := named("film")
	r.SegmentSeconds, r.Progressive = 0, true
	w := &watched{node{bench: b, name: "pi1"}, b.submit(r)}
	g := b.gets("pi2", w.job.ID, "probe")
	if g.Unit.HeadSeconds != transcode.HeadSeconds {
		t.Fatalf("the probe reports the first %.0f s at once; want %v", g.Unit.HeadSeconds, transcode.HeadSeconds)
	}
	probe := filmProbe(1200)
	probe.Format = "mov,mp4,m4a,3gp,3g2,mj2"
	w.reportsHead(g, &probe)
	return w, g, probe
}

func (w *watched) reportsHead(g transcode.ClaimReply, head *transcode.Probe) {
	w.t.Helper()
	if err := w.planHead(w.t.Context(), "pi2", transcode.Progress{Job: g.Job, Unit: g.Unit.ID, Attempt: g.Attempt, Head: head}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) text(name string) string {
	w.t.Helper()
	file, err := w.asks(name)
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	return string(file.Text)
}

// The playlists for players that look anywhere list the beginning of a film while that is still
// being probed, and then all of it: lines are added, and none is changed. This is so also where
// the probe is done again by another worker, for another daemon.
func TestHeadOfTheWholePlaylist(t *testing.T) {
	t.Parallel()
	long := func(o *Options) { o.HeadBytes = 1 }
	b := open(t, newDirs(t), long)
	w, g, probe := newHead(t, b)
	w.do(w.next())
	media := path.Join(w.plan().Renditions[0].Name, transcode.MediaName)
	master, begun := w.text(SeekName), w.text(media)
	if n := len(uris(begun)); n != w.plan().Head || n < 10 || strings.Contains(begun, "ENDLIST") {
		t.Errorf("%d segments of\n%s\nwant the %d of the beginning, and more to come", n, begun, w.plan().Head)
	}
	w.do(w.next())
	b.stop()
	b = open(t, w.dir, long)
	b.known("pi2")
	w = &watched{node{bench: b, name: "pi1"}, w.job}
	b.fails("pi2", g, transcode.Failed{Reason: "stopped", Stopped: true})
	g = b.gets("pi2", w.job.ID, "probe")
	w.reportsHead(g, &probe)
	if err := b.publishReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := w.text(media); again != begun {
		t.Errorf("%s\nwant it as it was:\n%s", again, begun)
	}
	probe.Video.EndSeconds = 1199.2
	w.accepts("pi2", g, transcode.Result{Probe: &probe})
	whole := w.text(media)
	if !strings.HasPrefix(whole, begun) || len(uris(whole)) != 300 || !strings.HasSuffix(whole, "#EXT-X-ENDLIST\n") {
		t.Errorf("%d segments of\n%s\nwant all 300, which follow on\n%s", len(uris(whole)), whole, begun)
	}
	if again := w.text(SeekName); again != master {
		t.Errorf("%s\nwant it as it was:\n%s", again, master)
	}
	w.wantEachOnce(probe.Video.EndSeconds)
}

// wantEachOnce does all units that are left, and makes sure that they follow on each other.
func (w *watched) wantEachOnce(seconds float64) {
	w.t.Helper()
	rows, err := w.store.Query(w.t.Context(), `SELECT spec FROM units WHERE job = ? AND kind = ? ORDER BY seq`, w.job.ID, transcode.KindVideo)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	at := 0.0
	for rows.Next() {
		var u column[transcode.Unit]
		if err := rows.Scan(&u); err != nil {
			w.t.Fatal(err)
		}
		from, to := u.V.Span()
		if from != at {
			w.t.Errorf("%s begins at %v s; want %v", u.V.ID, from, at)
		}
		at = to
	}
	if err := rows.Err(); err != nil || at != seconds {
		w.t.Errorf("units end at %v s, %v; want %v", at, err, seconds)
	}
}

// Only who has the probe says what a source begins with, and once; what contradicts it in the
// end fails the job, whose playlists end.
func TestHeadIsFenced(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), func(o *Options) { o.HeadBytes = 1 })
	w, g, probe := newHead(t, b)
	units := func() int {
		job, err := b.Job(t.Context(), w.job.ID)
		if err != nil {
			t.Fatal(err)
		}
		return len(job.Units)
	}
	before := units()
	w.reportsHead(g, &probe)
	stale := g
	stale.Attempt++
	w.reportsHead(stale, &probe)
	if n := units(); n != before {
		t.Errorf("%d units; want the %d that there were", n, before)
	}
	w.do(w.next())
	other := probe
	other.Video = &transcode.VideoStream{Codec: "h264", Width: 640, Height: 360, Rate: transcode.Rational{Num: 25, Den: 1}, PixelFormat: "yuv420p", EndSeconds: 1200}
	w.accepts("pi2", g, transcode.Result{Probe: &other})
	job, err := b.Job(t.Context(), w.job.ID)
	if err != nil || job.State != Failed || !strings.Contains(job.Reason, "submit it again without --progressive") {
		t.Errorf("job is %s: %q, %v; want it failed, and what to do", job.State, job.Reason, err)
	}
}
