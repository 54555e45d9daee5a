package queue

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// A source that is removed, changed or replaced after it was handed in fails its job
// with one sentence, at the first attempt that ends, whatever its worker reports.
func TestSourceIsGone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(file string) error
		want   string
	}{
		"removed":   {os.Remove, `"films/test clip.mp4" was removed from the media share after it was handed in`},
		"rewritten": {func(file string) error { return os.WriteFile(file, []byte("another video"), 0o644) }, "was changed or replaced after it was handed in: it had "},
		"replaced by one of its size": {func(file string) error {
			return errors.Join(os.WriteFile(file+".new", make([]byte, len(theFixture(t).source)), 0o644), os.Rename(file+".new", file))
		}, "was changed or replaced"},
		"a directory now": {func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o755)) }, "was removed"},
	} {
		for _, unit := range []string{"probe", "v-64p-0000"} {
			for _, fails := range []bool{false, true} {
				t.Run(name+" before "+unit, func(t *testing.T) {
					t.Parallel()
					b := open(t, newDirs(t), nil)
					job := b.submit(fixtureRequest)
					for _, before := range []string{"probe", "audio", "v-128p-0000"} {
						if unit != "probe" {
							b.encode(transcode.Work{Job: job.ID, Unit: before})
						}
					}
					if err := tt.change(b.media(sourceName)); err != nil {
						t.Fatal(err)
					}
					verdict := b.end(transcode.Work{Job: job.ID, Unit: unit}, fails)
					if verdict.Accepted != fails {
						t.Errorf("verdict = %+v; want a result refused, a failure accepted", verdict)
					}
					b.checkGone(job.ID, tt.want)
				})
			}
		}
	}
}

// end claims a unit and reports that it failed, or its result.
func (b *bench) end(w transcode.Work, fails bool) transcode.Verdict {
	b.t.Helper()
	reply, err := b.claim(b.t.Context(), "pi1", "")
	if err != nil || reply.Unit.ID != w.Unit {
		b.t.Fatalf("claim of %v: %+v, %v", w, reply, err)
	}
	var verdict transcode.Verdict
	if fails {
		verdict, err = b.giveBack(b.t.Context(), "pi1", transcode.Failed{Job: w.Job, Unit: w.Unit, Attempt: reply.Attempt, Reason: "it did not work", Stderr: []string{"why"}})
	} else {
		writeAttempt(b.t, b.media(""), "pi1", w, reply.Attempt)
		verdict, err = b.accept(b.t.Context(), "pi1", transcode.Done{Job: w.Job, Unit: w.Unit, Attempt: reply.Attempt, Result: theFixture(b.t).results[w.Unit]})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return verdict
}

func (b *bench) checkGone(id int64, want string) {
	b.t.Helper()
	job, err := b.Job(b.t.Context(), id)
	if err != nil || job.State != Failed || !strings.Contains(job.Reason, want) || strings.Contains(job.Reason, "\n") || len(job.Stderr) > 0 {
		b.t.Errorf("job is %s: %q, %q, %v; want it failed because its source %s", job.State, job.Reason, job.Stderr, err, want)
	}
	for _, u := range job.Units {
		if u.Attempt > 1 {
			b.t.Errorf("%s took %d attempts; want one", u.ID, u.Attempt)
		}
	}
	if left, err := filepath.Glob(b.media(transcode.ScratchOf("pi1") + "/*")); err != nil || len(left) > 0 {
		b.t.Errorf("left in the scratch: %q, %v", left, err)
	}
}

// A source whose time alone has changed is the same.
func TestTouchedSource(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	if err := os.Chtimes(b.media(sourceName), time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"probe", "audio", "v-128p-0000", "v-64p-0000"} {
		b.encode(transcode.Work{Job: job.ID, Unit: unit})
	}
	if job, err := b.Job(t.Context(), job.ID); err != nil || job.State != Publishing {
		t.Errorf("job is %s: %s, %v; want it publishing", job.State, job.Reason, err)
	}
}

// What fails for another reason is tried again, as before.
func TestFailureWithItsSource(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	if verdict := b.end(transcode.Work{Job: job.ID, Unit: "probe"}, true); !verdict.Accepted {
		t.Errorf("verdict = %+v; want the failure accepted", verdict)
	}
	b.checkPending(job.ID, "probe")
}
