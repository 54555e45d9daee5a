package queue

import (
	"context"
	"database/sql"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// A countdown is a context that ends after it was looked at so many times.
type countdown struct {
	context.Context
	left atomic.Int64
}

func newCountdown(ctx context.Context, looks int) *countdown {
	c := &countdown{Context: ctx}
	c.left.Store(int64(looks))
	return c
}

func (c *countdown) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return c.Context.Err()
}

// encoded submits the fixture and does all its units, on a queue that nobody
// runs, so that nothing is published yet.
func (b *bench) encoded() Job {
	b.t.Helper()
	job := b.submit(fixtureRequest)
	units := []string{"probe"}
	for _, u := range theFixture(b.t).plan.Units {
		units = append(units, u.ID)
	}
	for _, unit := range units {
		b.encode(transcode.Work{Job: job.ID, Unit: unit})
	}
	got, err := b.Job(b.t.Context(), job.ID)
	if err != nil || got.State != Publishing {
		b.t.Fatalf("job = %+v, %v; want it to be publishing", got, err)
	}
	return got
}

func (b *bench) encode(w transcode.Work) {
	b.t.Helper()
	reply, err := b.claim(b.t.Context(), "pi1", "")
	if err != nil || reply.Refused != "" {
		b.t.Fatalf("claim of %v: %+v, %v", w, reply, err)
	}
	writeAttempt(b.t, b.media(""), "pi1", w, reply.Attempt)
	verdict, err := b.accept(b.t.Context(), "pi1", transcode.Done{
		Job: w.Job, Unit: w.Unit, Attempt: reply.Attempt, Result: theFixture(b.t).results[w.Unit],
	})
	if err != nil || !verdict.Accepted {
		b.t.Fatalf("result of %v: %+v, %v", w, verdict, err)
	}
}

// Publishing is stopped at each step in turn, and has to come to the same end.
func TestPublishingResumes(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	stopped := 0
	for whole := false; !whole; stopped++ {
		job := b.encoded()
		err := b.publishJob(newCountdown(t.Context(), stopped), job.ID)
		if whole = err == nil; !whole {
			b.checkUnpublished(job.ID, stopped)
			err = b.publishJob(t.Context(), job.ID)
		}
		if err != nil {
			t.Fatalf("stopped at step %d, then resumed: %v", stopped, err)
		}
		b.checkDone(job.ID, "hls/clip")
		if err := os.RemoveAll(b.media("hls")); err != nil {
			t.Fatal(err)
		}
	}
	if stopped < 15 {
		t.Errorf("publishing could be stopped at %d steps; want one for each file at least", stopped)
	}
}

// checkUnpublished makes sure that a job that was stopped is not done, and that
// viewers see all of it or nothing.
func (b *bench) checkUnpublished(id int64, step int) {
	b.t.Helper()
	job, err := b.Job(b.t.Context(), id)
	if err != nil || job.State != Publishing {
		b.t.Errorf("stopped at step %d: job = %+v, %v; want it to be publishing", step, job, err)
	}
	if _, err := os.Stat(b.media("hls/clip")); err == nil {
		b.checkFiles("hls/clip")
	}
}

// checkDone makes sure that a job is done and its stream is whole.
func (b *bench) checkDone(id int64, output string) {
	b.t.Helper()
	job, err := b.Job(b.t.Context(), id)
	if err != nil || job.State != Done || job.Output != path.Join(output, transcode.MasterName) || job.Reason != "" {
		b.t.Errorf("job = %+v, %v; want it done at %s", job, err, output)
	}
	b.checkFiles(output)
	b.checkSwept(id)
}

// checkSwept makes sure that nothing unpublished is left of a job. It goes after
// the job has ended, so the queue must have come to rest.
func (b *bench) checkSwept(id int64) {
	b.t.Helper()
	if _, err := os.Stat(b.media(transcode.JobDir(id))); !os.IsNotExist(err) {
		b.t.Errorf("unpublished files: %v; want none", err)
	}
}

// checkFiles makes sure that every file of the fixture's stream is in place.
func (b *bench) checkFiles(output string) {
	b.t.Helper()
	f := theFixture(b.t)
	for _, u := range f.plan.Units {
		for name, data := range f.files[u.ID] {
			got, err := os.ReadFile(b.media(path.Join(output, u.Dir(), name)))
			if err != nil || string(got) != string(data) {
				b.t.Errorf("%s/%s: %d bytes, %v; want %d", u.Dir(), name, len(got), err, len(data))
			}
		}
	}
	playlists, err := hls.Playlists(f.plan, f.results, hls.Sealed{})
	if err != nil {
		b.t.Fatal(err)
	}
	for name, text := range playlists {
		got, err := os.ReadFile(b.media(path.Join(output, name)))
		if err != nil || string(got) != string(text) {
			b.t.Errorf("%s: %q, %v; want %q", name, got, err, text)
		}
	}
}

func TestPublishingReplacesNothing(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(b.media(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(b.media(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("hls/clip/master.m3u8", "older")
	write("hls/clip-2", "a file")
	job := b.encoded()
	// Something takes the name after it was chosen.
	if err := b.publishJob(newCountdown(t.Context(), 3), job.ID); err == nil {
		t.Fatal("publishing did not stop")
	}
	var chosen string
	if err := b.store.QueryRow(t.Context(), `SELECT output FROM jobs WHERE id = ?`, job.ID).Scan(&chosen); err != nil || chosen != "hls/clip-3" {
		t.Fatalf("output %q, %v; want hls/clip-3 chosen", chosen, err)
	}
	if got, err := b.Job(t.Context(), job.ID); err != nil || got.Output != "" {
		t.Errorf("job = %+v, %v; want no output before there is one", got, err)
	}
	write("hls/clip-3/other", "newer")
	if err := b.publishJob(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	b.checkDone(job.ID, "hls/clip-4")
	for name, want := range map[string]string{"hls/clip/master.m3u8": "older", "hls/clip-2": "a file", "hls/clip-3/other": "newer"} {
		if got, err := os.ReadFile(b.media(name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestLostSegmentFailsTheJob(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.encoded()
	if err := os.Truncate(b.media(transcode.AttemptDir(job.ID, "audio", 1)+"/00001.ts"), 188); err != nil {
		t.Fatal(err)
	}
	if err := b.publishReady(t.Context()); err != nil {
		t.Error(err)
	}
	got, err := b.Job(t.Context(), job.ID)
	if err != nil || got.State != Failed || got.Output != "" || !strings.Contains(got.Reason, "after it was accepted a segment has changed") {
		t.Errorf("job = %+v, %v; want it failed for the segment", got, err)
	}
	if _, err := os.Stat(b.media("hls/clip")); !os.IsNotExist(err) {
		t.Errorf("output: %v; want none", err)
	}
}

func TestResultsThatDoNotFitFailTheJob(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	job := b.encoded()
	r := theFixture(t).results["v-64p-0000"]
	r.Codecs = "mp4a.40.2"
	err := b.store.Write(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE units SET result = ? WHERE unit = 'v-64p-0000'`, column[transcode.Result]{r})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.publishReady(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := b.Job(t.Context(), job.ID); err != nil || got.State != Failed || !strings.Contains(got.Reason, "do not make a stream") {
		t.Errorf("job = %+v, %v; want it failed", got, err)
	}
}

// A publication that has to wait says why, and resumes when it can.
func TestPublishingWaits(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	if err := os.WriteFile(b.media("hls"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	job := b.encoded()
	if err := b.publishReady(t.Context()); err == nil {
		t.Error("published into a file")
	}
	if got, err := b.Job(t.Context(), job.ID); err != nil || got.State != Publishing || !strings.HasPrefix(got.Reason, "publishing: ") {
		t.Errorf("job = %+v, %v; want it to be publishing, with a reason", got, err)
	}
	if err := os.Remove(b.media("hls")); err != nil {
		t.Fatal(err)
	}
	if err := b.publishReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.checkDone(job.ID, "hls/clip")
}

func TestOutputBelongsToTheShare(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	want := ids{os.Geteuid(), os.Getegid()}
	if want.uid == 0 { // only root can give files away
		want = ids{1234, 5678}
	}
	if err := os.Chown(b.media(""), want.uid, want.gid); err != nil {
		t.Fatal(err)
	}
	job := b.encoded()
	if err := b.publishJob(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(b.media("hls"), func(name string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && owner(info) != want {
			t.Errorf("%s belongs to %v; want %v", name, owner(info), want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	checkModes(t, b.media("hls"))
}

func TestSweep(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	b.submit(fixtureRequest)
	if reply, err := b.claim(t.Context(), "pi1", ""); err != nil || reply.Attempt != 1 {
		t.Fatalf("claim = %+v, %v", reply, err)
	}
	keep := []string{".work/1/probe.1", ".work/1/publish", ".work/notes", ".work/01"}
	remove := []string{".work/1/probe.0", ".work/1/probe.2", ".work/1/other.1", ".work/2", ".work/999/x.1"}
	for _, dir := range append(keep, remove...) {
		if err := os.MkdirAll(b.media(dir+"/full"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range keep {
		if _, err := os.Stat(b.media(dir)); err != nil {
			t.Errorf("%v; want it kept", err)
		}
	}
	for _, dir := range remove {
		if _, err := os.Stat(b.media(dir)); !os.IsNotExist(err) {
			t.Errorf("%s: %v; want it removed", dir, err)
		}
	}
}
