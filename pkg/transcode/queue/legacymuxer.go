package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// defaultLegacyTTL is how long a legacy muxer's claim lasts. It sends nothing between
// the start and the end of a video.
const defaultLegacyTTL = 6 * time.Hour

// ErrNotClaimed reports that a legacy muxer does not hold the job that it names.
var ErrNotClaimed = errors.New("this muxer has no claim on the job")

// A LegacyMuxer is a muxer of the pool that pibootd replaces. It does whole jobs by
// its own means and writes the stream beside the source.
type LegacyMuxer struct {
	MuxID int
	Host  string // its address: letters, digits, dots and colons. It distinguishes two muxers of one id
}

// Name returns the name of the muxer among the workers.
func (f LegacyMuxer) Name() string {
	return fmt.Sprintf("%s%d-%s", transcode.LegacyMuxerPrefix, f.MuxID, strings.NewReplacer(".", "-", ":", "-").Replace(f.Host))
}

// A LegacyJob is a job that a legacy muxer has claimed.
type LegacyJob struct {
	ID     int64
	Source string // in the media share
}

// LegacyDir returns the directory in which a legacy muxer writes the stream of a
// source. The muxer makes it, and refuses the job if it exists.
func LegacyDir(source string) string { return source + ".hls" }

// maxLegacyOffers bounds the jobs that one claim looks at.
const maxLegacyOffers = 1000

// ClaimLegacy grants a muxer the oldest job that has not started and that fits; a
// nil job means that there is none. A muxer does one job at a time, so a job that
// it still holds is given up. If it has not reported the start of that job, the
// reply got lost, and it gets the same job again.
func (q *Queue) ClaimLegacy(ctx context.Context, f LegacyMuxer, fits func(transcode.Request) bool) (*LegacyJob, error) {
	var job *LegacyJob
	err := q.write(ctx, func(t *transaction) error {
		u, err := q.legacyOffer(ctx, t, f, fits)
		if err != nil || u == nil {
			return err
		}
		job = &LegacyJob{ID: u.key.job, Source: u.spec.Source}
		if u.state == running {
			return nil
		}
		granted := claim{key: attemptKey{u.key, u.tries + 1}, worker: f.Name(), deadline: t.now.Add(q.legacyTTL)}
		return t.grant(ctx, *u, granted)
	})
	if err != nil {
		return nil, fmt.Errorf("queue: claim of %s: %w", f.Name(), err)
	}
	return job, nil
}

// legacyOffer returns the probe unit of the job that this muxer gets, and gives up
// the job that it held.
func (q *Queue) legacyOffer(ctx context.Context, t *transaction, f LegacyMuxer, fits func(transcode.Request) bool) (*unitRow, error) {
	had, err := t.units(ctx, `WHERE u.state = ? AND u.worker = ?`, running, f.Name())
	if err != nil {
		return nil, err
	}
	for _, u := range had {
		key := attemptKey{u.key, u.attempt}
		if q.claims.unheard(f.Name(), key) && q.legacyDirFree(u) {
			return &u, nil
		}
		if err := t.release(ctx, u, key, ending{outcome: EventGivenUp, detail: q.brokeOff(u)}); err != nil {
			return nil, err
		}
	}
	busy, err := t.legacySources(ctx)
	if err != nil {
		return nil, err
	}
	offers, err := t.units(ctx, `WHERE u.kind = ? AND u.state = ? AND j.state IN (?, ?) AND j.paused = 0 AND j.preview = 0 ORDER BY j.priority DESC, u.job LIMIT ?`,
		transcode.KindProbe, pending, Queued, Running, maxLegacyOffers)
	if err != nil {
		return nil, err
	}
	for _, u := range offers {
		if u.request.For(f.MuxID, nil) && fits(u.request) && !busy[u.spec.Source] && q.makeFree(t, u) {
			return &u, nil
		}
	}
	return nil, nil
}

// brokeOff describes why a muxer claims a job while it still holds one.
func (q *Queue) brokeOff(u unitRow) string {
	text := "its muxer asked for work again before it had said how this job ended: it broke off or was restarted"
	if q.legacyDirFree(u) {
		text += fmt.Sprintf(", and had not made %s (pibootd doctor tells whether it may)", path.Base(LegacyDir(u.spec.Source)))
	}
	return text
}

// legacySources returns the sources of the jobs that muxers hold. No other muxer may
// start a job of the same source, because it would write to the same directory.
func (t *transaction) legacySources(ctx context.Context) (map[string]bool, error) {
	held, err := t.units(ctx, `WHERE u.kind = ? AND u.state = ? AND u.worker LIKE ?`, transcode.KindProbe, running, transcode.LegacyMuxerPrefix+"%")
	if err != nil {
		return nil, err
	}
	sources := map[string]bool{}
	for _, u := range held {
		sources[u.spec.Source] = true
	}
	return sources, nil
}

// ttl returns how long a claim of this worker lasts without progress.
func (q *Queue) ttl(worker string) time.Duration {
	if transcode.IsLegacyMuxer(worker) {
		return q.legacyTTL
	}
	return q.claimTTL
}

// BeginLegacy records that a muxer has started its job. The error matches
// ErrNotClaimed if it has no claim.
func (q *Queue) BeginLegacy(f LegacyMuxer, job int64) error {
	now := time.Now()
	c, ok := q.claims.ofWorker(f.Name(), unitKey{job, probeUnit})
	if !ok || !q.claims.progress(f.Name(), transcode.Progress{Job: job, Unit: probeUnit, Attempt: c.key.attempt}, now, now.Add(q.legacyTTL)) {
		return fmt.Errorf("queue: job %d: %s: %w", job, f.Name(), ErrNotClaimed)
	}
	q.watches.notify(job)
	return nil
}

// probeUnit is the first unit of every job. A legacy muxer claims it for the whole
// job.
const probeUnit = "probe"

// LegacySource returns the source of a job that a muxer has claimed. The error
// matches ErrNotClaimed if it has not.
func (q *Queue) LegacySource(ctx context.Context, f LegacyMuxer, job int64) (string, error) {
	u, err := scanUnit(q.store.QueryRow(ctx, unitQuery+` WHERE u.job = ? AND u.unit = ?`, job, probeUnit))
	if err == nil {
		err = claimedBy(u, f)
	}
	if err != nil && !errors.Is(err, errNoUnit) {
		return "", fmt.Errorf("queue: job %d: %w", job, err)
	}
	if err != nil {
		return "", fmt.Errorf("queue: job %d: %w", job, ErrNotClaimed)
	}
	return u.spec.Source, nil
}

func claimedBy(u unitRow, f LegacyMuxer) error {
	if u.state != running || u.worker != f.Name() {
		return fmt.Errorf("%s: %w", f.Name(), ErrNotClaimed)
	}
	return nil
}

// CompleteLegacy ends a job that a muxer has done. entry is the file in LegacyDir
// that a player opens; the caller has checked the stream. The error matches
// ErrNotClaimed if the muxer has no claim.
func (q *Queue) CompleteLegacy(ctx context.Context, f LegacyMuxer, job int64, entry string) error {
	return q.endLegacy(ctx, f, job, func(t *transaction, u unitRow) error {
		err := errors.Join(
			t.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, done, job, probeUnit),
			t.exec(ctx, `UPDATE jobs SET output = ?, entry = ? WHERE id = ?`, LegacyDir(u.spec.Source), entry, job),
			t.noteEnd(ctx, u, attemptKey{u.key, u.attempt}, ending{outcome: EventDone}))
		if err != nil {
			return err
		}
		t.released = append(t.released, attemptKey{u.key, u.attempt})
		return t.endJob(ctx, job, Done, "", nil)
	})
}

// FailLegacy releases a job that a muxer could not do. Others may try it; after some
// attempts the job fails. It fails at once if its source is gone.
func (q *Queue) FailLegacy(ctx context.Context, f LegacyMuxer, job int64, reason string) error {
	return q.endLegacy(ctx, f, job, func(t *transaction, u unitRow) error {
		end := ending{outcome: EventFailed, detail: clip(reason, maxReason)}
		switch _, err := q.media.Stat(u.spec.Source); {
		case errors.Is(err, fs.ErrNotExist):
			end.detail = clip(fmt.Sprintf("%s is not there (its muxer: %s)", u.spec.Source, reason), maxReason)
			end.final = true
		case err == nil && reason == missingFile:
			end.detail = clip(fmt.Sprintf("%s: %s is there: has its muxer mounted the share as docs/machines.md says?", reason, u.spec.Source), maxReason)
		}
		return t.release(ctx, u, attemptKey{u.key, u.attempt}, end)
	})
}

// missingFile is a muxer's reason when it did not find the source.
const missingFile = "MissingFile"

// LegacyDone reports whether this muxer has completed a job: it repeats its request
// when the reply got lost.
func (q *Queue) LegacyDone(ctx context.Context, f LegacyMuxer, job int64) (bool, error) {
	var worker, state string
	err := q.store.QueryRow(ctx, `SELECT worker, state FROM units WHERE job = ? AND unit = ?`, job, probeUnit).Scan(&worker, &state)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("queue: job %d: %w", job, err)
	}
	return state == done && worker == f.Name(), nil
}

func (q *Queue) endLegacy(ctx context.Context, f LegacyMuxer, job int64, end func(*transaction, unitRow) error) error {
	err := q.write(ctx, func(t *transaction) error {
		u, err := t.unit(ctx, unitKey{job, probeUnit})
		if errors.Is(err, errNoUnit) {
			return ErrNotClaimed
		}
		if err == nil {
			err = claimedBy(u, f)
		}
		if err != nil {
			return err
		}
		return end(t, u)
	})
	if err != nil {
		return fmt.Errorf("queue: job %d: %w", job, err)
	}
	return nil
}
