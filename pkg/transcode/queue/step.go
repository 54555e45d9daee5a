package queue

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"pibootd/pkg/transcode"
)

// maxAttempts is how often a unit is claimed before its job fails: by then it
// is the unit that breaks workers, not the other way round.
const maxAttempts = 5

// A step is one transaction and what has to follow once it is committed.
type step struct {
	tx  *sql.Tx
	now time.Time

	events   []UnitEvent
	released []claim // attempts that no longer run
	changed  []int64 // jobs that watchers want to see
	ended    []endedJob
	announce bool // there are new pending units
	publish  bool // there is a job to be published
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
	for _, c := range s.released {
		q.claims.drop(c.key, c.attempt)
	}
	for _, c := range s.released {
		q.withdraw(ctx, c.key.job, c.key.unit)
		q.removeAttempt(c.key, c.attempt)
	}
	q.clearEnded(ctx, s.events)
	for _, job := range s.ended {
		q.log.Info("job ended", "job", job.id, "state", job.state, "reason", job.reason)
		q.withdraw(ctx, job.id, "")
		q.removeJob(job.id)
	}
	for _, e := range s.events {
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
	key      unitKey
	spec     transcode.Unit
	state    string
	attempt  int
	worker   string
	frames   int
	jobState State
	request  transcode.Request
}

// errNoUnit reports that there is no such unit.
var errNoUnit = errors.New("no such unit")

const unitQuery = `
	SELECT u.job, u.unit, u.spec, u.state, u.attempt, u.worker, u.frames, j.state, j.request
	FROM units u JOIN jobs j ON j.id = u.job`

func scanUnit(row interface{ Scan(...any) error }) (unitRow, error) {
	var u unitRow
	var spec column[transcode.Unit]
	var request column[transcode.Request]
	err := row.Scan(&u.key.job, &u.key.unit, &spec, &u.state, &u.attempt, &u.worker, &u.frames, &u.jobState, &request)
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

// release ends the running attempt of a unit, which then waits for the next
// one. If there is to be none, its job fails.
func (s *step) release(ctx context.Context, u unitRow, e ending) error {
	s.released = append(s.released, claim{key: u.key, attempt: u.attempt})
	if err := s.endAttempt(ctx, u, e.outcome, e.detail); err != nil {
		return err
	}
	next := pending
	if e.final || u.attempt >= maxAttempts {
		next = failed
	}
	if err := s.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, next, u.key.job, u.key.unit); err != nil {
		return err
	}
	switch {
	case e.final:
		return s.endJob(ctx, u.key.job, Failed, e.detail, e.stderr)
	case next == failed:
		reason := fmt.Sprintf("%s was tried %d times, the last time by %s: %s",
			u.key.unit, u.attempt, u.worker, cmp.Or(e.detail, e.outcome))
		return s.endJob(ctx, u.key.job, Failed, reason, e.stderr)
	}
	return nil
}

// endAttempt notes how the running attempt of a unit ended.
func (s *step) endAttempt(ctx context.Context, u unitRow, outcome, detail string) error {
	s.changed = append(s.changed, u.key.job)
	s.events = append(s.events, UnitEvent{
		Event: outcome, Worker: u.worker, Job: u.key.job, Unit: u.key.unit, Attempt: u.attempt, Detail: detail,
	})
	return s.exec(ctx, `UPDATE attempts SET ended = ?, outcome = ?, detail = ? WHERE job = ? AND unit = ? AND attempt = ?`,
		s.now.UnixNano(), outcome, detail, u.key.job, u.key.unit, u.attempt)
}

// endJob puts a job and all that is unfinished of it into a final state.
func (s *step) endJob(ctx context.Context, job int64, state State, reason string, stderr []string) error {
	rows, err := s.units(ctx, `WHERE u.job = ? AND u.state = ?`, job, running)
	if err != nil {
		return err
	}
	for _, u := range rows {
		s.released = append(s.released, claim{key: u.key, attempt: u.attempt})
		if err := s.endAttempt(ctx, u, EventCancelled, "its job is "+string(state)); err != nil {
			return err
		}
	}
	_, err = s.tx.ExecContext(ctx, `UPDATE units SET state = ? WHERE job = ? AND state IN (?, ?)`, cancelled, job, pending, running)
	if err != nil {
		return err
	}
	s.changed = append(s.changed, job)
	s.ended = append(s.ended, endedJob{job, state, reason})
	return s.exec(ctx, `
		UPDATE jobs SET state = ?, reason = ?, stderr = ?, ended = ?, output = CASE ? WHEN ? THEN output ELSE '' END
		WHERE id = ?`, state, reason, column[[]string]{stderr}, s.now.UnixNano(), state, Done, job)
}

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
