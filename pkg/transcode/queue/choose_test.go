package queue

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// named returns the fixture's request with another name, so that it is another job.
func named(name string) transcode.Request {
	r := fixtureRequest
	r.Name = name
	return r
}

// gets has a worker claim, and checks which job it gets.
func (b *bench) gets(worker string, job int64, unit string) transcode.ClaimReply {
	b.t.Helper()
	reply, err := b.claim(b.t.Context(), worker, "")
	if err != nil || reply.Job != job || reply.Unit.ID != unit {
		b.t.Fatalf("claim of %s: %+v, %v; want unit %s of job %d", worker, reply, err, unit, job)
	}
	return reply
}

// known makes a worker known without a connection.
func (b *bench) known(worker string) {
	b.workers.hello(worker, transcode.Hello{}, time.Now())
}

func (b *bench) fails(worker string, g transcode.ClaimReply, f transcode.Failed) {
	b.t.Helper()
	f.Job, f.Unit, f.Attempt = g.Job, g.Unit.ID, g.Attempt
	if v, err := b.giveBack(b.t.Context(), worker, f); err != nil || !v.Accepted {
		b.t.Fatalf("failure of %s: %+v, %v", worker, v, err)
	}
}

// The oldest job is finished before the next is begun.
func TestOldestJobFirst(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	first, second := b.submit(named("a")), b.submit(named("b"))
	b.encode(transcode.Work{Job: first.ID, Unit: "probe"})
	b.gets("pi1", first.ID, theFixture(t).plan.Units[0].ID)
	b.gets("pi2", first.ID, theFixture(t).plan.Units[1].ID)
	for i := 2; i < len(theFixture(t).plan.Units); i++ {
		b.gets("pi"+string(rune('1'+i)), first.ID, theFixture(t).plan.Units[i].ID)
	}
	b.gets("pi9", second.ID, "probe")
}

func TestRetriedElsewhere(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	b.known("pi1")
	b.known("pi2")
	b.fails("pi1", b.gets("pi1", job.ID, "probe"), transcode.Failed{Reason: "exit status 1"})
	reply, err := b.claim(t.Context(), "pi1", "")
	if err != nil || reply.Refused == "" || reply.Gone {
		t.Errorf("claim of the worker that failed: %+v, %v; want it refused for now", reply, err)
	}
	b.fails("pi2", b.gets("pi2", job.ID, "probe"), transcode.Failed{Reason: "exit status 1"})
	b.gets("pi1", job.ID, "probe") // nobody is left that has not failed
}

func TestThreeWorkersArePoisoned(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	for _, worker := range []string{"pi1", "pi2", "pi3"} {
		b.fails(worker, b.gets(worker, job.ID, "probe"), transcode.Failed{Reason: "exit status 1", Stderr: []string{"no such filter"}})
	}
	got, err := b.Job(t.Context(), job.ID)
	want := "probe failed on 3 workers, the last time by pi3: exit status 1"
	if err != nil || got.State != Failed || got.Reason != want || len(got.Stderr) != 1 {
		t.Errorf("job = %+v, %v; want it failed because %s", got, err, want)
	}
}

func TestStoppedIsNoFailure(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	b.known("pi1")
	b.known("pi2")
	for range maxAttempts + 1 {
		b.fails("pi1", b.gets("pi1", job.ID, "probe"), transcode.Failed{Reason: "the worker was stopped", Stopped: true})
	}
	if got, err := b.Job(t.Context(), job.ID); err != nil || got.State.Ended() {
		t.Errorf("job = %+v, %v; want it to continue", got, err)
	}
}

func TestDrainedWorkerGetsNothing(t *testing.T) {
	t.Parallel()
	dir := newDirs(t)
	b := open(t, dir, nil)
	job := b.submit(fixtureRequest)
	b.known("pi1")
	if err := b.Drain(t.Context(), "pi1", true); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b = open(t, dir, nil) // it is remembered
	if reply, err := b.claim(t.Context(), "pi1", ""); err != nil || reply.Refused != "this worker is drained" || reply.Gone {
		t.Errorf("claim of a drained worker: %+v, %v", reply, err)
	}
	if err := b.Drain(t.Context(), "pi1", false); err != nil {
		t.Fatal(err)
	}
	b.gets("pi1", job.ID, "probe")
}

// lastUnit submits a request and has all of it done except one video unit,
// which pi2 is at, slowly. pi1 is known to be faster.
func (b *bench) lastUnit(r transcode.Request) (Job, transcode.ClaimReply, transcode.Progress) {
	b.t.Helper()
	job := b.submit(r)
	b.encode(transcode.Work{Job: job.ID, Unit: "probe"})
	b.known("pi1")
	b.known("pi2")
	b.encode(transcode.Work{Job: job.ID, Unit: "audio"})
	units := theFixture(b.t).plan.Units[1:]
	slow := b.gets("pi2", job.ID, units[0].ID)
	for _, u := range units[1:] {
		b.encode(transcode.Work{Job: job.ID, Unit: u.ID}) // pi1's speed is measured
	}
	now := time.Now()
	p := transcode.Progress{Job: job.ID, Unit: slow.Unit.ID, Attempt: slow.Attempt, Frames: 1, FPS: 0.01}
	if !b.claims.progress("pi2", p, now, now.Add(time.Minute)) {
		b.t.Fatal("progress was refused")
	}
	return job, slow, p
}

// When nothing else is left, a faster worker tries what a slow one is at. The
// first result counts, the other is refused.
func TestEndGame(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job, slow, p := b.lastUnit(fixtureRequest)
	now := time.Now()
	if n := b.idleSpeculators(now); n != 1 {
		t.Errorf("%d workers could help; want one", n)
	}
	fast := b.gets("pi1", job.ID, slow.Unit.ID)
	if fast.Attempt == slow.Attempt {
		t.Fatalf("both have attempt %d", fast.Attempt)
	}
	if reply, err := b.claim(t.Context(), "pi3", ""); err != nil || !reply.Gone {
		t.Errorf("claim of a third: %+v, %v; want that there is nothing", reply, err)
	}
	work := transcode.Work{Job: job.ID, Unit: slow.Unit.ID}
	for _, c := range []struct {
		worker   string
		grant    transcode.ClaimReply
		accepted bool
	}{{"pi1", fast, true}, {"pi2", slow, false}, {"pi1", fast, true}} {
		writeAttempt(t, b.media(""), c.worker, work, c.grant.Attempt)
		v, err := b.accept(t.Context(), c.worker, transcode.Done{
			Job: work.Job, Unit: work.Unit, Attempt: c.grant.Attempt, Result: theFixture(t).results[work.Unit],
		})
		if err != nil || v.Accepted != c.accepted {
			t.Errorf("result of %s: %+v, %v; want accepted: %v", c.worker, v, err, c.accepted)
		}
	}
	if b.claims.progress("pi2", p, now, now) {
		t.Error("the slow worker is not told to stop")
	}
	if got, err := b.Job(t.Context(), job.ID); err != nil || got.State != Publishing {
		t.Errorf("job = %+v, %v; want it to be published", got, err)
	}
}

// How fast a step of a trial is says nothing of the time that is left: an idle worker does not
// make the same trial a second time for that.
func TestTrialIsNoStraggler(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	_, slow, _ := b.lastUnit(fixtureRequest)
	now := time.Now()
	c := claim{worker: "pi3", spec: slow.Unit, granted: now, heard: now, frames: 1, fps: 0.01, total: 100}
	me, _ := b.workers.get("pi1")
	if _, ok := b.slowest(me, []claim{c}, now); !ok {
		t.Error("a slow unit of video is no straggler")
	}
	c.spec.Kind = transcode.KindTrial
	if _, ok := b.slowest(me, []claim{c}, now); ok {
		t.Error("a trial is a straggler by the speed of one of its steps")
	}
}

// A board with too little memory for a unit leaves it to those that have more,
// as long as one of them is there.
func TestUnitsGoWhereThereIsRoom(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	probe := transcode.Probe{
		Format: "mp4", Seconds: 60, BitrateBPS: 40_000_000,
		Video: &transcode.VideoStream{Codec: "h264", Width: 3840, Height: 2160, Rate: transcode.Rational{Num: 25, Den: 1}, PixelFormat: "yuv420p", EndSeconds: 60},
	}
	claimed := b.gets("pi1", job.ID, "probe")
	if v, err := b.accept(t.Context(), "pi1", transcode.Done{Job: job.ID, Unit: "probe", Attempt: claimed.Attempt, Result: transcode.Result{Probe: &probe}}); err != nil || !v.Accepted {
		t.Fatalf("probe: %+v, %v", v, err)
	}
	b.workers.hello("small", transcode.Hello{Memory: 900 << 20}, time.Now())
	b.workers.hello("great", transcode.Hello{Memory: 8 << 30}, time.Now())
	reply, err := b.claim(t.Context(), "small", "")
	if err != nil || reply.Refused == "" || reply.Gone {
		t.Errorf("claim of the small board: %+v, %v; want it refused", reply, err)
	}
	// It may try again what it failed at: nobody else has room.
	b.fails("great", b.gets("great", job.ID, "v-0000"), transcode.Failed{Reason: "exit status 1"})
	b.gets("great", job.ID, "v-0000")
	b.workers.hello("great", transcode.Hello{Memory: 8 << 30, Locked: "it is drained"}, time.Now())
	b.gets("small", job.ID, "v-0001") // nobody else is there
}

// What one build of ffmpeg lacks is tried by a worker with another build, if there is
// one, and by each build once.
func TestRetriedByAnotherBuild(t *testing.T) {
	t.Parallel()
	lacks := transcode.Failed{Reason: "its video is vvc1, which this ffmpeg cannot decode", OtherBuild: true}
	for name, builds := range map[string][]string{
		"one build":  {"5.1", "5.1", "5.1"},
		"two builds": {"5.1", "7.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, newDirs(t), nil)
			job := b.submit(fixtureRequest)
			different := map[string]string{}
			for i, build := range builds {
				worker := fmt.Sprintf("pi%d", i)
				b.workers.hello(worker, transcode.Hello{Protocol: transcode.Protocol, FFmpeg: build}, time.Now())
				different[build] = worker
			}
			for n, worker := range slices.Sorted(maps.Values(different)) {
				if got, err := b.Job(t.Context(), job.ID); err != nil || got.State.Ended() {
					t.Fatalf("after %d builds the job is %s, %v; want it tried by %d", n, got.State, err, len(different))
				}
				b.fails(worker, b.gets(worker, job.ID, "probe"), lacks)
			}
			if got, err := b.Job(t.Context(), job.ID); err != nil || got.State != Failed || got.Reason != lacks.Reason {
				t.Errorf("job is %s: %q, %v; want it failed: %q", got.State, got.Reason, err, lacks.Reason)
			}
		})
	}
}
