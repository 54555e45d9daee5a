package queue

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

func TestPriorityAndPause(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	first, second, third := b.submit(named("a")), b.submit(named("b")), b.submit(named("c"))
	high, low, on, off := High, Low, true, false
	for _, c := range []struct {
		job    Job
		change Change
		want   []int64
	}{
		{third, Change{Priority: &high}, []int64{third.ID, first.ID, second.ID}},
		{first, Change{Priority: &low}, []int64{third.ID, second.ID, first.ID}},
		{third, Change{Paused: &on}, []int64{second.ID, first.ID}},
		{third, Change{Paused: &off}, []int64{third.ID, second.ID, first.ID}},
	} {
		if _, err := b.Change(t.Context(), c.job.ID, c.change); err != nil {
			t.Fatal(err)
		}
		running := map[string]transcode.ClaimReply{}
		for i, want := range c.want {
			worker := "pi" + string(rune('1'+i))
			running[worker] = b.gets(worker, want, "probe")
		}
		reply, err := b.claim(t.Context(), "pi9", "")
		if err != nil || !reply.Gone {
			t.Errorf("claim when all is running: %+v, %v", reply, err)
		}
		for worker, grant := range running {
			b.fails(worker, grant, transcode.Failed{Stopped: true})
		}
	}
	job, err := b.Job(t.Context(), third.ID)
	if err != nil || job.Priority != High || job.Paused {
		t.Errorf("job = %+v, %v; want it high and not paused", job, err)
	}
}

func TestRetryAndRemove(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	if _, _, err := b.Retry(t.Context(), job.ID); !errors.Is(err, ErrState) {
		t.Errorf("Retry of a queued job = %v; want %v", err, ErrState)
	}
	if err := b.Remove(t.Context(), job.ID); !errors.Is(err, ErrState) {
		t.Errorf("Remove of a queued job = %v; want %v", err, ErrState)
	}
	if err := b.Cancel(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	again, existing, err := b.Retry(t.Context(), job.ID)
	if err != nil || existing || again.ID == job.ID || again.State != Queued {
		t.Errorf("Retry = %+v, %v, %v; want a new job", again, existing, err)
	}
	if err := b.Remove(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Job(t.Context(), job.ID); !errors.Is(err, ErrNoJob) {
		t.Errorf("removed job: %v; want %v", err, ErrNoJob)
	}
	high := High
	if _, err := b.Change(t.Context(), job.ID, Change{Priority: &high}); !errors.Is(err, ErrNoJob) {
		t.Errorf("change of a removed job: %v; want %v", err, ErrNoJob)
	}
}

func TestSameVideoIsOneJob(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	for range 1 + len(theFixture(t).plan.Units) {
		m.do()
	}
	b.waitEnd(job.ID)
	again, existing, err := b.Submit(t.Context(), fixtureRequest)
	if err != nil || !existing || again.ID != job.ID {
		t.Errorf("Submit of what is done: %+v, %v, %v; want job %d", again, existing, err, job.ID)
	}
	forced, existing, err := b.SubmitAgain(t.Context(), fixtureRequest)
	if err != nil || existing || forced.ID == job.ID {
		t.Errorf("SubmitAgain: %+v, %v, %v; want a new job", forced, existing, err)
	}
	if err := b.Cancel(t.Context(), forced.ID); err != nil {
		t.Fatal(err)
	}
	// Another video under the same name is another job.
	if err := os.Chtimes(b.media(sourceName), time.Time{}, time.Unix(1_000_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	other := b.submit(fixtureRequest)
	if other.ID == job.ID {
		t.Error("a video that has changed was taken for the old one")
	}
	if err := b.Cancel(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutOutputItIsDoneAgain(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	for range 1 + len(theFixture(t).plan.Units) {
		m.do()
	}
	done := b.waitEnd(job.ID)
	if err := os.RemoveAll(filepath.Dir(b.media(done.Output))); err != nil {
		t.Fatal(err)
	}
	if again := b.submit(fixtureRequest); again.ID == job.ID {
		t.Error("the job was not done again, although its output is gone")
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), func(o *Options) { o.Keep = 2 })
	var ids []int64
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		ids = append(ids, b.submit(named(name)).ID)
	}
	for _, id := range ids[:4] {
		if err := b.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	// The first ended before the clock was set back.
	err := b.store.Write(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE jobs SET ended = ? WHERE id = ?", time.Now().Add(24*time.Hour).UnixNano(), ids[0])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	jobs, err := b.Jobs(t.Context())
	if err != nil || len(jobs) != 3 || jobs[0].ID != ids[4] || jobs[2].ID != ids[2] {
		t.Errorf("jobs = %+v, %v; want the two that ended last, and the one that has not", jobs, err)
	}
}
