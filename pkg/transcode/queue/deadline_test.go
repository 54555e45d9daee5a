package queue

import (
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// newLate returns a film whose first segment is published, and whose next unit a slow
// worker has that will take this long. pi1 is fast, and known to be.
func newLate(t *testing.T, takes time.Duration) (w *watched, slow transcode.ClaimReply) {
	t.Helper()
	b := open(t, newDirs(t), nil)
	b.known("pi1")
	b.known("slow")
	w = newWatched(b, "film", 1200)
	w.do(w.next())
	slow, err := b.claim(t.Context(), "slow", "")
	if err != nil || slow.Refused != "" {
		t.Fatalf("claim: %+v, %v", slow, err)
	}
	frames := slow.Unit.Frames()
	now := time.Now()
	b.claims.progress("slow", transcode.Progress{
		Job: slow.Job, Unit: slow.Unit.ID, Attempt: slow.Attempt, Frames: 1, FPS: float64(frames) / takes.Seconds(),
	}, now, now.Add(time.Hour))
	return w, slow
}

// A unit that would be done too late for who watches is made by a second worker, though
// others are to be begun. The first result counts, and the other is refused.
func TestLateUnitIsMadeTwice(t *testing.T) {
	t.Parallel()
	w, slow := newLate(t, time.Hour)
	again := w.next()
	if again.Unit.ID != slow.Unit.ID || again.Attempt == slow.Attempt {
		t.Fatalf("the fast worker gets attempt %d of %s; want another one of %s", again.Attempt, again.Unit.ID, slow.Unit.ID)
	}
	w.do(again)
	r, err := (&node{bench: w.bench, name: "slow"}).result(slow)
	if err != nil {
		t.Fatal(err)
	}
	v, err := w.accept(t.Context(), "slow", transcode.Done{Job: slow.Job, Unit: slow.Unit.ID, Attempt: slow.Attempt, Result: r})
	if err != nil || v.Accepted {
		t.Errorf("the slow worker's result: %+v, %v; want it refused", v, err)
	}
	if g := w.next(); g.Unit.ID == slow.Unit.ID {
		t.Errorf("%s is made again; want it done", g.Unit.ID)
	}
}

// What comes in time is made once, and so is what is late when all else would be, too.
func TestUnitInTimeIsMadeOnce(t *testing.T) {
	t.Parallel()
	w, slow := newLate(t, time.Millisecond)
	if g := w.next(); g.Unit.ID == slow.Unit.ID {
		t.Errorf("the fast worker gets %s; want what nobody has", g.Unit.ID)
	}
	w, slow = newLate(t, time.Hour)
	w.workers.measured("pi1", []transcode.Speed{{Encoder: transcode.EncoderX264, Lines: 1080, FPS: 0.1}})
	if g := w.next(); g.Unit.ID == slow.Unit.ID {
		t.Errorf("a worker that is too slow for the next unit gets %s; want the next unit", g.Unit.ID)
	}
}

// Jobs that come before a progressive one do not wait for what is late in that.
func TestLateUnitDelaysNoOtherJob(t *testing.T) {
	t.Parallel()
	w, _ := newLate(t, time.Hour)
	other := w.submit(named("other"))
	high := High
	if _, err := w.Change(t.Context(), other.ID, Change{Priority: &high}); err != nil {
		t.Fatal(err)
	}
	if g := w.next(); g.Job != other.ID {
		t.Errorf("the worker gets %s of job %d; want job %d, which comes first", g.Unit.ID, g.Job, other.ID)
	}
}
