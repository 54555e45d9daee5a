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

// A unit fails its job after this many failed attempts, or when this many workers
// have reported that they cannot do it: by then the unit is at fault, not the
// workers. An expired claim counts as an attempt but not as a report, because a
// rack without power says nothing about the unit.
const (
	maxAttempts = 5
	maxRefusers = 3
)

// A transaction is one write to the store, and what follows once it is committed.
type transaction struct {
	tx        *sql.Tx
	now       time.Time
	headBytes int64 // Options.HeadBytes

	events   []UnitEvent
	granted  []claim
	released []attemptKey // attempts that no longer run
	changed  []int64      // jobs whose watchers are notified
	ended    []endedJob
	speeds   []workerSpeeds // new values
	aside    []string       // leftovers of muxers, now in the trash
	announce bool           // there are new pending units
	publish  bool           // there is a job to publish

	began       []*liveStream
	liveStopped []int64 // jobs whose source has ended
	liveParts   []livePartEnd
}

// An endedJob is a job that has come to its final state.
type endedJob struct {
	id     int64
	state  State
	reason string
}

// A UnitEvent reports what happened to a unit.
type UnitEvent struct {
	Event   string // EventClaimed or how the attempt ended
	Worker  string
	Job     int64
	Unit    string
	Attempt int
	Detail  string // why, of a failed one
}

// What happens to units. All but EventClaimed end an attempt.
const (
	EventClaimed   = "claimed"
	EventDone      = "done"      // its result was accepted
	EventFailed    = "failed"    // its worker reported it, or its result was wrong
	EventExpired   = "expired"   // no progress for too long
	EventGivenUp   = "given_up"  // its worker has claimed another unit
	EventCancelled = "cancelled" // its job has ended
	EventStopped   = "stopped"   // its worker was shut down; not a failure
	EventPreempted = "preempted" // a player waits for another unit; not a failure
	EventStraggler = "outrun"    // a faster speculative attempt was accepted
)

// write runs f in a transaction, commits it, and then does what f left to follow.
// If f returns an error, nothing has changed.
func (q *Queue) write(ctx context.Context, f func(*transaction) error) error {
	t := &transaction{now: time.Now(), headBytes: q.headBytes}
	err := q.store.Write(ctx, func(tx *sql.Tx) error {
		t.tx = tx
		return f(t)
	})
	if err != nil {
		return err
	}
	q.follow(ctx, t)
	return nil
}

// follow does what t left to follow. A daemon that is killed before or during it
// does the same at its next start.
func (q *Queue) follow(ctx context.Context, t *transaction) {
	for _, c := range t.granted {
		q.claims.put(c) // before anybody hears of it
	}
	for _, key := range t.released {
		q.claims.drop(key)
		q.removeAttempt(key)
	}
	q.clearEnded(ctx, t.events)
	for _, aside := range t.aside {
		q.removeAside(aside)
	}
	for _, w := range t.speeds {
		q.workers.measured(w.worker, w.speeds)
	}
	q.followLive(ctx, t)
	for _, job := range t.ended {
		q.log.Info("job ended", "job", job.id, "state", job.state, "reason", job.reason)
		q.places.forget(job.id)
		if !q.live.holds(job.id) {
			q.removeJob(job.id)
		}
	}
	for _, e := range t.events {
		if e.Event != EventClaimed {
			q.clearScratch(e.Worker, attemptKey{unitKey{e.Job, e.Unit}, e.Attempt})
		}
		q.log.Info("unit", "event", e.Event, "pi", e.Worker, "job", e.Job, "unit", e.Unit, "attempt", e.Attempt, "detail", e.Detail)
		if q.onUnit != nil {
			q.onUnit(e)
		}
	}
	for _, job := range t.changed {
		q.watches.notify(job)
	}
	if t.announce || len(t.released) > 0 {
		wake(q.announce)
	}
	if t.publish {
		wake(q.publish)
	}
}

// A unitRow is a stored unit, with some columns of its job.
type unitRow struct {
	key          unitKey
	spec         transcode.Unit
	state        string
	attempt      int // the one whose result counts
	worker       string
	second       int // the speculative attempt, whose result counts as well; 0: there is none
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
func (t *transaction) unit(ctx context.Context, key unitKey) (unitRow, error) {
	return scanUnit(t.tx.QueryRowContext(ctx, unitQuery+` WHERE u.job = ? AND u.unit = ?`, key.job, key.unit))
}

// exec changes exactly one row.
func (t *transaction) exec(ctx context.Context, query string, args ...any) error {
	result, err := t.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%d rows changed, %v; want 1", n, err)
	}
	return nil
}

// An ending says why an attempt failed.
type ending struct {
	outcome string // the name of the event
	detail  string
	stderr  []string // ffmpeg's last lines
	final   bool     // no other attempt would succeed
}

// release ends a running attempt of a unit. If no other attempt runs, the unit is
// pending again; if it has failed too often, its job fails.
func (t *transaction) release(ctx context.Context, u unitRow, key attemptKey, e ending) error {
	if err := t.endAttempt(ctx, u, key, e); err != nil {
		return err
	}
	switch {
	case e.final:
		// After the job, because ending the job ends the unit's other attempt.
		return errors.Join(t.endJob(ctx, u.key.job, Failed, e.detail, e.stderr),
			t.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, failed, u.key.job, u.key.unit))
	case key.attempt == u.second:
		return t.exec(ctx, `UPDATE units SET second = 0, second_worker = '' WHERE job = ? AND unit = ?`, u.key.job, u.key.unit)
	case u.second > 0:
		return t.exec(ctx, `
			UPDATE units SET attempt = second, worker = second_worker, second = 0, second_worker = '' WHERE job = ? AND unit = ?`, u.key.job, u.key.unit)
	}
	poison, err := t.poison(ctx, u.key)
	if err != nil {
		return err
	}
	next := pending
	if poison != "" {
		next = failed
	}
	if u.spec.Kind == transcode.KindIngest && e.outcome != EventFailed {
		next, poison = pending, "" // workers may come and go while a stream lasts
	}
	if err := t.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, next, u.key.job, u.key.unit); err != nil {
		return err
	}
	if poison == "" {
		return nil
	}
	if u.spec.Live != nil { // the stream goes on without it
		t.liveParts = append(t.liveParts, livePartEnd{key: u.key})
		return nil
	}
	what := u.key.unit
	if transcode.IsLegacyMuxer(u.workerOf(key.attempt)) {
		what = "the whole video" // the unit stands for the job
	}
	reason := fmt.Sprintf("%s %s, the last time by %s: %s", what, poison, u.workerOf(key.attempt), cmp.Or(e.detail, e.outcome))
	return t.endJob(ctx, u.key.job, Failed, reason, e.stderr)
}

// attemptMachine is the machine that made an attempt. Legacy muxers choose their own
// numbers, so that one machine would count as many.
const attemptMachine = `CASE WHEN worker LIKE 'muxer-%' THEN substr(worker, 7 + instr(substr(worker, 7), '-')) ELSE worker END`

// poison reports how often a unit has failed, if that is too often; else "".
func (t *transaction) poison(ctx context.Context, key unitKey) (string, error) {
	var attempts, refusers int
	err := t.tx.QueryRowContext(ctx, `
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

// endAttempt releases a running attempt of a unit and records its ending.
func (t *transaction) endAttempt(ctx context.Context, u unitRow, key attemptKey, e ending) error {
	t.released = append(t.released, key)
	return t.noteEnd(ctx, u, key, e)
}

// noteEnd records how a running attempt of a unit ended.
func (t *transaction) noteEnd(ctx context.Context, u unitRow, key attemptKey, e ending) error {
	t.changed = append(t.changed, u.key.job)
	t.events = append(t.events, UnitEvent{
		Event: e.outcome, Worker: u.workerOf(key.attempt), Job: u.key.job, Unit: u.key.unit, Attempt: key.attempt, Detail: e.detail,
	})
	return t.exec(ctx, `UPDATE attempts SET ended = ?, outcome = ?, detail = ? WHERE job = ? AND unit = ? AND attempt = ?`,
		t.now.UnixNano(), e.outcome, e.detail, u.key.job, u.key.unit, key.attempt)
}

// endJob puts a job, and its unfinished units, into a final state.
func (t *transaction) endJob(ctx context.Context, job int64, state State, reason string, stderr []string) error {
	rows, err := t.units(ctx, `WHERE u.job = ? AND u.state = ?`, job, running)
	if err != nil {
		return err
	}
	for _, u := range rows {
		for _, key := range u.attempts() {
			if t.ends(key) {
				continue // it is the reason
			}
			if err := t.endAttempt(ctx, u, key, ending{outcome: EventCancelled, detail: "its job is " + string(state)}); err != nil {
				return err
			}
		}
	}
	_, err = t.tx.ExecContext(ctx, `
		UPDATE units SET state = ?, second = 0, second_worker = '' WHERE job = ? AND state IN (?, ?, ?)`, cancelled, job, waiting, pending, running)
	if err != nil {
		return err
	}
	t.changed = append(t.changed, job)
	t.publish = true // a progressive stream has to be ended
	t.ended = append(t.ended, endedJob{job, state, reason})
	return t.exec(ctx, `
		UPDATE jobs SET state = ?, reason = ?, stderr = ?, ended = ?,
			output = CASE WHEN ? = ? OR `+isProgressive+` THEN output ELSE '' END
		WHERE id = ?`, state, reason, column[[]string]{stderr}, t.now.UnixNano(), state, Done, job)
}

// ends reports whether t has ended this attempt.
func (t *transaction) ends(key attemptKey) bool { return slices.Contains(t.released, key) }

// units reads the units that a condition on u and j selects.
func (t *transaction) units(ctx context.Context, where string, args ...any) ([]unitRow, error) {
	rows, err := t.tx.QueryContext(ctx, unitQuery+" "+where, args...)
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
