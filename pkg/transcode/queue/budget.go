package queue

import (
	"context"
	"fmt"

	"pibootd/pkg/transcode"
)

// budget gives the units of video of a job their bitrates, and starts them, if all of
// its surveys are done.
func (t *transaction) budget(ctx context.Context, job int64) error {
	var left int
	err := t.tx.QueryRowContext(ctx, `SELECT count(*) FROM units WHERE job = ? AND kind = ? AND state <> ?`, job, transcode.KindSurvey, done).Scan(&left)
	if err != nil || left > 0 {
		return err
	}
	surveys, err := t.surveys(ctx, job)
	if err != nil {
		return err
	}
	rows, err := t.units(ctx, `WHERE u.job = ? AND u.state = ? ORDER BY u.seq`, job, waiting)
	if err != nil {
		return err
	}
	var units []transcode.Unit
	for _, u := range rows {
		units = append(units, u.spec)
	}
	for _, unit := range transcode.Budget(units, surveys) {
		err := t.exec(ctx, `UPDATE units SET state = ?, spec = ? WHERE job = ? AND unit = ?`, pending, column[transcode.Unit]{unit}, job, unit.ID)
		if err != nil {
			return fmt.Errorf("starting unit %s: %w", unit.ID, err)
		}
	}
	t.announce = true
	return nil
}

// surveys returns the results of a job's surveys by unit.
func (t *transaction) surveys(ctx context.Context, job int64) (map[string]transcode.Result, error) {
	rows, err := t.tx.QueryContext(ctx, `SELECT unit, result FROM units WHERE job = ? AND kind = ?`, job, transcode.KindSurvey)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	results := map[string]transcode.Result{}
	for rows.Next() {
		var unit string
		var result column[transcode.Result]
		if err := rows.Scan(&unit, &result); err != nil {
			return nil, err
		}
		results[unit] = result.V
	}
	return results, rows.Err()
}
