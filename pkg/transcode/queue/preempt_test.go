package queue

import (
	"errors"
	"path"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// A crowd is a film whose beginning is published, and workers that have begun with what
// follows: each needs a second for a unit by what is known of it, and a minute for the one
// that it has by what it reports.
type crowd struct {
	*watched
	has map[string]transcode.ClaimReply
}

const jump = 960 // seconds

func newCrowd(t *testing.T, workers ...string) crowd {
	t.Helper()
	b := open(t, newDirs(t), nil)
	w := crowd{newWatched(b, "film", 1200), map[string]transcode.ClaimReply{}}
	for range 6 { // so that the deadlines of others are not near
		w.do(w.next())
	}
	if b.places.of(w.job.ID).began.IsZero() {
		t.Fatal("nothing is published; want the beginning of the film")
	}
	for _, worker := range workers {
		b.known(worker)
		w.begins(worker)
	}
	return w
}

// begins has a worker begin with a unit.
func (w crowd) begins(worker string) {
	w.t.Helper()
	w.workers.measured(worker, []transcode.Speed{{Encoder: transcode.EncoderX264, Lines: 1080, FPS: 1000}})
	g, err := w.claim(w.t.Context(), worker, "")
	if err != nil || g.Refused != "" {
		w.t.Fatalf("claim of %s: %+v, %v", worker, g, err)
	}
	w.has[worker] = g
	w.reports(worker, time.Minute)
}

// reports has a worker report that its unit will take this long.
func (w crowd) reports(worker string, left time.Duration) {
	g, now := w.has[worker], time.Now()
	w.Queue.claims.progress(worker, transcode.Progress{
		Job: g.Job, Unit: g.Unit.ID, Attempt: g.Attempt, Frames: 10 + len(w.has), FPS: float64(g.Unit.Frames()) / left.Seconds(),
	}, now, now.Add(time.Hour))
}

// spans returns where the first and the last unit begin that workers have.
func (w crowd) spans() (first, last float64) {
	first = jump
	for _, g := range w.has {
		from, _ := g.Unit.Span()
		first, last = min(first, from), max(last, from)
	}
	return first, last
}

// goes has a player ask for what is at a time of the film.
func (w crowd) goes(seconds int) {
	w.t.Helper()
	segment := path.Join(w.plan().Renditions[0].Name, transcode.ContainerTS.SegmentName(seconds/4))
	if _, err := w.asks(segment); !errors.Is(err, ErrNotYet) {
		w.t.Fatalf("%s: %v; want %v", segment, err, ErrNotYet)
	}
}

// putOff returns the workers whose unit is no longer theirs.
func (w crowd) putOff() (off []string) {
	for worker, g := range w.has {
		if _, ok := w.Queue.claims.get(worker, attemptKey{unitKey{g.Job, g.Unit.ID}, g.Attempt}); !ok {
			off = append(off, worker)
		}
	}
	return off
}

func (w crowd) wantPutOff(n int, when string) []string {
	w.t.Helper()
	off := w.putOff()
	if len(off) != n {
		w.t.Fatalf("%q put off what they have %s; want %d", off, when, n)
	}
	return off
}

// A worker does what a player waits for instead of what has time, and later that. This
// happens once for each place that a player goes to, and is no failure.
func TestPlayerPreemptsWhatHasTime(t *testing.T) {
	t.Parallel()
	w := newCrowd(t, "pi2", "pi3")
	for range 3 {
		w.goes(jump)
	}
	one := w.wantPutOff(1, "when a player waits")[0]
	before := w.has[one]
	var told transcode.Verdict
	answer, err := w.onProgress(t.Context(), one, []byte(`{"job":1,"unit":"`+before.Unit.ID+`","attempt":1}`))
	if told, _ = answer.(transcode.Verdict); err != nil || told.Reason == "" || told.Accepted {
		t.Errorf("progress of %s: %+v, %v; want it stopped", one, answer, err)
	}
	g, err := w.claim(t.Context(), one, "")
	if from, to := g.Unit.Span(); err != nil || from > jump || to <= jump {
		t.Fatalf("%s gets %.0f to %.0f s, %v; want what the player waits for", one, from, to, err)
	}
	w.has[one] = g
	_, to := g.Unit.Span()
	w.goes(int(to)) // it plays on
	w.wantPutOff(0, "when the player has what it went to")
	if r, err := (&node{bench: w.bench, name: one}).result(before); err != nil {
		t.Fatal(err)
	} else if v, err := w.accept(t.Context(), one, transcode.Done{Job: before.Job, Unit: before.Unit.ID, Attempt: before.Attempt, Result: r}); err != nil || v.Accepted {
		t.Errorf("a result of what was put off: %+v, %v; want it refused", v, err)
	}
	w.wantUnit(before.Unit.ID, pending)
	if failed, err := w.failedOn(t.Context(), unitKey{before.Job, before.Unit.ID}); err != nil || failed[0] != "" {
		t.Errorf("%q have failed at it, %v; want nobody", failed, err)
	}
}

func (w crowd) wantUnit(unit, state string) {
	w.t.Helper()
	job, err := w.Job(w.t.Context(), w.job.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, u := range job.Units {
		if u.ID == unit && u.State != state {
			w.t.Errorf("%s is %s; want %s", unit, u.State, state)
		}
	}
}

// Each unit is put off once, however many players go to however many places.
func TestUnitIsPutOffOnce(t *testing.T) {
	t.Parallel()
	w := newCrowd(t, "pi2")
	seen := map[string]int{}
	for i := range 8 {
		w.goes(1199 - 100*i)
		if len(w.putOff()) == 0 {
			continue
		}
		seen[w.has["pi2"].Unit.ID]++
		w.begins("pi2")
	}
	w.begins("pi2") // what was put off, or what somebody waits for
	for unit, times := range seen {
		if times > 1 {
			t.Errorf("%s was put off %d times; want once", unit, times)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing was put off; want it for the first player")
	}
}

// Nothing is put off where that gains nothing, or harms somebody.
func TestNothingIsPutOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		when func(w crowd)
	}{
		{"for a worker that is almost done", func(w crowd) { w.reports("pi2", time.Second/2) }},
		{"for a worker that is idle", func(w crowd) { w.known("pi4") }},
		{"that is played soon", func(w crowd) {
			_, last := w.spans()
			w.places.byJob[w.job.ID] = playing{began: time.Now().Add(-time.Duration(last) * time.Second)}
		}},
		{"that a player waits for", func(w crowd) {
			first, _ := w.spans()
			w.places.ask(w.job.ID, first, time.Now())
		}},
		{"whose result is being looked at", func(w crowd) {
			for _, g := range w.has {
				w.Queue.claims.beginAccept(attemptKey{unitKey{g.Job, g.Unit.ID}, g.Attempt})
			}
		}},
		{"by a worker that would not come back", func(w crowd) {
			for worker := range w.has {
				w.workers.drain(worker, true)
			}
		}},
		{"while another job comes first", func(w crowd) {
			high, other := High, w.submit(named("other"))
			if _, err := w.Change(w.t.Context(), other.ID, Change{Priority: &high}); err != nil {
				w.t.Fatal(err)
			}
		}},
		{"while the job is paused", func(w crowd) {
			yes := true
			if _, err := w.Change(w.t.Context(), w.job.ID, Change{Paused: &yes}); err != nil {
				w.t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newCrowd(t, "pi2", "pi3")
			tt.when(w)
			w.goes(jump)
			w.wantPutOff(0, "")
		})
	}
}

// A daemon that is killed right after a unit was put off gives it to somebody again, and
// takes no result of its earlier attempt.
func TestPutOffIsFenced(t *testing.T) {
	t.Parallel()
	w := newCrowd(t, "pi2")
	before := w.has["pi2"]
	late, err := (&node{bench: w.bench, name: "pi2"}).result(before)
	if err != nil {
		t.Fatal(err)
	}
	w.goes(jump)
	w.wantPutOff(1, "when a player waits")
	w.stop()
	b := open(t, w.dir, nil)
	b.known("pi2")
	v, err := b.accept(t.Context(), "pi2", transcode.Done{Job: before.Job, Unit: before.Unit.ID, Attempt: before.Attempt, Result: late})
	if err != nil || v.Accepted {
		t.Errorf("a result of the attempt that was put off: %+v, %v; want it refused", v, err)
	}
	again := &watched{node{bench: b, name: "pi2"}, w.job}
	g := again.next()
	if g.Unit.ID != before.Unit.ID || g.Attempt == before.Attempt {
		t.Fatalf("the worker gets attempt %d of %s; want another one of %s", g.Attempt, g.Unit.ID, before.Unit.ID)
	}
	again.do(g)
}
