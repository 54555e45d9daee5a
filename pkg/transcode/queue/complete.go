package queue

import (
	"context"
	"database/sql"
	"math"

	"pibootd/pkg/transcode"
)

// joinSeq puts the join behind all units of the plan.
const joinSeq = math.MaxInt32

// complete goes on with a job whose units are all done: what becomes a file of
// its own is joined first.
func (s *step) complete(ctx context.Context, job int64) error {
	var plan column[transcode.Plan]
	if err := s.tx.QueryRowContext(ctx, `SELECT plan FROM jobs WHERE id = ?`, job).Scan(&plan); err != nil {
		return err
	}
	results, err := readResults(ctx, inStep{s.tx}, &plan.V, job)
	if err != nil {
		return err
	}
	if plan.V.Output.IsFile() && !hasFile(results) {
		unit, err := transcode.Join(plan.V, results.ofUnit, results.dirs)
		if err != nil {
			return s.endJob(ctx, job, Failed, clip(err.Error(), maxReason), nil)
		}
		s.announce = true
		return s.addUnit(ctx, job, joinSeq, unit)
	}
	s.publish = true
	return s.exec(ctx, `UPDATE jobs SET state = ? WHERE id = ?`, Publishing, job)
}

func hasFile(results unitResults) bool {
	for _, r := range results.ofUnit {
		if r.File != nil {
			return true
		}
	}
	return false
}

// inStep reads within a transaction.
type inStep struct{ tx *sql.Tx }

func (s inStep) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return s.tx.QueryContext(ctx, query, args...)
}
