package tidy

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"pibootd/pkg/transcode/queue"
)

// due returns the originals whose jobs ended before then, done by workers or muxers.
func (t *Tidier) due(ctx context.Context, then time.Time) ([]original, error) {
	rows, err := t.Store.Query(ctx, `SELECT job, source, output, started FROM originals WHERE ended <= ? ORDER BY job LIMIT ?`,
		then.UnixNano(), maxDue)
	if err != nil {
		return nil, fmt.Errorf("reading originals: %w", err)
	}
	defer rows.Close()
	var due []original
	for rows.Next() {
		o, err := scanOriginal(rows)
		if err != nil {
			return nil, fmt.Errorf("reading originals: %w", err)
		}
		due = append(due, o)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading originals: %w", err)
	}
	return due, nil
}

func scanOriginal(rows *sql.Rows) (original, error) {
	var o original
	var started int64
	err := rows.Scan(&o.job, &o.source, &o.output, &started)
	o.started = time.Unix(0, started)
	return o, err
}

// notNeeded returns errLater while another job has the same source.
func (t *Tidier) notNeeded(ctx context.Context, o original) error {
	var others int
	err := t.Store.QueryRow(ctx, `SELECT count(*) FROM jobs WHERE state IN (?, ?, ?) AND json_extract(request, '$.source') = ?`,
		queue.Queued, queue.Running, queue.Publishing, o.source).Scan(&others)
	if err != nil {
		return fmt.Errorf("reading jobs: %w", err)
	}
	if others > 0 {
		return errLater
	}
	return nil
}

func (t *Tidier) forget(ctx context.Context, job int64) error {
	return t.write(ctx, `DELETE FROM originals WHERE job = ?`, job)
}

// forgetAll deletes the records while tidying is off, so that turning it on later does
// not move the originals of old jobs.
func (t *Tidier) forgetAll(ctx context.Context) error {
	var noted int
	if err := t.Store.QueryRow(ctx, `SELECT count(*) FROM originals`).Scan(&noted); err != nil || noted == 0 {
		return err
	}
	return t.write(ctx, `DELETE FROM originals`)
}

func (t *Tidier) write(ctx context.Context, query string, args ...any) error {
	err := t.Store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("tidy: noting originals: %w", err)
	}
	return nil
}
