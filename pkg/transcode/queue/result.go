package queue

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// Limits of a plan and of what a job stores about its failure.
const (
	maxReason      = 500 // bytes
	maxStderrLines = 20
	maxStderrLine  = 500 // bytes
	maxUnits       = 20_000
)

// accept decides about a result. An error means that nothing was decided, and the
// worker must send the result again.
func (q *Queue) accept(ctx context.Context, worker string, d transcode.Done) (transcode.Verdict, error) {
	key := attemptKey{unitKey{d.Job, d.Unit}, d.Attempt}
	// A worker sends its result again if the reply is late, but a result must be
	// accepted only once.
	if !q.claims.beginAccept(key) {
		return transcode.Verdict{}, fmt.Errorf("result of job %d, unit %s, attempt %d: being looked at already", d.Job, d.Unit, d.Attempt)
	}
	defer q.claims.endAccept(key)
	q.claims.extend(worker, key, time.Now().Add(q.claimTTL))
	u, err := scanUnit(q.store.QueryRow(ctx, unitQuery+` WHERE u.job = ? AND u.unit = ?`, d.Job, d.Unit))
	if err != nil && !errors.Is(err, errNoUnit) {
		return transcode.Verdict{}, err
	}
	if verdict, decided := verdictOn(u, worker, d.Attempt); decided {
		return verdict, nil
	}
	wrong := transcode.Check(u.spec, d.Result)
	if wrong == nil {
		wrong = q.acceptFiles(ctx, worker, key, u.spec, d.Result)
	}
	if gone := q.blameSource(ctx, u); gone != nil {
		wrong = gone
	}
	if ctx.Err() != nil {
		return transcode.Verdict{}, ctx.Err()
	}
	return q.decide(ctx, worker, d, wrong)
}

// verdictOn returns the verdict that follows without reading a result: either this
// attempt has already completed u and its worker did not receive the reply, or the
// attempt does not count.
func verdictOn(u unitRow, worker string, attempt int) (verdict transcode.Verdict, decided bool) {
	switch {
	case u.state == done && u.attempt == attempt && u.worker == worker:
		return transcode.Verdict{Accepted: true}, true
	case u.runs(worker, attempt):
		return transcode.Verdict{}, false
	case u.state == "":
		return transcode.Verdict{Reason: "there is no such unit"}, true
	}
	return transcode.Verdict{
		Reason: fmt.Sprintf("attempt %d does not count: the unit is %s, its latest attempt is %d of %q", attempt, u.state, u.attempt, u.worker),
	}, true
}

// decide commits that a result is accepted or, if wrong is not nil, rejected.
func (q *Queue) decide(ctx context.Context, worker string, d transcode.Done, wrong error) (transcode.Verdict, error) {
	key := attemptKey{unitKey{d.Job, d.Unit}, d.Attempt}
	var verdict transcode.Verdict
	err := q.write(ctx, func(t *transaction) error {
		u, err := t.unit(ctx, key.unitKey)
		if err != nil {
			return err
		}
		var decided bool
		if verdict, decided = verdictOn(u, worker, d.Attempt); decided {
			return nil
		}
		if wrong == nil {
			if wrong, err = t.unlike(ctx, u, d.Result); err != nil {
				return err
			}
		}
		if wrong != nil {
			verdict.Reason = clip(wrong.Error(), maxReason)
			return t.release(ctx, u, key, ending{outcome: EventFailed, detail: verdict.Reason, final: errors.Is(wrong, errSourceGone)})
		}
		verdict.Accepted = true
		return q.finish(ctx, t, u, key, d.Result)
	})
	if err == nil && verdict.Accepted {
		q.claims.drop(key)
	}
	return verdict, err
}

// unlike reports why a result cannot be combined with the results of the job's
// other units. Another worker then does the unit again; otherwise the whole job
// would fail when it is published.
func (t *transaction) unlike(ctx context.Context, u unitRow, r transcode.Result) (wrong, err error) {
	if u.spec.Kind != transcode.KindVideo {
		return nil, nil
	}
	known := map[string]bool{}
	for _, p := range transcode.Pieces(u.spec, r) {
		known[p.Unit.Dir()] = false
	}
	rows, err := t.tx.QueryContext(ctx, `SELECT spec, result FROM units WHERE job = ? AND kind = ? AND state = ? ORDER BY seq`,
		u.key.job, transcode.KindVideo, done)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	// Accepted results match each other: one of each rendition is enough.
	for left := len(known); left > 0 && rows.Next(); {
		var spec column[transcode.Unit]
		var result column[transcode.Result]
		if err := rows.Scan(&spec, &result); err != nil {
			return nil, err
		}
		if wrong := transcode.Unlike(u.spec, r, spec.V, result.V); wrong != nil {
			return wrong, nil
		}
		for _, p := range transcode.Pieces(spec.V, result.V) {
			if seen, ours := known[p.Unit.Dir()]; ours && !seen {
				known[p.Unit.Dir()] = true
				left--
			}
		}
	}
	return nil, rows.Err()
}

// finish stores the result of a unit. After a probe it adds the job's units, after
// the last unit it starts publication.
func (q *Queue) finish(ctx context.Context, t *transaction, u unitRow, key attemptKey, r transcode.Result) error {
	err := t.exec(ctx, `UPDATE units SET state = ?, result = ?, attempt = ?, worker = ?, second = 0, second_worker = '' WHERE job = ? AND unit = ?`,
		done, column[transcode.Result]{r}, key.attempt, u.workerOf(key.attempt), u.key.job, u.key.unit)
	if err != nil {
		return err
	}
	for _, other := range u.attempts() {
		if other == key {
			err = t.noteEnd(ctx, u, key, ending{outcome: EventDone})
		} else {
			err = t.endAttempt(ctx, u, other, ending{outcome: EventStraggler, detail: "a faster worker was done first"})
		}
		if err != nil {
			return err
		}
	}
	if liveUnit(u.spec) {
		q.finishLive(u, t, key, r)
		return q.measure(ctx, t, u, key)
	}
	if err := q.measure(ctx, t, u, key); err != nil {
		return err
	}
	if u.spec.Kind == transcode.KindProbe {
		if preview, err := t.keepProbe(ctx, u.key.job, *r.Probe); err != nil || preview {
			return err
		}
		return t.plan(ctx, u, *r.Probe, q.division(u.request))
	}
	if u.spec.Kind == transcode.KindLift {
		return t.planLifted(ctx, u, key, q.division(u.request))
	}
	if u.spec.Kind == transcode.KindTrial {
		return t.planTried(ctx, u, q.division(u.request))
	}
	if u.spec.Kind == transcode.KindSurvey {
		return t.budget(ctx, u.key.job)
	}
	t.publish = t.publish || u.request.Progressive
	var left int
	err = t.tx.QueryRowContext(ctx, `SELECT count(*) FROM units WHERE job = ? AND state <> ?`, u.key.job, done).Scan(&left)
	if err != nil || left > 0 {
		return err
	}
	return t.complete(ctx, u.key.job)
}

// division says how finely a job is divided for the workers that there are.
func (q *Queue) division(r transcode.Request) transcode.Division {
	return transcode.Division{Workers: q.workers.free(r), LeastSeconds: q.unitSeconds}
}

// planLifted divides a job into units whose subtitles have been lifted out of its source.
func (t *transaction) planLifted(ctx context.Context, lift unitRow, key attemptKey, d transcode.Division) error {
	var probe column[transcode.Probe]
	if err := t.tx.QueryRowContext(ctx, `SELECT probe FROM jobs WHERE id = ?`, key.job).Scan(&probe); err != nil {
		return err
	}
	d.Lifted = path.Join(transcode.AttemptDir(key.job, key.unit, key.attempt), transcode.LiftedName)
	return t.plan(ctx, lift, probe.V, d)
}

// plan divides a job into units, after the unit that has shown how. If the source cannot
// be planned, plan fails the job.
func (t *transaction) plan(ctx context.Context, after unitRow, p transcode.Probe, d transcode.Division) error {
	job := after.key.job
	begun, err := t.begun(ctx, job)
	if err != nil {
		return err
	}
	d.Begun = begun
	plan, err := d.Plan(after.request, p)
	if err == nil && len(plan.Units) > maxUnits {
		err = fmt.Errorf("planning %q: %d units; want %d at most", after.request.Source, len(plan.Units), maxUnits)
	}
	if err != nil {
		return t.endJob(ctx, job, Failed, err.Error(), nil)
	}
	if err := t.addPlan(ctx, job, plan); err != nil {
		return err
	}
	return t.exec(ctx, `UPDATE jobs SET probe = ? WHERE id = ?`, column[transcode.Probe]{p}, job)
}

// addPlan adds the units of a plan to a job.
func (t *transaction) addPlan(ctx context.Context, job int64, plan transcode.Plan) error {
	var first int // behind those that the plan follows from
	if err := t.tx.QueryRowContext(ctx, `SELECT count(*) FROM units WHERE job = ?`, job).Scan(&first); err != nil {
		return err
	}
	for i, unit := range plan.Units {
		if err := t.addUnit(ctx, job, first+i, unit); err != nil {
			return err
		}
	}
	plan.Units = nil
	t.announce, t.changed = true, append(t.changed, job)
	return t.exec(ctx, `UPDATE jobs SET plan = ? WHERE id = ?`, column[transcode.Plan]{plan}, job)
}

func (t *transaction) addUnit(ctx context.Context, job int64, seq int, unit transcode.Unit) error {
	state := pending
	if unit.Surveyed {
		state = waiting
	}
	err := t.exec(ctx, `INSERT INTO units (job, unit, seq, kind, spec, frames, state) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		job, unit.ID, seq, unit.Kind, column[transcode.Unit]{unit}, unit.Frames(), state)
	if err != nil {
		return fmt.Errorf("adding unit %s: %w", unit.ID, err)
	}
	return nil
}

// giveBack releases a claim whose worker failed.
func (q *Queue) giveBack(ctx context.Context, worker string, f transcode.Failed) (transcode.Verdict, error) {
	end, err := q.endingOf(ctx, worker, f)
	if err != nil {
		return transcode.Verdict{}, err
	}
	var verdict transcode.Verdict
	err = q.write(ctx, func(t *transaction) error {
		u, err := t.unit(ctx, unitKey{f.Job, f.Unit})
		if err != nil && !errors.Is(err, errNoUnit) {
			return err
		}
		var decided bool
		if verdict, decided = verdictOn(u, worker, f.Attempt); decided {
			// Nothing is accepted from an attempt that has ended.
			verdict = transcode.Verdict{Reason: verdict.Reason}
			return nil
		}
		verdict.Accepted = true
		return t.release(ctx, u, attemptKey{u.key, f.Attempt}, end)
	})
	return verdict, err
}

// endingOf returns what the failure of an attempt means for its unit.
func (q *Queue) endingOf(ctx context.Context, worker string, f transcode.Failed) (ending, error) {
	end := ending{outcome: EventFailed, detail: clip(f.Reason, maxReason), stderr: clipLines(f.Stderr), final: f.Final}
	if f.Stopped {
		end.outcome, end.final = EventStopped, false
		return end, nil
	}
	u, err := scanUnit(q.store.QueryRow(ctx, unitQuery+` WHERE u.job = ? AND u.unit = ?`, f.Job, f.Unit))
	if errors.Is(err, errNoUnit) {
		return end, nil
	}
	if err != nil {
		return end, err
	}
	if gone := q.blameSource(ctx, u); gone != nil {
		end.detail, end.stderr, end.final = clip(gone.Error(), maxReason), nil, true
	}
	if f.OtherBuild && !end.final {
		failedOn, err := q.failedOn(ctx, u.key)
		end.final = !q.workers.otherBuild(u.request, append(failedOn, worker))
		return end, err
	}
	return end, nil
}

// failedOn returns the workers that have failed at a unit.
func (q *Queue) failedOn(ctx context.Context, key unitKey) ([]string, error) {
	var names string
	err := q.store.QueryRow(ctx, `SELECT coalesce(group_concat(worker), '') FROM attempts WHERE job = ? AND unit = ? AND outcome = ?`,
		key.job, key.unit, EventFailed).Scan(&names)
	return strings.Split(names, ","), err
}

// clip cuts text from a worker to at most n bytes of valid UTF-8.
func clip(text string, n int) string {
	if len(text) > n {
		text = text[:n]
	}
	return strings.ToValidUTF8(text, "")
}

func clipLines(lines []string) []string {
	if len(lines) > maxStderrLines {
		lines = lines[len(lines)-maxStderrLines:]
	}
	clipped := make([]string, len(lines))
	for i, line := range lines {
		clipped[i] = clip(line, maxStderrLine)
	}
	return clipped
}
