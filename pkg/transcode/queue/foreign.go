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

// defaultForeignTTL is how long a foreign muxer may be silent. It says nothing
// between the beginning and the end of a video.
const defaultForeignTTL = 6 * time.Hour

// ErrNotClaimed reports that a foreign muxer speaks of a job that it does not
// have, or no longer.
var ErrNotClaimed = errors.New("this muxer has no claim on the job")

// A Foreign is somebody who does jobs whole, by means of its own, and writes
// the stream beside the source: a muxer of the pool that pibootd replaces.
type Foreign struct {
	MuxID int
	Host  string // where it is, letters, digits, dots and colons: two with one muxer id are told apart by it
}

// Name is what the muxer is called among the workers.
func (f Foreign) Name() string {
	return fmt.Sprintf("%s%d-%s", transcode.LegacyMuxerPrefix, f.MuxID, strings.NewReplacer(".", "-", ":", "-").Replace(f.Host))
}

// A ForeignJob is a job that a foreign muxer has claimed.
type ForeignJob struct {
	ID     int64
	Source string // in the media share
}

// ForeignDir returns where a foreign muxer puts the stream of a source. It makes
// that directory itself, and refuses the job if it is there.
func ForeignDir(source string) string { return source + ".hls" }

// maxForeignOffers bounds the jobs that are looked at for one claim.
const maxForeignOffers = 1000

// ClaimForeign gives a muxer the oldest job that nobody has begun and that fits;
// a nil job says that there is none. A muxer does one job at a time, so what it
// had is given up, unless it has not yet said that it began: then our answer
// was lost, and it gets the same again.
func (q *Queue) ClaimForeign(ctx context.Context, f Foreign, fits func(transcode.Request) bool) (*ForeignJob, error) {
	var granted claim
	var job *ForeignJob
	err := q.write(ctx, func(s *step) error {
		u, err := q.foreignOffer(ctx, s, f, fits)
		if err != nil || u == nil {
			return err
		}
		job = &ForeignJob{ID: u.key.job, Source: u.spec.Source}
		if u.state == running {
			return nil
		}
		granted = claim{key: attemptKey{u.key, u.tries + 1}, worker: f.Name(), deadline: s.now.Add(q.foreignTTL)}
		return s.grant(ctx, *u, granted)
	})
	if err != nil {
		return nil, fmt.Errorf("queue: claim of %s: %w", f.Name(), err)
	}
	if granted.worker != "" {
		q.claims.put(granted)
	}
	return job, nil
}

// foreignOffer returns the unit that stands for the job which this muxer gets,
// and gives up what it had.
func (q *Queue) foreignOffer(ctx context.Context, s *step, f Foreign, fits func(transcode.Request) bool) (*unitRow, error) {
	had, err := s.units(ctx, `WHERE u.state = ? AND u.worker = ?`, running, f.Name())
	if err != nil {
		return nil, err
	}
	for _, u := range had {
		key := attemptKey{u.key, u.attempt}
		if q.claims.unheard(f.Name(), key) && q.foreignFree(u) {
			return &u, nil
		}
		if err := s.release(ctx, u, key, ending{outcome: EventGivenUp, detail: q.brokeOff(u)}); err != nil {
			return nil, err
		}
	}
	busy, err := s.foreignSources(ctx)
	if err != nil {
		return nil, err
	}
	offers, err := s.units(ctx, `WHERE u.kind = ? AND u.state = ? AND j.state IN (?, ?) AND j.paused = 0 ORDER BY j.priority DESC, u.job LIMIT ?`,
		transcode.KindProbe, pending, Queued, Running, maxForeignOffers)
	if err != nil {
		return nil, err
	}
	for _, u := range offers {
		if u.request.For(f.MuxID, nil) && fits(u.request) && !busy[u.spec.Source] && q.makeFree(s, u) {
			return &u, nil
		}
	}
	return nil, nil
}

// brokeOff says what is known of a muxer that asks for work while it has a job.
func (q *Queue) brokeOff(u unitRow) string {
	text := "its muxer asked for work again before it had said how this job ended: it broke off or was started anew"
	if q.foreignFree(u) {
		text += fmt.Sprintf(", and had not made %s (pibootd doctor tells whether it may)", path.Base(ForeignDir(u.spec.Source)))
	}
	return text
}

// foreignSources returns the sources that muxers are at. No other may begin a
// job of the same: its stream would be in the same place.
func (s *step) foreignSources(ctx context.Context) (map[string]bool, error) {
	held, err := s.units(ctx, `WHERE u.kind = ? AND u.state = ? AND u.worker LIKE ?`, transcode.KindProbe, running, transcode.LegacyMuxerPrefix+"%")
	if err != nil {
		return nil, err
	}
	sources := map[string]bool{}
	for _, u := range held {
		sources[u.spec.Source] = true
	}
	return sources, nil
}

// ttl returns how long a claim of this worker lasts without a word.
func (q *Queue) ttl(worker string) time.Duration {
	if transcode.IsLegacyMuxer(worker) {
		return q.foreignTTL
	}
	return q.claimTTL
}

// BeginForeign notes that a muxer has begun its job. The error matches
// ErrNotClaimed if it has no claim.
func (q *Queue) BeginForeign(f Foreign, job int64) error {
	now := time.Now()
	c, ok := q.claims.ofWorker(f.Name(), unitKey{job, probeUnit})
	if !ok || !q.claims.progress(f.Name(), transcode.Progress{Job: job, Unit: probeUnit, Attempt: c.key.attempt}, now, now.Add(q.foreignTTL)) {
		return fmt.Errorf("queue: job %d: %s: %w", job, f.Name(), ErrNotClaimed)
	}
	q.watches.notify(job)
	return nil
}

// probeUnit is the unit that every job begins with. A foreign muxer claims it
// for the whole job.
const probeUnit = "probe"

// ForeignSource returns the source of a job that a muxer has claimed. The error
// matches ErrNotClaimed if it has not.
func (q *Queue) ForeignSource(ctx context.Context, f Foreign, job int64) (string, error) {
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

func claimedBy(u unitRow, f Foreign) error {
	if u.state != running || u.worker != f.Name() {
		return fmt.Errorf("%s: %w", f.Name(), ErrNotClaimed)
	}
	return nil
}

// CompleteForeign ends a job that a muxer has done. entry is what a player
// opens in ForeignDir; whoever calls has looked at the stream. To say it again
// changes nothing. The error matches ErrNotClaimed if the muxer has no claim.
func (q *Queue) CompleteForeign(ctx context.Context, f Foreign, job int64, entry string) error {
	return q.endForeign(ctx, f, job, func(s *step, u unitRow) error {
		err := errors.Join(
			s.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, done, job, probeUnit),
			s.exec(ctx, `UPDATE jobs SET output = ?, entry = ? WHERE id = ?`, ForeignDir(u.spec.Source), entry, job),
			s.noteEnd(ctx, u, attemptKey{u.key, u.attempt}, ending{outcome: EventDone}))
		if err != nil {
			return err
		}
		s.released = append(s.released, attemptKey{u.key, u.attempt})
		return s.endJob(ctx, job, Done, "", nil)
	})
}

// FailForeign gives back a job that a muxer could not do. Others may try it;
// after some attempts the job fails. It fails at once if its source is gone.
func (q *Queue) FailForeign(ctx context.Context, f Foreign, job int64, reason string) error {
	return q.endForeign(ctx, f, job, func(s *step, u unitRow) error {
		end := ending{outcome: EventFailed, detail: clip(reason, maxReason)}
		switch _, err := q.media.Stat(u.spec.Source); {
		case errors.Is(err, fs.ErrNotExist):
			end.detail = clip(fmt.Sprintf("%s is not there (its muxer: %s)", u.spec.Source, reason), maxReason)
			end.final = true
		case err == nil && reason == missingFile:
			end.detail = clip(fmt.Sprintf("%s: %s is there: has its muxer mounted the share as docs/machines.md says?", reason, u.spec.Source), maxReason)
		}
		return s.release(ctx, u, attemptKey{u.key, u.attempt}, end)
	})
}

// missingFile is a muxer's reason when it did not find the source.
const missingFile = "MissingFile"

// ForeignDone reports whether a job was done by this muxer: it asks again when
// our answer was lost.
func (q *Queue) ForeignDone(ctx context.Context, f Foreign, job int64) (bool, error) {
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

func (q *Queue) endForeign(ctx context.Context, f Foreign, job int64, end func(*step, unitRow) error) error {
	err := q.write(ctx, func(s *step) error {
		u, err := s.unit(ctx, unitKey{job, probeUnit})
		if errors.Is(err, errNoUnit) {
			return ErrNotClaimed
		}
		if err == nil {
			err = claimedBy(u, f)
		}
		if err != nil {
			return err
		}
		return end(s, u)
	})
	if err != nil {
		return fmt.Errorf("queue: job %d: %w", job, err)
	}
	return nil
}
