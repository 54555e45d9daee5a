package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
)

// A Priority says which jobs come first; among equals the oldest does.
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

// A Change is what can be changed of a job that has not ended; nil leaves it.
type Change struct {
	Priority *Priority `json:"priority,omitempty"`
	Paused   *bool     `json:"paused,omitempty"` // what runs goes on, and nothing is begun
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

// Retry submits the request of a job that failed or was cancelled again, as a
// job of its own: what late workers still write for the old one cannot get into
// the new one's way.
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
		err = pi.Conflicting("", err) // it was right once, and this request has no such field
	}
	return job, existing, err
}

// Remove forgets a job that has ended. What it published stays.
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

// want makes sure that a job is in one of these states.
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

// ErrState reports that a job is in a state that does not allow what was asked.
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

// maxPruned bounds the jobs that are removed at a time.
const maxPruned = 1000

// prune removes the oldest of the ended jobs that are more than are kept, but
// for those whose end is still to be told to the watch folder.
func (q *Queue) prune(ctx context.Context) error {
	return q.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			DELETE FROM jobs WHERE id IN (
				SELECT id FROM jobs WHERE ended > 0 AND id NOT IN (SELECT job FROM inbox WHERE reported = 0)
				ORDER BY ended DESC, id DESC LIMIT ? OFFSET ?)`, maxPruned, q.keep)
		return err
	})
}

// playable reports whether what a job that is done has published is there.
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

// identityOf tells videos with options from others: by what the request asks
// for, and of the video by its size, its time, its beginning and its end.
func (q *Queue) identityOf(r transcode.Request) (string, error) {
	file, err := openRegular(q.media, r.Source)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	r.Source = ""
	return hashIdentity(r, info, file)
}
