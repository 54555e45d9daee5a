package queue

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"pibootd/pkg/transcode"
)

// After this many failed attempts, or when this many workers have said that it
// cannot be done, a unit fails its job: by then it is the unit that breaks
// workers, not the other way round. Silence counts as an attempt, but not as a
// worker's word: a rack without power says nothing of the unit.
const (
	maxAttempts = 5
	maxRefusers = 3
)

// A step is one transaction and what has to follow once it is committed.
type step struct {
	tx  *sql.Tx
	now time.Time

	events   []UnitEvent
	released []attemptKey // attempts that no longer run
	changed  []int64      // jobs that watchers want to see
	ended    []endedJob
	speeds   []workerSpeeds // as they are now
	aside    []string       // what muxers left, in the trash
	announce bool           // there are new pending units
	publish  bool           // there is a job to be published
}

// An endedJob is a job that has come to its final state.
type endedJob struct {
	id     int64
	state  State
	reason string
}

// A UnitEvent tells what happened to a unit.
type UnitEvent struct {
	Event   string // EventClaimed or how the attempt ended
	Worker  string
	Job     int64
	Unit    string
	Attempt int
	Detail  string // why, of a failed one
}

// What happens to units. All but the first are how an attempt ends.
const (
	EventClaimed   = "claimed"
	EventDone      = "done"      // its result was accepted
	EventFailed    = "failed"    // its worker said so, or its result was wrong
	EventExpired   = "expired"   // its worker was silent for too long
	EventGivenUp   = "given_up"  // its worker has claimed again
	EventCancelled = "cancelled" // its job has ended
	EventStopped   = "stopped"   // its worker was told to end; not a failure
	EventOutrun    = "outrun"    // a faster worker's attempt beside it was accepted
)

// write does f in a transaction and then what f left to follow. When f returns
// an error nothing has happened.
func (q *Queue) write(ctx context.Context, f func(*step) error) error {
	s := &step{now: time.Now()}
	err := q.store.Write(ctx, func(tx *sql.Tx) error {
		s.tx = tx
		return f(s)
	})
	if err != nil {
		return err
	}
	q.follow(ctx, s)
	return nil
}

// follow makes the world agree with what s has committed. A daemon that is
// killed before or within does the same at its next start.
func (q *Queue) follow(ctx context.Context, s *step) {
	for _, key := range s.released {
		q.claims.drop(key)
		q.removeAttempt(key)
	}
	q.clearEnded(ctx, s.events)
	for _, aside := range s.aside {
		q.removeAside(aside)
	}
	for _, w := range s.speeds {
		q.workers.measured(w.worker, w.speeds)
	}
	for _, job := range s.ended {
		q.log.Info("job ended", "job", job.id, "state", job.state, "reason", job.reason)
		q.removeJob(job.id)
	}
	for _, e := range s.events {
		if e.Event != EventClaimed {
			q.clearScratch(e.Worker, attemptKey{unitKey{e.Job, e.Unit}, e.Attempt})
		}
		q.log.Info("unit", "event", e.Event, "pi", e.Worker, "job", e.Job, "unit", e.Unit, "attempt", e.Attempt, "detail", e.Detail)
		if q.onUnit != nil {
			q.onUnit(e)
		}
	}
	for _, job := range s.changed {
		q.watches.notify(job)
	}
	if s.announce || len(s.released) > 0 {
		wake(q.announce)
	}
	if s.publish {
		wake(q.publish)
	}
}

// A unitRow is a unit as it is stored, with what matters of its job.
type unitRow struct {
	key          unitKey
	spec         transcode.Unit
	state        string
	attempt      int // the one whose result counts
	worker       string
	second       int // one whose result counts as well; 0: there is none
	secondWorker string
	tries        int // the highest attempt so far
	frames       int
	jobState     State
	request      transcode.Request
}

// runs reports whether u is running, by this attempt of this worker.
func (u unitRow) runs(worker string, attempt int) bool {
	return u.state == running && attempt > 0 &&
		(attempt == u.attempt && worker == u.worker || attempt == u.second && worker == u.secondWorker)
}

// attempts returns the attempts of a running unit.
func (u unitRow) attempts() []attemptKey {
	keys := []attemptKey{{u.key, u.attempt}}
	if u.second > 0 {
		keys = append(keys, attemptKey{u.key, u.second})
	}
	return keys
}

// attemptOf returns the attempt that this worker has of a running unit.
func (u unitRow) attemptOf(worker string) attemptKey {
	if worker == u.worker {
		return attemptKey{u.key, u.attempt}
	}
	return attemptKey{u.key, u.second}
}

func (u unitRow) workerOf(attempt int) string {
	if attempt == u.second {
		return u.secondWorker
	}
	return u.worker
}

// errNoUnit reports that there is no such unit.
var errNoUnit = errors.New("no such unit")

const unitColumns = `u.job, u.unit, u.spec, u.state, u.attempt, u.worker, u.second, u.second_worker, u.tries, u.frames, j.state, j.request`

const unitQuery = `SELECT ` + unitColumns + ` FROM units u JOIN jobs j ON j.id = u.job`

func scanUnit(row interface{ Scan(...any) error }) (unitRow, error) {
	var u unitRow
	var spec column[transcode.Unit]
	var request column[transcode.Request]
	err := row.Scan(&u.key.job, &u.key.unit, &spec, &u.state, &u.attempt, &u.worker, &u.second, &u.secondWorker, &u.tries,
		&u.frames, &u.jobState, &request)
	if errors.Is(err, sql.ErrNoRows) {
		return unitRow{}, errNoUnit
	}
	u.spec, u.request = spec.V, request.V
	return u, err
}

// unit reads one unit. The error is errNoUnit if there is none.
func (s *step) unit(ctx context.Context, key unitKey) (unitRow, error) {
	return scanUnit(s.tx.QueryRowContext(ctx, unitQuery+` WHERE u.job = ? AND u.unit = ?`, key.job, key.unit))
}

// exec changes exactly one row.
func (s *step) exec(ctx context.Context, query string, args ...any) error {
	result, err := s.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%d rows changed, %v; want 1", n, err)
	}
	return nil
}

// An ending is how an attempt came to nothing.
type ending struct {
	outcome string // the name of the event
	detail  string
	stderr  []string // ffmpeg's last lines
	final   bool     // no other attempt would do better
}

// release ends a running attempt of a unit. If there is no other beside it, the
// unit waits for the next one; if there is to be none, its job fails.
func (s *step) release(ctx context.Context, u unitRow, key attemptKey, e ending) error {
	if err := s.endAttempt(ctx, u, key, e); err != nil {
		return err
	}
	switch {
	case e.final:
		// After the job: as long as the unit runs, so does an attempt beside this one.
		return errors.Join(s.endJob(ctx, u.key.job, Failed, e.detail, e.stderr),
			s.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, failed, u.key.job, u.key.unit))
	case key.attempt == u.second:
		return s.exec(ctx, `UPDATE units SET second = 0, second_worker = '' WHERE job = ? AND unit = ?`, u.key.job, u.key.unit)
	case u.second > 0:
		return s.exec(ctx, `
			UPDATE units SET attempt = second, worker = second_worker, second = 0, second_worker = '' WHERE job = ? AND unit = ?`, u.key.job, u.key.unit)
	}
	poison, err := s.poison(ctx, u.key)
	if err != nil {
		return err
	}
	next := pending
	if poison != "" {
		next = failed
	}
	if err := s.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, next, u.key.job, u.key.unit); err != nil {
		return err
	}
	if poison == "" {
		return nil
	}
	what := u.key.unit
	if transcode.IsLegacyMuxer(u.workerOf(key.attempt)) {
		what = "the whole video" // the unit stands for the job
	}
	reason := fmt.Sprintf("%s %s, the last time by %s: %s", what, poison, u.workerOf(key.attempt), cmp.Or(e.detail, e.outcome))
	return s.endJob(ctx, u.key.job, Failed, reason, e.stderr)
}

// attemptMachine is who has made an attempt, for those who are counted: a muxer of others
// gives itself a number, so that one machine could fail as many.
const attemptMachine = `CASE WHEN worker LIKE 'muxer-%' THEN substr(worker, 7 + instr(substr(worker, 7), '-')) ELSE worker END`

// poison says how often a unit has failed if that is too often.
func (s *step) poison(ctx context.Context, key unitKey) (string, error) {
	var attempts, refusers int
	err := s.tx.QueryRowContext(ctx, `
		SELECT count(*), count(DISTINCT CASE outcome WHEN ? THEN `+attemptMachine+` END)
		FROM attempts WHERE job = ? AND unit = ? AND outcome IN (?, ?, ?)`,
		EventFailed, key.job, key.unit, EventFailed, EventExpired, EventGivenUp).Scan(&attempts, &refusers)
	switch {
	case err != nil:
		return "", err
	case attempts >= maxAttempts:
		return fmt.Sprintf("was tried %d times", attempts), nil
	case refusers >= maxRefusers:
		return fmt.Sprintf("failed on %d workers", refusers), nil
	}
	return "", nil
}

// endAttempt notes how a running attempt of a unit came to nothing.
func (s *step) endAttempt(ctx context.Context, u unitRow, key attemptKey, e ending) error {
	s.released = append(s.released, key)
	return s.noteEnd(ctx, u, key, e)
}

// noteEnd notes how a running attempt of a unit ended.
func (s *step) noteEnd(ctx context.Context, u unitRow, key attemptKey, e ending) error {
	s.changed = append(s.changed, u.key.job)
	s.events = append(s.events, UnitEvent{
		Event: e.outcome, Worker: u.workerOf(key.attempt), Job: u.key.job, Unit: u.key.unit, Attempt: key.attempt, Detail: e.detail,
	})
	return s.exec(ctx, `UPDATE attempts SET ended = ?, outcome = ?, detail = ? WHERE job = ? AND unit = ? AND attempt = ?`,
		s.now.UnixNano(), e.outcome, e.detail, u.key.job, u.key.unit, key.attempt)
}

// endJob puts a job and all that is unfinished of it into a final state.
func (s *step) endJob(ctx context.Context, job int64, state State, reason string, stderr []string) error {
	rows, err := s.units(ctx, `WHERE u.job = ? AND u.state = ?`, job, running)
	if err != nil {
		return err
	}
	for _, u := range rows {
		for _, key := range u.attempts() {
			if s.ends(key) {
				continue // it is the reason
			}
			if err := s.endAttempt(ctx, u, key, ending{outcome: EventCancelled, detail: "its job is " + string(state)}); err != nil {
				return err
			}
		}
	}
	_, err = s.tx.ExecContext(ctx, `
		UPDATE units SET state = ?, second = 0, second_worker = '' WHERE job = ? AND state IN (?, ?)`, cancelled, job, pending, running)
	if err != nil {
		return err
	}
	s.changed = append(s.changed, job)
	s.ended = append(s.ended, endedJob{job, state, reason})
	return s.exec(ctx, `
		UPDATE jobs SET state = ?, reason = ?, stderr = ?, ended = ?, output = CASE ? WHEN ? THEN output ELSE '' END
		WHERE id = ?`, state, reason, column[[]string]{stderr}, s.now.UnixNano(), state, Done, job)
}

// ends reports whether s has ended an attempt.
func (s *step) ends(key attemptKey) bool { return slices.Contains(s.released, key) }

// units reads the units that a condition on u and j selects.
func (s *step) units(ctx context.Context, where string, args ...any) ([]unitRow, error) {
	rows, err := s.tx.QueryContext(ctx, unitQuery+" "+where, args...)
	if err != nil {
		return nil, err
	}
	return scanUnits(rows)
}

func scanUnits(rows *sql.Rows) ([]unitRow, error) {
	defer rows.Close()
	var list []unitRow
	for rows.Next() {
		u, err := scanUnit(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, rows.Err()
}
