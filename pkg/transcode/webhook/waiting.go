package webhook

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"pibootd/pkg/transcode"
)

// maxDue bounds how many deliveries are tried in one go.
const maxDue = 64

// due returns the deliveries whose time has come, oldest first.
func (s *Sender) due(ctx context.Context, now time.Time) ([]waiting, error) {
	rows, err := s.Store.Query(ctx, `
		SELECT id, job, state, request, output, entry, reason, ended, tries FROM hooks WHERE due <= ? ORDER BY id LIMIT ?`, now.UnixNano(), maxDue)
	if err != nil {
		return nil, fmt.Errorf("webhook: reading deliveries: %w", err)
	}
	defer rows.Close()
	var due []waiting
	for rows.Next() {
		var w waiting
		var request, output, entry string
		var ended int64
		if err := rows.Scan(&w.ID, &w.Job, &w.State, &request, &output, &entry, &w.Reason, &ended, &w.tries); err != nil {
			return nil, fmt.Errorf("webhook: reading deliveries: %w", err)
		}
		var r transcode.Request
		if err := json.Unmarshal([]byte(request), &r); err != nil {
			return nil, fmt.Errorf("webhook: reading the request of job %d: %w", w.Job, err)
		}
		w.Source, w.Name, w.Output, w.Ended = r.Source, r.Name, outputOf(r, output, entry), time.Unix(0, ended).UTC()
		due = append(due, w)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("webhook: reading deliveries: %w", err)
	}
	return due, nil
}

func (s *Sender) drop(ctx context.Context, id int64) error {
	return s.write(ctx, `DELETE FROM hooks WHERE id = ?`, id)
}

func (s *Sender) postpone(ctx context.Context, w waiting, due time.Time) error {
	return s.write(ctx, `UPDATE hooks SET tries = ?, due = ? WHERE id = ?`, w.tries, due.UnixNano(), w.ID)
}

// forget deletes deliveries that nobody receives, or that are too many.
func (s *Sender) forget(ctx context.Context) error {
	keep := maxWaiting
	if s.URL == "" {
		keep = 0
	}
	var count int
	if err := s.Store.QueryRow(ctx, `SELECT count(*) FROM hooks`).Scan(&count); err != nil {
		return fmt.Errorf("webhook: counting deliveries: %w", err)
	}
	if count <= keep {
		return nil
	}
	if keep > 0 {
		s.Log.Error("too many webhooks are waiting; the oldest are dropped", "component", "webhook", "dropped", count-keep)
	}
	return s.write(ctx, `DELETE FROM hooks WHERE id NOT IN (SELECT id FROM hooks ORDER BY id DESC LIMIT ?)`, keep)
}

func (s *Sender) write(ctx context.Context, query string, args ...any) error {
	err := s.Store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("webhook: noting deliveries: %w", err)
	}
	return nil
}
