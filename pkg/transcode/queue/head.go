package queue

import (
	"context"
	"errors"

	"pibootd/pkg/transcode"
)

// longSource is the size of sources whose beginning is probed, planned and made before all of
// them is known: smaller ones are read before anybody could make use of that.
const longSource = 256 << 20

// planHead plans the beginning of a progressive stream by what its probe shows first. The
// worker repeats that with its progress, so that nothing is lost with a message.
func (q *Queue) planHead(ctx context.Context, worker string, p transcode.Progress) error {
	key := attemptKey{unitKey{p.Job, p.Unit}, p.Attempt}
	if !q.claims.firstHead(worker, key) {
		return nil
	}
	return q.write(ctx, func(t *transaction) error {
		u, err := t.unit(ctx, key.unitKey)
		if err != nil || !u.runs(worker, key.attempt) || u.spec.HeadSeconds <= 0 {
			return err
		}
		if begun, err := t.begun(ctx, p.Job); err != nil || begun != nil {
			return err
		}
		if err := transcode.Check(u.spec, transcode.Result{Probe: p.Head}); err != nil {
			return nil // as it would be refused in the end
		}
		plan, err := q.division(u.request).PlanHead(u.request, *p.Head)
		if err != nil {
			if !errors.Is(err, transcode.ErrNoHead) {
				q.log.Debug("the beginning of a job is not planned", "job", p.Job, "err", err)
			}
			return nil // all of the source will show what there is to say
		}
		return t.addPlan(ctx, p.Job, plan)
	})
}

// begun returns what was planned of a job before all of its source was known; nil if nothing
// was.
func (t *transaction) begun(ctx context.Context, job int64) (*transcode.Plan, error) {
	var plan column[transcode.Plan]
	err := t.tx.QueryRowContext(ctx, `SELECT plan FROM jobs WHERE id = ?`, job).Scan(&plan)
	if err != nil || !plan.V.Provisional {
		return nil, err
	}
	return &plan.V, nil
}
