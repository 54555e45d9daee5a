package watchfolder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"pibootd/pkg/transcode/queue"
)

// recall marks the files that were submitted before. One query for each would take
// long after a restart.
func (f *Folder) recall(ctx context.Context, files map[string]sighting) error {
	rows, err := f.Store.Query(ctx, `SELECT path, inode, size, mtime FROM inbox`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var inode, size, mtime int64
		if err := rows.Scan(&name, &inode, &size, &mtime); err != nil {
			return err
		}
		s, there := files[name]
		if there && s.stamp.inode == uint64(inode) && s.stamp.size == size && s.stamp.mtime == mtime {
			s.done = true
			files[name] = s
		}
	}
	return rows.Err()
}

// known reports whether a file was submitted before, perhaps under another name or
// by somebody else. job is its job if that is not recorded yet, else 0.
func (f *Folder) known(ctx context.Context, name string, is stamp) (job int64, known bool, err error) {
	var recorded string
	err = f.Store.QueryRow(ctx, `SELECT path FROM inbox WHERE inode = ? AND size = ? AND mtime = ? ORDER BY path <> ? LIMIT 1`,
		int64(is.inode), is.size, is.mtime, name).Scan(&recorded)
	if err == nil {
		return 0, true, f.renamed(ctx, recorded, name)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, false, fmt.Errorf("reading what was taken: %w", err)
	}
	err = f.Store.QueryRow(ctx, `
		SELECT id FROM jobs WHERE preview = 0 AND json_extract(request, '$.source') = ? AND CASE source WHEN '' THEN created >= ?
			ELSE json_extract(source, '$.size') = ? AND json_extract(source, '$.modified') = ? END
		ORDER BY id DESC LIMIT 1`, name, is.ctim, is.size, is.mtime).Scan(&job)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading jobs: %w", err)
	}
	return job, true, nil
}

// renamed records the new name of a file. A record under the old one would be lost to
// another file that gets that name.
func (f *Folder) renamed(ctx context.Context, from, to string) error {
	if from == to {
		return nil
	}
	return f.write(ctx, `UPDATE OR REPLACE inbox SET path = ? WHERE path = ?`, to, from)
}

// note records that a file was submitted.
func (f *Folder) note(ctx context.Context, name string, is stamp, job int64) error {
	f.recorded++
	return f.write(ctx, `INSERT OR REPLACE INTO inbox (path, inode, size, mtime, job) VALUES (?, ?, ?, ?, ?)`,
		name, int64(is.inode), is.size, is.mtime, job)
}

func (f *Folder) write(ctx context.Context, query string, args ...any) error {
	err := f.Store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("noting what was taken: %w", err)
	}
	return nil
}

const (
	// maxGone is the number of files that are remembered though they are gone. They may
	// come back: the folder may be on a disk that is not mounted.
	maxGone = 100_000
	// forgetEvery is the number of new records after which forget looks for old ones.
	forgetEvery = 1000
)

// forget deletes the records of the oldest files that are gone, beyond maxGone.
func (f *Folder) forget(ctx context.Context) error {
	if f.recorded < forgetEvery {
		return nil
	}
	f.recorded = 0
	gone, err := f.gone(ctx)
	if err != nil {
		return fmt.Errorf("watch folder: reading what was taken: %w", err)
	}
	return f.Store.Write(ctx, func(tx *sql.Tx) error {
		for _, name := range gone[min(maxGone, len(gone)):] {
			if _, err := tx.ExecContext(ctx, `DELETE FROM inbox WHERE path = ?`, name); err != nil {
				return fmt.Errorf("watch folder: forgetting %s: %w", name, err)
			}
		}
		return nil
	})
}

// gone returns the recorded files that the folder no longer has, newest first. Their
// jobs have been reported.
func (f *Folder) gone(ctx context.Context) ([]string, error) {
	rows, err := f.Store.Query(ctx, `SELECT path FROM inbox WHERE reported = 1 ORDER BY job DESC`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var gone []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		if _, there := f.files[name]; !there {
			gone = append(gone, name)
		}
	}
	return gone, rows.Err()
}

// report logs once for each file that its job did not end well.
func (f *Folder) report(ctx context.Context) error {
	ended, err := f.ended(ctx)
	if err != nil {
		return fmt.Errorf("watch folder: reading how jobs ended: %w", err)
	}
	for _, e := range ended {
		if err := f.write(ctx, `UPDATE inbox SET reported = 1 WHERE path = ?`, e.path); err != nil {
			return fmt.Errorf("watch folder: %w", err)
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
