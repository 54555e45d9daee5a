package watchfolder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"pibootd/pkg/transcode/queue"
)

// known reports whether a file was submitted before, perhaps under another name or
// by somebody else. job is its job if that is not recorded yet, else 0.
func (f *Folder) known(ctx context.Context, name string, is stamp) (job int64, known bool, err error) {
	var taken int
	err = f.Store.QueryRow(ctx, `SELECT count(*) FROM inbox WHERE inode = ? AND size = ? AND mtime = ?`, int64(is.inode), is.size, is.mtime).Scan(&taken)
	if err != nil {
		return 0, false, fmt.Errorf("reading what was taken: %w", err)
	}
	if taken > 0 {
		return 0, true, nil
	}
	err = f.Store.QueryRow(ctx, `SELECT id FROM jobs WHERE json_extract(request, '$.source') = ? AND created >= ? ORDER BY id DESC LIMIT 1`,
		name, is.ctim).Scan(&job)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading jobs: %w", err)
	}
	return job, true, nil
}

// note records that a file was submitted. When there are too many records, reported
// ones of the oldest jobs are deleted: known then finds the jobs themselves.
func (f *Folder) note(ctx context.Context, name string, is stamp, job int64) error {
	err := f.Store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO inbox (path, inode, size, mtime, job) VALUES (?, ?, ?, ?, ?)`,
			name, int64(is.inode), is.size, is.mtime, job)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM inbox WHERE reported = 1 AND job NOT IN (SELECT job FROM inbox ORDER BY job DESC LIMIT ?)`, 2*maxFiles)
		return err
	})
	if err != nil {
		return fmt.Errorf("noting what was taken: %w", err)
	}
	return nil
}

// report logs once for each file that its job did not end well.
func (f *Folder) report(ctx context.Context) error {
	ended, err := f.ended(ctx)
	if err != nil {
		return fmt.Errorf("watch folder: reading how jobs ended: %w", err)
	}
	for _, e := range ended {
		err := f.Store.Write(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE inbox SET reported = 1 WHERE path = ?`, e.path)
			return err
		})
		if err != nil {
			return fmt.Errorf("watch folder: noting how jobs ended: %w", err)
		}
		if e.state != queue.Done {
			f.Log.Warn("file in the watch folder not transcoded, it stays there", "component", "watchfolder", "file", e.path, "job", e.job, "state", e.state, "reason", e.reason)
		}
	}
	return nil
}

// An end is the final state of a file's job.
type end struct {
	path   string
	job    int64
	state  queue.State
	reason string
}

func (f *Folder) ended(ctx context.Context) ([]end, error) {
	rows, err := f.Store.Query(ctx, `
		SELECT i.path, i.job, j.state, j.reason FROM inbox i JOIN jobs j ON j.id = i.job
		WHERE i.reported = 0 AND j.state IN (?, ?, ?) LIMIT 100`, queue.Done, queue.Failed, queue.Cancelled)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ended []end
	for rows.Next() {
		var e end
		if err := rows.Scan(&e.path, &e.job, &e.state, &e.reason); err != nil {
			return nil, err
		}
		ended = append(ended, e)
	}
	return ended, rows.Err()
}
