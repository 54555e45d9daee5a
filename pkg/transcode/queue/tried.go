package queue

import (
	"context"
	"path"

	"pibootd/pkg/transcode"
)

// planTried divides a job into units if all of its trials are done.
func (t *transaction) planTried(ctx context.Context, last unitRow, d transcode.Division) error {
	job := last.key.job
	var left int
	err := t.tx.QueryRowContext(ctx, `SELECT count(*) FROM units WHERE job = ? AND kind = ? AND state <> ?`, job, transcode.KindTrial, done).Scan(&left)
	if err != nil || left > 0 {
		return err
	}
	if d.Tried, err = t.tried(ctx, job); err != nil {
		return err
	}
	if d.Lifted, err = t.lifted(ctx, job); err != nil {
		return err
	}
	var probe column[transcode.Probe]
	if err := t.tx.QueryRowContext(ctx, `SELECT probe FROM jobs WHERE id = ?`, job).Scan(&probe); err != nil {
		return err
	}
	return t.plan(ctx, last, probe.V, d)
}

// tried returns what the trials of a job have shown.
func (t *transaction) tried(ctx context.Context, job int64) ([]transcode.TriedRendition, error) {
	rows, err := t.tx.QueryContext(ctx, `SELECT spec, result FROM units WHERE job = ? AND kind = ? ORDER BY seq`, job, transcode.KindTrial)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []transcode.TriedRendition
	for rows.Next() {
		var spec column[transcode.Unit]
		var result column[transcode.Result]
		if err := rows.Scan(&spec, &result); err != nil {
			return nil, err
		}
		all = append(all, transcode.TriedRenditions(spec.V, result.V)...)
	}
	return all, rows.Err()
}

// lifted returns the file of lifted subtitles of a job in the media share; "" if none were.
func (t *transaction) lifted(ctx context.Context, job int64) (string, error) {
	rows, err := t.units(ctx, `WHERE u.job = ? AND u.kind = ? AND u.state = ?`, job, transcode.KindLift, done)
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return path.Join(transcode.AttemptDir(job, rows[0].key.unit, rows[0].attempt), transcode.LiftedName), nil
}
