package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
)

// A Priority is the priority of a job. Of jobs with the same priority the oldest
// comes first.
type Priority int

// The priorities.
const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1
)

func (p Priority) String() string {
	switch p {
	case High:
		return "hi"
	case Low:
		return "low"
	}
	return "normal"
}

// MarshalText implements encoding.TextMarshaler.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Priority) UnmarshalText(text []byte) error {
	for _, known := range []Priority{Low, Normal, High} {
		if string(text) == known.String() {
			*p = known
			return nil
		}
	}
	return fmt.Errorf("got priority %q; want hi, normal or low", clip(string(text), 50))
}

// A Change is a change of a job that has not ended; nil leaves a field as it is.
type Change struct {
	Priority *Priority `json:"priority,omitempty"`
	Paused   *bool     `json:"paused,omitempty"` // running units continue, and no further unit is started
}

// Change changes a job. The error matches ErrNoJob if there is none.
func (q *Queue) Change(ctx context.Context, id int64, c Change) (Job, error) {
	err := q.write(ctx, func(t *transaction) error {
		if err := t.want(ctx, id, "changed", Queued, Running); err != nil {
			return err
		}
		t.changed, t.announce = append(t.changed, id), true
		if c.Priority != nil {
			if err := t.exec(ctx, `UPDATE jobs SET priority = ? WHERE id = ?`, int(*c.Priority), id); err != nil {
				return err
			}
		}
		if c.Paused == nil {
			return nil
		}
		return t.exec(ctx, `UPDATE jobs SET paused = ? WHERE id = ?`, *c.Paused, id)
	})
	if err != nil {
		return Job{}, fmt.Errorf("queue: changing job %d: %w", id, err)
	}
	return q.Job(ctx, id)
}

// Retry submits the request of a failed or cancelled job again, as a new job: what
// late workers still write for the old job cannot interfere with the new one.
func (q *Queue) Retry(ctx context.Context, id int64) (job Job, existing bool, err error) {
	old, err := q.Job(ctx, id)
	if err != nil {
		return Job{}, false, err
	}
	if old.State != Failed && old.State != Cancelled {
		return Job{}, false, fmt.Errorf("queue: retrying job %d: %w: it is %s; only a failed or cancelled job can be retried", id, ErrState, old.State)
	}
	job, existing, err = q.Submit(ctx, old.Request)
	if wrong := new(pi.RequestError); errors.As(err, wrong) && wrong.Reason == pi.Invalid {
		err = pi.Conflicting("", err) // the request was valid once, and this call has no such field
	}
	return job, existing, err
}

// Remove deletes a job that has ended. Its output stays.
func (q *Queue) Remove(ctx context.Context, id int64) error {
	err := q.write(ctx, func(t *transaction) error {
		if err := t.want(ctx, id, "removed", Done, Failed, Cancelled); err != nil {
			return err
		}
		t.changed = append(t.changed, id)
		return t.exec(ctx, `DELETE FROM jobs WHERE id = ?`, id)
	})
	if err != nil {
		return fmt.Errorf("queue: removing job %d: %w", id, err)
	}
	return nil
}

// want verifies that a job is in one of these states.
func (t *transaction) want(ctx context.Context, id int64, done string, states ...State) error {
	var state State
	err := t.tx.QueryRowContext(ctx, `SELECT state FROM jobs WHERE id = ?`, id).Scan(&state)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNoJob
	case err != nil:
		return err
	case !slices.Contains(states, state):
		return fmt.Errorf("%w: it is %s; only a job that is %s can be %s", ErrState, state, anyOf(states), done)
	}
	return nil
}

// ErrState reports that the state of a job does not allow the operation.
var ErrState = errors.New("not possible now")

func anyOf(states []State) string {
	text := string(states[0])
	for i, s := range states[1:] {
		if i == len(states)-2 {
			text += " or " + string(s)
		} else {
			text += ", " + string(s)
		}
	}
	return text
}

// maxPruned is the maximum number of jobs that are removed at a time.
const maxPruned = 1000

// prune removes the oldest ended jobs beyond the number that is kept. It keeps
// those whose end has not been reported to the watch folder yet. Those that ended in
// the future, because the clock was set back, go first: others would go as soon as
// they have ended, until it is then.
func (q *Queue) prune(ctx context.Context) error {
	return q.write(ctx, func(t *transaction) error {
		if _, err := t.tx.ExecContext(ctx, `DELETE FROM jobs WHERE preview = 1 AND ended > 0 AND ended < ?`, t.now.Add(-previewsStay).UnixNano()); err != nil {
			return err
		}
		rows, err := t.tx.QueryContext(ctx, `
			DELETE FROM jobs WHERE id IN (
				SELECT id FROM jobs WHERE preview = 0 AND ended > 0 AND id NOT IN (SELECT job FROM inbox WHERE reported = 0)
				ORDER BY ended > ?, ended DESC, id DESC LIMIT ? OFFSET ?) RETURNING id`, t.now.UnixNano(), maxPruned, q.keep)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			t.changed = append(t.changed, id)
		}
		return rows.Err()
	})
}

// playable reports whether the output of a finished job still exists.
func (q *Queue) playable(ctx context.Context, id int64) (bool, error) {
	job, err := q.Job(ctx, id)
	if err != nil {
		return false, err
	}
	if job.Output == "" {
		return false, nil
	}
	return exists(q.media, job.Output)
}

// identityOf returns the identity of a video with its options. It consists of what
// the request asks for, and of the video's size, modification time, first bytes and
// last bytes; and of the names, sizes and times of the files with subtitles beside it.
func (q *Queue) identityOf(r transcode.Request) (identity string, stamp sourceStamp, err error) {
	file, err := openRegular(q.media, r.Source)
	if err != nil {
		return "", stamp, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", stamp, err
	}
	var beside strings.Builder
	if err := q.writeSidecars(&beside, r.Sidecars); err != nil {
		return "", stamp, err
	}
	r.Source, r.Sidecars = "", nil
	if identity, err = hashIdentity(r, info, file, beside.String()); err != nil {
		return "", stamp, err
	}
	content, err := hashContent(info, file)
	return identity, stampOf(info, content), err
}
