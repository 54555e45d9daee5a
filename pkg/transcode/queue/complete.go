package queue

import (
	"context"
	"database/sql"
	"math"

	"pibootd/pkg/transcode"
)

// joinSeq orders the join after all units of the plan.
const joinSeq = math.MaxInt32

// complete publishes a job whose units are all done. If its output is a file, it
// adds the unit that joins it first.
func (t *transaction) complete(ctx context.Context, job int64) error {
	var plan column[transcode.Plan]
	var probe column[transcode.Probe]
	if err := t.tx.QueryRowContext(ctx, `SELECT plan, probe FROM jobs WHERE id = ?`, job).Scan(&plan, &probe); err != nil {
		return err
	}
	before := plan.V.Note
	results, err := readResults(ctx, inTransaction{t.tx}, &plan.V, job)
	if err != nil {
		return err
	}
	noted := plan.V
	noted.Units = nil
	noted.NoteHeld(probe.V, results.ofUnit)
	if noted.Note != before {
		if err := t.exec(ctx, `UPDATE jobs SET plan = ? WHERE id = ?`, column[transcode.Plan]{noted}, job); err != nil {
			return err
		}
	}
	if plan.V.Output.IsFile() && !hasFile(results) {
		unit, err := transcode.Join(plan.V, results.ofUnit, results.dirs)
		if err != nil {
			return t.endJob(ctx, job, Failed, clip(err.Error(), maxReason), nil)
		}
		t.announce = true
		return t.addUnit(ctx, job, joinSeq, unit)
	}
	t.publish = true
	return t.exec(ctx, `UPDATE jobs SET state = ? WHERE id = ?`, Publishing, job)
}

func hasFile(results unitResults) bool {
	for _, r := range results.ofUnit {
		if r.File != nil {
			return true
		}
	}
	return false
}

// inTransaction is a querier that reads within a transaction.
type inTransaction struct{ tx *sql.Tx }

func (s inTransaction) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return s.tx.QueryContext(ctx, query, args...)
}
