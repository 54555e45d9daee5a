package queue

import (
	"cmp"
	"os"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// soon makes claims expire soon enough to wait for, and not before a loaded
// machine has done what a test does meanwhile.
func soon(o *Options) { o.ClaimTTL = 2 * time.Second }

func TestWorkersShareUnits(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	one, two := b.join("pi1", transcode.Hello{}), b.join("pi2", transcode.Hello{})
	one.do()
	first, grantOne := one.take()
	second, grantTwo := two.take()
	if first == second {
		t.Fatalf("both have %v", first)
	}
	two.progress(second, grantTwo.Attempt, 7)
	waitFrames(t, b, job.ID, 7)
	for _, w := range b.Workers() {
		if want := map[string]string{"pi1": first.Unit, "pi2": second.Unit}[w.Name]; w.Unit != want || !w.Online {
			t.Errorf("worker %+v; want %q online at %s", w, w.Name, want)
		}
	}
	one.write(first, grantOne.Attempt)
	two.write(second, grantTwo.Attempt)
	if v := two.done(second, grantTwo.Attempt); !v.Accepted {
		t.Error(v.Reason)
	}
	if v := one.done(first, grantOne.Attempt); !v.Accepted {
		t.Error(v.Reason)
	}
	two.do()
	if got := b.waitEnd(job.ID); got.State != Done {
		t.Errorf("job = %+v; want done", got)
	}
}

// waitFrames waits until a watcher sees this many frames, and an estimate.
func waitFrames(t *testing.T, b *bench, id int64, frames int) {
	t.Helper()
	for job, err := range b.Watch(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		if job.Frames != frames {
			continue
		}
		if job.FPS != 12.5 || job.ETA != 14*time.Second {
			t.Errorf("%v frames/s, ETA %v; want 12.5 and 14s", job.FPS, job.ETA)
		}
		list, err := b.Jobs(t.Context())
		if err != nil || len(list) != 1 || list[0].Frames != frames || list[0].TotalFrames != job.TotalFrames || list[0].ETA != job.ETA {
			t.Errorf("Jobs = %+v, %v; want what Job says: %+v", list, err, job)
		}
		return
	}
}

func TestSilentWorkerLosesItsClaim(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), soon)
	job := b.submit(fixtureRequest)
	lost, other := b.join("pi1", transcode.Hello{}), b.join("pi2", transcode.Hello{})
	work, grant := lost.take()
	lost.write(work, grant.Attempt)
	if e := b.waitEvent(EventExpired, "probe"); e.Worker != "pi1" || e.Attempt != 1 {
		t.Errorf("expired: %+v; want attempt 1 of pi1", e)
	}
	if v := lost.done(work, grant.Attempt); v.Accepted {
		t.Error("the result of an expired claim was accepted")
	}
	again, second := other.take()
	if again != work || second.Attempt != 2 {
		t.Fatalf("claim of pi2: %+v; want attempt 2", second)
	}
	if v := lost.done(work, grant.Attempt); v.Accepted || !strings.Contains(v.Reason, "attempt 1 does not count") {
		t.Errorf("stale result: %+v; want it refused", v)
	}
	if v := lost.done(work, second.Attempt); v.Accepted {
		t.Error("a result was accepted from another worker than the claim's")
	}
	if _, err := os.Stat(b.media(transcode.AttemptDir(job.ID, "probe", 1))); !os.IsNotExist(err) {
		t.Errorf("directory of the expired attempt: %v; want it removed", err)
	}
	if v := other.done(again, second.Attempt); !v.Accepted {
		t.Error(v.Reason)
	}
}

func TestRepeatedDoneIsAccepted(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	work, grant := m.take()
	for range 2 {
		if v := m.done(work, grant.Attempt); !v.Accepted {
			t.Fatalf("verdict: %+v; want it accepted each time", v)
		}
	}
	got, err := b.Job(t.Context(), job.ID)
	if want := 1 + len(theFixture(t).plan.Units); err != nil || len(got.Units) != want {
		t.Errorf("%d units, %v; want %d", len(got.Units), err, want)
	}
}

func TestRepeatedClaim(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	m.do() // the probe
	m.do() // audio, whose frames are not counted
	work, _ := m.take()
	// Its answer may have been lost.
	if again := m.claim(); again.Attempt != 1 || again.Unit.ID != work.Unit {
		t.Errorf("repeated claim: %+v; want attempt 1 again", again)
	}
	m.progress(work, 1, 7)
	for got, err := range b.Watch(t.Context(), job.ID) {
		if err != nil || got.Frames == 7 {
			break
		}
	}
	// It had begun, so it must have lost that.
	if again := m.claim(); again.Attempt != 2 {
		t.Errorf("claim after progress: %+v; want attempt 2", again)
	}
	if e := b.waitEvent(EventGivenUp, work.Unit); e.Attempt != 1 {
		t.Errorf("given up: %+v; want attempt 1", e)
	}
	if v := m.done(work, 1); v.Accepted {
		t.Error("a result was accepted of a claim that was given up")
	}
}

func TestPoisonFailsTheJob(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	for attempt := 1; attempt <= maxAttempts; attempt++ {
		work, grant := m.take()
		if grant.Attempt != attempt {
			t.Fatalf("attempt %d; want %d", grant.Attempt, attempt)
		}
		v := m.failed(transcode.Failed{
			Job: work.Job, Unit: work.Unit, Attempt: attempt, Reason: "ffprobe: exit status 1", Stderr: []string{"line 1", "line 2"},
		})
		if !v.Accepted {
			t.Fatalf("failure was not accepted: %s", v.Reason)
		}
	}
	got := b.waitEnd(job.ID)
	want := "probe was tried 5 times, the last time by pi1: ffprobe: exit status 1"
	if got.State != Failed || got.Reason != want || len(got.Stderr) != 2 || got.Units[0].State != failed {
		t.Errorf("job = %+v; want it failed because %s", got, want)
	}
}

func TestFinalFailureEndsTheJob(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	one, two := b.join("pi1", transcode.Hello{}), b.join("pi2", transcode.Hello{})
	one.do()
	first, grantOne := one.take()
	second, grantTwo := two.take()
	v := one.failed(transcode.Failed{Job: first.Job, Unit: first.Unit, Attempt: grantOne.Attempt, Reason: "the source is truncated", Final: true})
	if !v.Accepted {
		t.Error(v.Reason)
	}
	got := b.waitEnd(job.ID)
	if got.State != Failed || got.Reason != "the source is truncated" {
		t.Errorf("job = %+v; want it failed", got)
	}
	for _, u := range got.Units {
		want := map[string]string{"probe": done, first.Unit: failed}[u.ID]
		if u.State != cmp.Or(want, cancelled) {
			t.Errorf("unit %s is %s; want %s", u.ID, u.State, cmp.Or(want, cancelled))
		}
	}
	b.waitEvent(EventCancelled, second.Unit)
	two.write(second, grantTwo.Attempt)
	if v := two.done(second, grantTwo.Attempt); v.Accepted {
		t.Error("a result of a failed job was accepted")
	}
	if reply := one.claim(); !reply.Gone {
		t.Errorf("claim when all has failed: %+v; want it gone", reply)
	}
}

func TestUnplannableSourceFailsTheJob(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	work, grant := m.take()
	v := m.hand(transcode.Done{Job: work.Job, Unit: work.Unit, Attempt: grant.Attempt, Result: transcode.Result{
		Probe: &transcode.Probe{Format: "mp3", Seconds: 3},
	}})
	if !v.Accepted {
		t.Error(v.Reason)
	}
	if got := b.waitEnd(job.ID); got.State != Failed || !strings.Contains(got.Reason, "it has neither video nor sound") {
		t.Errorf("job = %+v; want it failed for want of both", got)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	work, grant := m.take()
	m.write(work, grant.Attempt)
	if err := b.Cancel(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if got := b.waitEnd(job.ID); got.State != Cancelled || got.Units[0].State != cancelled {
		t.Errorf("job = %+v; want cancelled", got)
	}
	if v := m.done(work, grant.Attempt); v.Accepted {
		t.Error("a result of a cancelled job was accepted")
	}
	if _, err := os.Stat(b.media(transcode.JobDir(job.ID))); !os.IsNotExist(err) {
		t.Errorf("files of the cancelled job: %v; want none", err)
	}
	if err := b.Cancel(t.Context(), job.ID); err == nil || !strings.Contains(err.Error(), "it is cancelled") {
		t.Errorf("second Cancel = %v; want it refused", err)
	}
	if again := b.submit(fixtureRequest); again.ID == job.ID {
		t.Error("submitting a cancelled request again gave the old job")
	}
}

func TestMuxLane(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	r := fixtureRequest
	r.MuxID = 7
	b.submit(r)
	seven, any := b.join("pi1", transcode.Hello{MuxID: 7}), b.join("pi2", transcode.Hello{MuxID: 8})
	seven.fetchLane(transcode.MuxLane(7))
	if reply := any.claim(); !reply.Gone {
		t.Errorf("claim by another muxer: %+v; want that there is nothing", reply)
	}
	if reply := seven.claim(); reply.Attempt != 1 {
		t.Errorf("claim by muxer 7: %+v; want it granted", reply)
	}
}

func TestWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), func(o *Options) { o.HelloEvery = 20 * time.Millisecond })
	b.join("pi1", transcode.Hello{Hostname: "hlspi1"})
	for _, online := range []bool{true, false} {
		select {
		case e := <-b.comes:
			if e.Worker != "pi1" || e.Online != online || e.Hello.Hostname != "hlspi1" {
				t.Errorf("event %+v; want pi1 online: %v", e, online)
			}
		case <-time.After(patience):
			t.Fatalf("no event that pi1 is online: %v", online)
		}
	}
}

func TestClaimsExpireWithoutProgress(t *testing.T) {
	now := time.Unix(1000, 0)
	cs := newClaims()
	key := attemptKey{unitKey{1, "probe"}, 2}
	cs.put(claim{key: key, worker: "pi1", total: 100, deadline: now})
	for _, p := range []struct {
		worker  string
		attempt int
	}{{"pi2", 2}, {"pi1", 1}, {"pi1", 3}} {
		if cs.progress(p.worker, transcode.Progress{Job: 1, Unit: "probe", Attempt: p.attempt}, now, now.Add(time.Hour)) {
			t.Errorf("progress of attempt %d by %s was taken for the claim's", p.attempt, p.worker)
		}
	}
	if !cs.progress("pi1", transcode.Progress{Job: 1, Unit: "probe", Attempt: 2, Frames: 1000, FPS: -1}, now, now.Add(time.Minute)) {
		t.Error("the claim's own progress was refused")
	}
	if c := cs.ofUnits(1)["probe"]; c.frames != 100 || c.fps != 0 {
		t.Errorf("%d frames at %v; want 100 at 0", c.frames, c.fps)
	}
	if got := cs.expired(now.Add(time.Minute)); len(got) != 0 {
		t.Errorf("expired at the deadline: %v; want none", got)
	}
	if got := cs.expired(now.Add(time.Minute + 1)); len(got) != 1 {
		t.Errorf("expired after the deadline: %v; want one", got)
	}
	cs.drop(attemptKey{key.unitKey, 1})
	if len(cs.byWorker()) != 1 {
		t.Error("dropping an earlier attempt dropped the later one")
	}
	cs.drop(key)
	if len(cs.byWorker()) != 0 {
		t.Error("the claim was not dropped")
	}
}

func TestTooManyWorkersForgetTheQuietest(t *testing.T) {
	ws := newWorkers(nil)
	for i := range maxWorkers + 1 {
		ws.hello("pi"+strings.Repeat("x", i), transcode.Hello{}, time.Unix(int64(i+1), 0))
	}
	if got := len(ws.list()); got != maxWorkers {
		t.Errorf("%d workers remembered; want %d", got, maxWorkers)
	}
	if _, ok := ws.get("pi"); ok {
		t.Error("the quietest worker is still remembered")
	}
}
