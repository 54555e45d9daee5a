package queue

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"pibootd/pkg/transcode"
)

// A State is the state of a job.
type State string

// The states of a job. The last three are final.
const (
	Queued     State = "queued"     // no worker has started
	Running    State = "running"    // units are claimed or done
	Publishing State = "publishing" // every unit is done, and the output is being assembled
	Done       State = "done"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
)

// Ended reports whether s is final.
func (s State) Ended() bool { return s == Done || s == Failed || s == Cancelled }

// The states of a unit. The last two are those of units whose job failed or was
// cancelled.
const (
	waiting   = "waiting" // for the surveys of the job
	pending   = "pending"
	running   = "running"
	done      = "done"
	failed    = "failed"
	cancelled = "cancelled"
)

// ErrNoJob reports that there is no job with this number.
var ErrNoJob = errors.New("no such job")

// A Job is a request and its progress.
type Job struct {
	ID       int64             `json:"id"`
	State    State             `json:"state"`
	Request  transcode.Request `json:"request"`
	Output   string            `json:"output,omitempty"` // what a player opens: a path in the media share; "" until it is there
	Note     string            `json:"note,omitempty"`   // what the user should know about how the job is done: sentences, a line each
	Reason   string            `json:"reason,omitempty"` // why it failed, or why publishing must wait
	Stderr   []string          `json:"stderr,omitempty"` // ffmpeg's last lines, if the job failed
	Created  time.Time         `json:"created"`
	Started  time.Time         `json:"started,omitzero"`
	Ended    time.Time         `json:"ended,omitzero"`
	Priority Priority          `json:"priority"`
	Paused   bool              `json:"paused,omitempty"` // no further unit is started
	// Frames of TotalFrames are encoded, over all units. Both are 0 until the
	// source has been probed.
	Frames      int           `json:"frames"`
	TotalFrames int           `json:"total_frames"`
	FPS         float64       `json:"fps"`           // of all its workers together
	ETA         time.Duration `json:"eta,omitempty"` // nanoseconds; 0: unknown
	Units       []UnitState   `json:"units,omitempty"`
}

// A UnitState is the progress of a unit.
type UnitState struct {
	ID      string         `json:"id"`
	Kind    transcode.Kind `json:"kind"`
	State   string         `json:"state"`            // waiting, pending, running, done, failed or cancelled
	Attempt int            `json:"attempt"`          // number of the latest; 0: not claimed yet
	Worker  string         `json:"worker,omitempty"` // of the latest attempt
	// Second is the speculative attempt on a faster worker; 0: there is none.
	Second       int    `json:"second,omitempty"`
	SecondWorker string `json:"second_worker,omitempty"`

	// FailedOn is the worker of the latest failed attempt, and FailedWhy is the
	// reason that it reported. Both are "" once the unit is done, or if no attempt
	// has failed.
	FailedOn  string `json:"failed_on,omitempty"`
	FailedWhy string `json:"failed_why,omitempty"`

	Frames      int     `json:"frames"` // encoded; of a video unit
	TotalFrames int     `json:"total_frames"`
	FPS         float64 `json:"fps"` // of a running unit
}

// maxJobs is the maximum length of a list of jobs; allJobs, as SQL's LIMIT, is none.
const (
	maxJobs = 500
	allJobs = -1
)

const jobColumns = `id, state, request, output, reason, stderr, created, started, ended,
	priority, paused, entry, CASE plan WHEN '' THEN '' ELSE coalesce(json_extract(plan, '$.note'), '') END`

// Job returns a job with its units. The error matches ErrNoJob if there is none.
func (q *Queue) Job(ctx context.Context, id int64) (Job, error) {
	job, err := q.scanJob(q.store.QueryRow(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = ? AND preview = 0`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Job{}, fmt.Errorf("queue: job %d: %w", id, ErrNoJob)
	}
	if err != nil {
		return Job{}, fmt.Errorf("queue: reading job %d: %w", id, err)
	}
	if err := q.addUnits(ctx, &job); err != nil {
		return Job{}, fmt.Errorf("queue: reading job %d: %w", id, err)
	}
	return job, nil
}

// A Page selects jobs.
type Page struct {
	Before int64   // only jobs with a lower number; 0: the newest
	Limit  int     // of jobs, up to MaxPage; 0 means that
	States []State // nil: all
}

// MaxPage is the largest number of jobs on a page.
const MaxPage = maxJobs

// Jobs returns the latest 500 jobs, the newest first, without their units.
func (q *Queue) Jobs(ctx context.Context) ([]Job, error) { return q.Page(ctx, Page{}) }

// Page returns some jobs, the newest first, without their units.
func (q *Queue) Page(ctx context.Context, p Page) ([]Job, error) {
	jobs, err := q.readJobs(ctx, p, min(cmp.Or(p.Limit, maxJobs), maxJobs))
	if err != nil {
		return nil, fmt.Errorf("queue: reading jobs: %w", err)
	}
	for i := range jobs {
		if err := q.addFrames(ctx, &jobs[i]); err != nil {
			return nil, fmt.Errorf("queue: reading jobs: %w", err)
		}
	}
	return jobs, nil
}

func (q *Queue) readJobs(ctx context.Context, p Page, limit int) ([]Job, error) {
	states, err := json.Marshal(p.States)
	if err != nil {
		return nil, err
	}
	rows, err := q.store.Query(ctx, `
		SELECT `+jobColumns+` FROM jobs
		WHERE preview = 0 AND (? = 0 OR id < ?) AND (? = 0 OR state IN (SELECT value FROM json_each(?))) ORDER BY id DESC LIMIT ?`,
		p.Before, p.Before, len(p.States), string(states), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var jobs []Job
	for rows.Next() {
		job, err := q.scanJob(rows)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, job)
	}
	return jobs, rows.Err()
}

// scanJob reads jobColumns.
func (q *Queue) scanJob(row interface{ Scan(...any) error }) (Job, error) {
	var job Job
	var request column[transcode.Request]
	var stderr column[[]string]
	var output, entry string
	var created, started, ended int64
	err := row.Scan(&job.ID, &job.State, &request, &output, &job.Reason, &stderr, &created, &started, &ended, &job.Priority, &job.Paused, &entry, &job.Note)
	if err != nil {
		return Job{}, err
	}
	switch {
	case !job.State.Ended() && q.places.of(job.ID).began.IsZero():
		// The name was chosen, but there is nothing at it to play.
	case entry != "":
		job.Output = path.Join(output, entry)
	case output != "":
		job.Output = request.V.Entry(output)
	}
	job.Request, job.Stderr = request.V, stderr.V
	job.Created, job.Started, job.Ended = instant(created), instant(started), instant(ended)
	return job, nil
}

// unitStates selects the units of a job. For each unit that is not done it includes
// the latest failed attempt.
const unitStates = `
	SELECT u.unit, u.kind, u.state, u.attempt, u.worker, u.second, u.second_worker, u.frames,
		coalesce(f.worker, ''), coalesce(f.detail, '')
	FROM units u LEFT JOIN attempts f ON u.state <> 'done' AND f.job = u.job AND f.unit = u.unit AND f.attempt = (
		SELECT max(attempt) FROM attempts a WHERE a.job = u.job AND a.unit = u.unit AND a.outcome IN (?, ?, ?))
	WHERE u.job = ? ORDER BY u.seq`

// addUnits adds the units of a job and their sums.
func (q *Queue) addUnits(ctx context.Context, job *Job) error {
	rows, err := q.store.Query(ctx, unitStates, EventFailed, EventExpired, EventGivenUp, job.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	claims := q.claims.ofUnits(job.ID)
	for rows.Next() {
		var u UnitState
		if err := rows.Scan(&u.ID, &u.Kind, &u.State, &u.Attempt, &u.Worker, &u.Second, &u.SecondWorker, &u.TotalFrames, &u.FailedOn, &u.FailedWhy); err != nil {
			return err
		}
		if c, ok := claims[u.ID]; ok && u.State == running {
			u.Frames, u.FPS = c.frames, c.fps
		}
		if u.State == done {
			u.Frames = u.TotalFrames
		}
		job.add(u.Frames, u.TotalFrames, u.FPS)
		job.Units = append(job.Units, u)
	}
	job.estimate()
	return rows.Err()
}

// addFrames adds the sums of a job's units without reading each unit.
func (q *Queue) addFrames(ctx context.Context, job *Job) error {
	var frames, total int
	err := q.store.QueryRow(ctx, `
		SELECT coalesce(sum(CASE state WHEN ? THEN frames ELSE 0 END), 0), coalesce(sum(frames), 0)
		FROM units WHERE job = ?`, done, job.ID).Scan(&frames, &total)
	if err != nil {
		return err
	}
	job.add(frames, total, 0)
	for _, c := range q.claims.ofUnits(job.ID) {
		job.add(c.frames, 0, c.fps)
	}
	job.estimate()
	return nil
}

func (j *Job) add(frames, total int, fps float64) {
	j.Frames += frames
	j.TotalFrames += total
	j.FPS += fps
}

// maxETA keeps the estimate for a job that has just started within a Duration.
const maxETA = 10 * 365 * 24 * time.Hour

func (j *Job) estimate() {
	if j.FPS <= 0 || j.State.Ended() {
		return
	}
	seconds := float64(max(j.TotalFrames-j.Frames, 0)) / j.FPS
	j.ETA = time.Duration(min(seconds*float64(time.Second), float64(maxETA))).Round(time.Second)
}

// instant converts a stored time; 0 is the zero time.
func instant(unixNano int64) time.Time {
	if unixNano == 0 {
		return time.Time{}
	}
	return time.Unix(0, unixNano)
}
