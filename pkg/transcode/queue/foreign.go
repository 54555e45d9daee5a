package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

// foreignPrefix begins the names of foreign muxers. Boards are called by their
// serial number, so none of them is called so.
const foreignPrefix = "muxer-"

// A Foreign is somebody who does jobs whole, by means of its own, and writes
// the stream beside the source: a muxer of the pool that pibootd replaces.
type Foreign struct {
	MuxID int
	Host  string // where it is, letters, digits, dots and colons: two with one muxer id are told apart by it
}

// Name is what the muxer is called among the workers.
func (f Foreign) Name() string {
	return fmt.Sprintf("%s%d-%s", foreignPrefix, f.MuxID, strings.NewReplacer(".", "-", ":", "-").Replace(f.Host))
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
	if err := q.clearLeft(ctx); err != nil {
		return nil, fmt.Errorf("queue: claim of %s: %w", f.Name(), err)
	}
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
		if err := s.release(ctx, u, key, ending{outcome: EventGivenUp, detail: "its muxer has asked for another job"}); err != nil {
			return nil, err
		}
	}
	offers, err := s.units(ctx, `WHERE u.kind = ? AND u.state = ? AND j.state IN (?, ?) AND j.paused = 0 ORDER BY j.priority DESC, u.job LIMIT ?`,
		transcode.KindProbe, pending, Queued, Running, maxForeignOffers)
	if err != nil {
		return nil, err
	}
	for _, u := range offers {
		if u.request.For(f.MuxID, nil) && fits(u.request) && q.foreignFree(u) {
			return &u, nil
		}
	}
	return nil, nil
}

// foreignFree reports whether the muxer would find its directory free.
func (q *Queue) foreignFree(u unitRow) bool {
	taken, err := exists(q.media, ForeignDir(u.spec.Source))
	return err == nil && !taken
}

func isForeign(worker string) bool { return strings.HasPrefix(worker, foreignPrefix) }

// ttl returns how long a claim of this worker lasts without a word.
func (q *Queue) ttl(worker string) time.Duration {
	if isForeign(worker) {
		return q.foreignTTL
	}
	return q.claimTTL
}

// clearLeft puts out of the way what foreign attempts had written whose end was
// noted just before the daemon ended.
func (q *Queue) clearLeft(ctx context.Context) error {
	rows, err := q.store.Query(ctx, `
		SELECT u.job, u.attempt, u.worker, a.outcome, a.detail
		FROM units u JOIN attempts a ON a.job = u.job AND a.unit = u.unit AND a.attempt = u.attempt
		WHERE u.kind = ? AND u.state = ? AND u.worker LIKE ? LIMIT ?`, transcode.KindProbe, pending, foreignPrefix+"%", maxForeignOffers)
	if err != nil {
		return err
	}
	defer rows.Close()
	var ended []UnitEvent
	for rows.Next() {
		var e UnitEvent
		if err := rows.Scan(&e.Job, &e.Attempt, &e.Worker, &e.Event, &e.Detail); err != nil {
			return err
		}
		ended = append(ended, e)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	q.clearEnded(ctx, ended)
	return nil
}

// clearEnded puts out of the way what foreign muxers had written of attempts
// that came to nothing.
func (q *Queue) clearEnded(ctx context.Context, events []UnitEvent) {
	for _, e := range events {
		if !isForeign(e.Worker) || e.Event == EventClaimed || e.Event == EventDone || e.Detail == dirExists {
			continue
		}
		var request column[transcode.Request]
		err := q.store.QueryRow(ctx, `SELECT request FROM jobs WHERE id = ?`, e.Job).Scan(&request)
		if err == nil {
			q.clearForeign(e.Job, e.Attempt, request.V.Source)
		}
	}
}

// dirExists is a muxer's reason when it found the stream's directory: that one
// is somebody else's.
const dirExists = "DirectoryExists"

// clearForeign moves the directory of a foreign attempt to the job's unpublished
// files, where it is removed like any attempt's. A muxer that still writes
// finds it gone. It was not there when the attempt was granted.
func (q *Queue) clearForeign(job int64, attempt int, source string) {
	from := ForeignDir(source)
	if there, err := exists(q.media, from); err != nil || !there {
		return
	}
	to := path.Join(transcode.JobDir(job), fmt.Sprintf("foreign.%d", attempt))
	err := q.media.MkdirAll(path.Dir(to), dirMode)
	if err == nil {
		err = q.media.Rename(from, to)
	}
	if err != nil {
		q.log.Warn("a muxer's unfinished stream is in the way", "file", from, "job", job, "err", err)
		return
	}
	q.remove(to)
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
// after some attempts the job fails.
func (q *Queue) FailForeign(ctx context.Context, f Foreign, job int64, reason string) error {
	return q.endForeign(ctx, f, job, func(s *step, u unitRow) error {
		return s.release(ctx, u, attemptKey{u.key, u.attempt}, ending{outcome: EventFailed, detail: clip(reason, maxReason)})
	})
}

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
