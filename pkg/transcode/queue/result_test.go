package queue

import (
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

func TestWrongResultsAreRefused(t *testing.T) {
	t.Parallel()
	const unit = "v-64p-0000"
	for name, spoil := range map[string]func(dir string, r *transcode.Result) error{
		"wrong frames":  func(_ string, r *transcode.Result) error { r.Segments[1].Frames++; return nil },
		"wrong hash":    func(_ string, r *transcode.Result) error { r.Segments[1].SHA256 = strings.Repeat("0", 64); return nil },
		"wrong size":    func(_ string, r *transcode.Result) error { r.Segments[1].SizeBytes++; return nil },
		"outside name":  func(_ string, r *transcode.Result) error { r.Segments[1].Name = "../../x.ts"; return nil },
		"no segments":   func(_ string, r *transcode.Result) error { r.Segments = nil; return nil },
		"no file":       func(dir string, _ *transcode.Result) error { return os.Remove(dir + "/00001.ts") },
		"symbolic link": func(dir string, _ *transcode.Result) error { return replace(dir, os.Symlink) },
		"directory": func(dir string, _ *transcode.Result) error {
			return replace(dir, func(_, to string) error { return os.Mkdir(to, 0o755) })
		},
		"named pipe": func(dir string, _ *transcode.Result) error {
			return replace(dir, func(_, to string) error { return unix.Mkfifo(to, 0o644) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, newDirs(t), nil)
			job := b.submit(fixtureRequest)
			b.encode(transcode.Work{Job: job.ID, Unit: "probe"})
			b.encode(transcode.Work{Job: job.ID, Unit: "audio"})
			b.encode(transcode.Work{Job: job.ID, Unit: "v-128p-0000"})
			work := transcode.Work{Job: job.ID, Unit: unit}
			if reply, err := b.claim(t.Context(), "pi1", ""); err != nil || reply.Attempt != 1 {
				t.Fatalf("claim = %+v, %v", reply, err)
			}
			writeAttempt(t, b.media(""), "pi1", work, 1)
			d := transcode.Done{Job: job.ID, Unit: unit, Attempt: 1, Result: theFixture(t).results[unit]}
			d.Result.Segments = append([]transcode.Segment(nil), d.Result.Segments...)
			if err := spoil(scratchDir(b.media(""), "pi1", job.ID, unit, 1), &d.Result); err != nil {
				t.Fatal(err)
			}
			verdict, err := b.accept(t.Context(), "pi1", d)
			if err != nil || verdict.Accepted || verdict.Reason == "" {
				t.Errorf("verdict = %+v, %v; want it refused", verdict, err)
			}
			b.checkPending(job.ID, unit)
		})
	}
}

// replace moves the second segment of a directory away and puts something else
// in its place.
func replace(dir string, with func(from, to string) error) error {
	if err := os.Rename(dir+"/00001.ts", dir+"/moved.ts"); err != nil {
		return err
	}
	return with("moved.ts", dir+"/00001.ts")
}

// checkPending makes sure that a unit waits for its next attempt and that
// nothing is left of the first.
func (b *bench) checkPending(id int64, unit string) {
	b.t.Helper()
	job, err := b.Job(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, u := range job.Units {
		if u.ID == unit && (u.State != pending || u.Attempt != 1) {
			b.t.Errorf("unit = %+v; want it pending after attempt 1", u)
		}
	}
	for _, dir := range []string{b.media(transcode.AttemptDir(id, unit, 1)), scratchDir(b.media(""), "pi1", id, unit, 1)} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			b.t.Errorf("refused files: %v; want none in %s", err, dir)
		}
	}
}

// FuzzAnswer has workers say anything at all while a claim of theirs runs.
func FuzzAnswer(f *testing.F) {
	for topic, v := range []any{
		transcode.Hello{MuxID: 3},
		transcode.Claim{Job: 1, Unit: "probe"},
		transcode.Progress{Job: 1, Unit: "probe", Attempt: 1, Frames: 5},
		transcode.Failed{Job: 1, Unit: "probe", Attempt: 1, Reason: "x", Stderr: []string{"y"}},
		transcode.Done{Job: 1, Unit: "probe", Attempt: 1, Result: transcode.Result{Probe: &theFixture(f).probe}},
	} {
		body, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint(topic), body)
	}
	b := open(f, newDirs(f), func(o *Options) { o.OnUnit, o.OnWorker = nil, nil })
	f.Fuzz(func(t *testing.T, n uint, body []byte) {
		b.claimedAnew(t)
		topic := b.topics[n%uint(len(b.topics))]
		m := &nats.Msg{Subject: topic.subject + ".pi1", Reply: broker.Inbox("pi1") + "x", Data: body}
		if err := b.answer(t.Context(), topic, m); err != nil && strings.Contains(err.Error(), "panic") {
			t.Error(err)
		}
		if _, err := b.Job(t.Context(), 1); err != nil {
			t.Error(err)
		}
	})
}

// claimedAnew makes job 1 the only one, with its probe claimed by pi1.
func (b *bench) claimedAnew(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	err := b.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM jobs; DELETE FROM sqlite_sequence WHERE name = 'jobs'`)
		return err
	})
	_, _, submitErr := b.Submit(ctx, fixtureRequest)
	reply, claimErr := b.claim(ctx, "pi1", "")
	if err := errors.Join(err, submitErr, claimErr); err != nil || reply.Attempt != 1 {
		t.Fatalf("claim = %+v, %v", reply, err)
	}
}

// A result that cannot be put together with what others made is another
// worker's to encode again; the job continues.
func TestUnlikeResultIsRefused(t *testing.T) {
	t.Parallel()
	const unit = "v-64p-0000"
	right := theFixture(t).results[unit]
	other := right
	other.Codecs = "avc1.640028"
	for name, test := range map[string]struct {
		before transcode.Result // of another unit of the rendition
		want   string           // why it is refused; "" if it is accepted
	}{
		"like":   {right, ""},
		"unlike": {other, "want one encoder for a rendition"},
	} {
		b := open(t, newDirs(t), nil)
		job := b.submit(fixtureRequest)
		for _, id := range []string{"probe", "audio", "v-128p-0000"} {
			b.encode(transcode.Work{Job: job.ID, Unit: id})
		}
		err := b.store.Write(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), `
				INSERT INTO units (job, unit, seq, kind, spec, frames, state, result)
				SELECT job, 'v-64p-0001', 99, kind, spec, 0, ?, ? FROM units WHERE job = ? AND unit = ?`,
				done, column[transcode.Result]{test.before}, job.ID, unit)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		work := transcode.Work{Job: job.ID, Unit: unit}
		if reply, err := b.claim(t.Context(), "pi1", ""); err != nil || reply.Attempt != 1 {
			t.Fatalf("claim = %+v, %v", reply, err)
		}
		writeAttempt(t, b.media(""), "pi1", work, 1)
		verdict, err := b.accept(t.Context(), "pi1", transcode.Done{Job: job.ID, Unit: unit, Attempt: 1, Result: right})
		if err != nil || verdict.Accepted != (test.want == "") || !strings.Contains(verdict.Reason, test.want) {
			t.Errorf("%s: verdict = %+v, %v; want %q", name, verdict, err, test.want)
		}
		if test.want != "" {
			b.checkPending(job.ID, unit)
		}
		if got, err := b.Job(t.Context(), job.ID); err != nil || got.State.Ended() {
			t.Errorf("%s: job = %+v, %v; want it to continue", name, got, err)
		}
	}
}
