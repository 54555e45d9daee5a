package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"pibootd/pkg/transcode"
)

// sweep removes accepted files that no job needs: those of attempts that do not count,
// and of jobs that have ended or do not exist. It ignores other names. A failure of one
// job does not stop the others.
func (q *Queue) sweep(ctx context.Context) error {
	names, err := q.list(transcode.WorkDir)
	if err != nil {
		return fmt.Errorf("queue: sweeping the media share: %w", err)
	}
	var errs []error
	for _, name := range names {
		job, err := strconv.ParseInt(name, 10, 64)
		if err != nil || strconv.FormatInt(job, 10) != name {
			continue
		}
		if err := q.sweepJob(ctx, job); err != nil {
			errs = append(errs, fmt.Errorf("queue: sweeping job %d: %w", job, err))
		}
	}
	return errors.Join(errs...)
}

func (q *Queue) sweepJob(ctx context.Context, id int64) error {
	// Listed before the job is read, so that the list has no files of attempts that
	// start after it is read.
	names, err := q.list(transcode.JobDir(id))
	if err != nil {
		return err
	}
	job, err := q.Job(ctx, id)
	if err != nil && !errors.Is(err, ErrNoJob) {
		return err
	}
	if q.live.holds(id) {
		return nil // what leaves the window is removed
	}
	if err != nil || job.State.Ended() {
		q.removeJob(id)
		return nil
	}
	wanted := map[string]bool{publishName: true}
	for _, u := range job.Units {
		if u.State == running || u.State == done {
			wanted[fmt.Sprintf("%s.%d", u.ID, u.Attempt)] = true
		}
		if u.State == running && u.Second > 0 {
			wanted[fmt.Sprintf("%s.%d", u.ID, u.Second)] = true
		}
	}
	for _, name := range names {
		if !wanted[name] {
			q.remove(transcode.JobDir(id) + "/" + name)
		}
	}
	return nil
}

// list returns the names in a directory of the share; none if it does not exist.
func (q *Queue) list(dir string) ([]string, error) {
	d, err := q.media.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (q *Queue) removeAttempt(key attemptKey) {
	q.remove(transcode.AttemptDir(key.job, key.unit, key.attempt))
}

func (q *Queue) removeJob(job int64) { q.remove(transcode.JobDir(job)) }

// remove deletes a directory of unpublished files. It fails if a file arrives by HTTP
// meanwhile; the next sweep tries again.
func (q *Queue) remove(dir string) {
	if err := q.media.RemoveAll(dir); err != nil {
		q.log.Warn("unpublished files not removed", "file", dir, "err", err)
	}
}
