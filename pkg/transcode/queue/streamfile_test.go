package queue

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// A watched is a progressive film whose units the test does one after the other.
type watched struct {
	node
	job Job
}

func newWatched(b *bench, name string, seconds float64) *watched {
	b.t.Helper()
	r := named(name)
	r.SegmentSeconds, r.Progressive = 0, true
	w := &watched{node{bench: b, name: "pi1"}, b.submit(r)}
	g := b.gets("pi1", w.job.ID, "probe")
	probe := filmProbe(seconds)
	w.accepts("pi1", g, transcode.Result{Probe: &probe})
	return w
}

func (w *watched) accepts(worker string, g transcode.ClaimReply, r transcode.Result) {
	w.t.Helper()
	v, err := w.accept(w.t.Context(), worker, transcode.Done{Job: g.Job, Unit: g.Unit.ID, Attempt: g.Attempt, Result: r})
	if err != nil || !v.Accepted {
		w.t.Fatalf("result of %s: %+v, %v", g.Unit.ID, v, err)
	}
}

// next has the worker claim.
func (w *watched) next() transcode.ClaimReply {
	w.t.Helper()
	g, err := w.claim(w.t.Context(), w.name, "")
	if err != nil || g.Refused != "" {
		w.t.Fatalf("claim: %+v, %v", g, err)
	}
	return g
}

// do has the worker do a unit, and publishes what can be.
func (w *watched) do(g transcode.ClaimReply) {
	w.t.Helper()
	r, err := w.result(g)
	if err != nil {
		w.t.Fatal(err)
	}
	w.accepts(w.name, g, r)
	if err := w.publishReady(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// asks asks for a file without waiting.
func (w *watched) asks(name string) (StreamFile, error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	cancel()
	return w.StreamFile(ctx, w.job.ID, name)
}

// What a player waits for goes first, then what is behind it, and is there before it is
// announced. Jobs that come before this one still do.
func TestSeekGoesFirst(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	w := newWatched(b, "film", 1200)
	if _, err := w.asks(SeekName); !errors.Is(err, ErrNotYet) {
		t.Errorf("%v before the first segments are there; want %v", err, ErrNotYet)
	}
	w.do(w.next())
	segment := path.Join(w.plan().Renditions[0].Name, transcode.ContainerTS.SegmentName(240))
	if _, err := w.asks(segment); !errors.Is(err, ErrNotYet) {
		t.Fatalf("segment at minute 16: %v; want %v", err, ErrNotYet)
	}
	at := 960.0
	for range 2 {
		g := w.next()
		from, to := g.Unit.Span()
		if from > at || to <= at {
			t.Fatalf("the worker gets %.0f to %.0f s; want what is at %.0f s", from, to, at)
		}
		w.do(g)
		at = to
	}
	file, err := w.asks(segment)
	if _, gone := os.Stat(b.media(file.Path)); err != nil || gone != nil {
		t.Errorf("%q, %v, %v; want the segment", file.Path, err, gone)
	}
	if text, err := os.ReadFile(b.media(path.Join("hls/film", path.Dir(segment), transcode.MediaName))); err != nil || strings.Count(string(text), "#EXTINF") != 1 {
		t.Errorf("%v, announced:\n%s\nwant the first segment alone", err, text)
	}
}

func (w *watched) plan() transcode.Plan {
	w.t.Helper()
	var plan column[transcode.Plan]
	if err := w.store.QueryRow(w.t.Context(), `SELECT plan FROM jobs WHERE id = ?`, w.job.ID).Scan(&plan); err != nil {
		w.t.Fatal(err)
	}
	return plan.V
}

// A place in a job moves no other job.
func TestSeekMovesNoOtherJob(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	first := newWatched(b, "first", 1200)
	first.do(first.next())
	w := &watched{node{bench: b, name: "pi2"}, b.submit(named("second"))}
	b.places.ask(w.job.ID, 960, time.Now())
	if g := first.next(); g.Job != first.job.ID {
		t.Errorf("the worker gets %s of job %d; want one of job %d", g.Unit.ID, g.Job, first.job.ID)
	}
}

// The whole playlist names what there will be, with the lengths that it will have, and
// goes on to be served when the job is done.
func TestWholePlaylist(t *testing.T) {
	t.Parallel()
	r := progressiveRequest()
	f := progressiveFixture(t, r)
	b := open(t, newDirs(t), nil)
	g := newGrowth(b, f, r)
	w := &watched{node{bench: b}, g.job}
	for _, u := range f.plan.Units[:3] {
		g.deliver(u.ID)
	}
	g.publish(0)
	lists := []string{"128p/index.m3u8", "64p/index.m3u8", "audio/index.m3u8"}
	whole := map[string]string{}
	for _, name := range append(lists, SeekName) {
		file, err := w.asks(name)
		if err != nil || len(file.Text) == 0 {
			t.Fatalf("%s: %+v, %v; want a playlist", name, file, err)
		}
		whole[name] = string(file.Text)
	}
	for _, name := range []string{"128p/00003.ts", "128p/../x", "128p/init.mp4", "key", "other/00000.ts", "128p/other.m3u8"} {
		if _, err := w.asks(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; want none", name, err)
		}
	}
	for _, u := range f.plan.Units[3:] {
		g.deliver(u.ID)
	}
	g.publish(0)
	for _, name := range lists {
		text, err := os.ReadFile(b.media("hls/clip/" + name))
		if err != nil {
			t.Fatal(err)
		}
		got, want := uris(whole[name]), uris(string(text))
		if strings.HasPrefix(name, "audio") { // its last frames, after the video, are not announced
			want = want[:min(len(got), len(want))]
		}
		if len(got) != 3 || !slices.Equal(got, want) || !strings.HasSuffix(whole[name], "#EXT-X-ENDLIST\n") {
			t.Errorf("%s: %q of\n%s\nwant %q", name, got, whole[name], want)
		}
	}
	master, err := os.ReadFile(b.media("hls/clip/master.m3u8"))
	if err != nil {
		t.Fatal(err)
	}
	if want, got := uris(string(master)), uris(whole[SeekName]); !slices.Equal(got, want) {
		t.Errorf("%s names %q; want %q", SeekName, got, want)
	}
	if file, err := w.asks(SeekName); err != nil || file.Path != "hls/clip/master.m3u8" {
		t.Errorf("%+v, %v; want the stream's own when the job is done", file, err)
	}
}

// uris returns the lines of a playlist that are no tags.
func uris(playlist string) (list []string) {
	for line := range strings.Lines(playlist) {
		if !strings.HasPrefix(line, "#") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	ps, now := newPlaces(), time.Now()
	for i := range 3 * maxPlaces {
		ps.ask(1, float64(i*1000), now)
	}
	if n := len(ps.of(1).places); n != maxPlaces {
		t.Errorf("%d places; want %d at most", n, maxPlaces)
	}
	ps.ask(1, float64((3*maxPlaces-1)*1000+placeAhead/2), now)
	if n := len(ps.of(1).places); n != maxPlaces {
		t.Errorf("%d places; want a player that goes on in one", n)
	}
	ps.ask(1, 5, now.Add(placeKept+time.Second))
	if n := len(ps.of(1).places); n != 1 {
		t.Errorf("%d places; want those that nobody asks for forgotten", n)
	}
	ps.forget(1)
	if n := len(ps.byJob); n != 0 {
		t.Errorf("%d jobs; want none", n)
	}
}
