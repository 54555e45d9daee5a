package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"pibootd/pkg/pi"
	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
)

// Limits of a request.
const (
	maxSource     = 4096 // bytes
	maxMuxID      = 1 << 20
	maxUnfinished = 10_000 // jobs
)

// ErrFull reports that there are too many unfinished jobs for another one.
var ErrFull = errors.New("the queue is full")

// Submit adds a job for a request. The job is on disk when Submit returns. If a job
// for the same video and the same options is unfinished or published, Submit
// returns that job and existing is true. If Request.Name is empty, the name follows
// from the source's.
func (q *Queue) Submit(ctx context.Context, r transcode.Request) (job Job, existing bool, err error) {
	return q.submit(ctx, r, false)
}

// SubmitAgain adds a job even if the same request was done before. If that job is
// unfinished, SubmitAgain returns it instead.
func (q *Queue) SubmitAgain(ctx context.Context, r transcode.Request) (job Job, existing bool, err error) {
	return q.submit(ctx, r, true)
}

func (q *Queue) submit(ctx context.Context, r transcode.Request, again bool) (job Job, existing bool, err error) {
	if r, err = q.checkRequest(r); err != nil {
		return Job{}, false, fmt.Errorf("queue: %w", err)
	}
	identity, stamp, err := q.identityOf(r)
	if err != nil {
		return Job{}, false, fmt.Errorf("queue: submitting %q: %w", r.Source, err)
	}
	if !again {
		if job, existing, err = q.finished(ctx, identity); existing || err != nil {
			return job, existing, err
		}
	}
	var id int64
	err = q.write(ctx, func(t *transaction) error {
		id, err = t.unfinished(ctx, identity)
		if existing = err == nil; existing || !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		id, err = t.addJob(ctx, r, identity, stamp)
		return err
	})
	if err != nil {
		return Job{}, false, fmt.Errorf("queue: submitting %q: %w", r.Source, err)
	}
	job, err = q.Job(ctx, id)
	return job, existing, err
}

// finished returns the job that has published the output of the same request.
func (q *Queue) finished(ctx context.Context, identity string) (Job, bool, error) {
	var id int64
	err := q.store.QueryRow(ctx, `SELECT id FROM jobs WHERE identity = ? AND state = ? ORDER BY id DESC LIMIT 1`, identity, Done).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return Job{}, false, nil
	}
	if err != nil {
		return Job{}, false, fmt.Errorf("queue: looking for the same job: %w", err)
	}
	there, err := q.playable(ctx, id)
	if err != nil || !there {
		return Job{}, false, err
	}
	job, err := q.Job(ctx, id)
	return job, err == nil, err
}

// Cancel cancels a job. Its workers learn that when they deliver their results.
// Cancelling a job that has ended or is being published is an error.
func (q *Queue) Cancel(ctx context.Context, id int64) error {
	err := q.write(ctx, func(t *transaction) error {
		if err := t.want(ctx, id, "cancelled", Queued, Running); err != nil {
			return err
		}
		return t.endJob(ctx, id, Cancelled, "", nil)
	})
	if err != nil {
		return fmt.Errorf("queue: cancelling job %d: %w", id, err)
	}
	return nil
}

// unfinished returns the job of this identity that has not ended.
func (t *transaction) unfinished(ctx context.Context, identity string) (id int64, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT id FROM jobs WHERE identity = ? AND ended = 0 ORDER BY id LIMIT 1`, identity).Scan(&id)
	return id, err
}

// addJob stores a job with its only unit so far, the probe.
func (t *transaction) addJob(ctx context.Context, r transcode.Request, identity string, stamp sourceStamp) (id int64, err error) {
	var unfinished int
	err = t.tx.QueryRowContext(ctx, `SELECT count(*) FROM jobs WHERE state IN (?, ?, ?)`, Queued, Running, Publishing).Scan(&unfinished)
	if err != nil {
		return 0, err
	}
	if unfinished >= maxUnfinished {
		return 0, pi.Conflicting("", fmt.Errorf("%w: there are %d unfinished jobs; wait for some or cancel some", ErrFull, unfinished))
	}
	err = t.tx.QueryRowContext(ctx, `INSERT INTO jobs (state, request, mux, labels, identity, source, created) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		Queued, column[transcode.Request]{r}, r.MuxID, joinLabels(r.Labels), identity, column[sourceStamp]{stamp}, t.now.UnixNano()).Scan(&id)
	if err != nil {
		return 0, err
	}
	t.announce, t.changed = true, append(t.changed, id)
	probe := transcode.Unit{ID: "probe", Kind: transcode.KindProbe, Source: r.Source}
	if r.Progressive && stamp.SizeBytes >= t.headBytes {
		probe.HeadSeconds = transcode.HeadSeconds
	}
	return id, t.addUnit(ctx, id, 0, probe)
}

// checkRequest returns r with its name filled in and its labels sorted. The error
// is meant for the user.
func (q *Queue) checkRequest(r transcode.Request) (transcode.Request, error) {
	if r.Live != nil {
		return r, pi.InvalidField("live", errors.New("a live stream is no job of its own; start it with pibootd live add, or by POST /api/v1/streams"))
	}
	if err := q.checkSource(r.Source); err != nil {
		return r, pi.InvalidField("source", err)
	}
	var err error
	if r.Sidecars, err = q.sidecarsOf(r.Source); err != nil {
		return r, fmt.Errorf("looking for subtitles beside %q: %w", r.Source, err)
	}
	if r.Name == "" {
		r.Name = transcode.NameOf(r.Source)
	}
	err = r.Check()
	if inbox := q.inbox; err == nil && inbox != "" && (r.Dir == inbox || strings.HasPrefix(r.Dir, inbox+"/")) {
		err = pi.InvalidField("dir", fmt.Errorf("directory %q is in the watch folder %s; want another", r.Dir, inbox))
	}
	r.Labels = normalLabels(r.Labels)
	return r, err
}

// checkSource verifies that the media share contains the file.
func (q *Queue) checkSource(source string) error {
	if !utf8.ValidString(source) {
		return fmt.Errorf("source %.200q: its name is not UTF-8; rename it", source)
	}
	if len(source) > maxSource || !fs.ValidPath(source) || source == "." {
		return fmt.Errorf("source %q is not a path in the media share; want it relative to the share and inside it", clip(source, maxSource))
	}
	if transcode.IsReserved(source) {
		return fmt.Errorf("source %q is unpublished work; want a file outside pibootd's own directories", source)
	}
	// A symbolic link may lead elsewhere in the share, but not out of it.
	info, err := q.media.Stat(source)
	if err != nil {
		return fmt.Errorf("source %q in the media share: %w", source, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("source %q is a %s; want a regular file", source, share.Kind(info.Mode()))
	}
	return nil
}
