package queue

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
)

// All returns every job, newest first, without units.
func (q *Queue) All(ctx context.Context) ([]Job, error) {
	jobs, err := q.readJobs(ctx, Page{}, allJobs)
	if err == nil {
		err = q.addAllFrames(ctx, jobs)
	}
	if err != nil {
		return nil, fmt.Errorf("queue: reading jobs: %w", err)
	}
	return jobs, nil
}

// Latest returns the latest jobs, as many as most, and all others that have not ended, newest
// first, without units.
func (q *Queue) Latest(ctx context.Context, most int) ([]Job, error) {
	jobs, err := q.readJobs(ctx, Page{}, most)
	if err == nil && len(jobs) == most {
		var open []Job
		open, err = q.readJobs(ctx, Page{Before: jobs[most-1].ID, States: []State{Queued, Running, Publishing}}, allJobs)
		jobs = append(jobs, open...)
	}
	if err == nil {
		err = q.addAllFrames(ctx, jobs)
	}
	if err != nil {
		return nil, fmt.Errorf("queue: reading jobs: %w", err)
	}
	return jobs, nil
}

// Outputs returns what the jobs that are done have published.
func (q *Queue) Outputs(ctx context.Context) (paths []string, err error) {
	rows, err := q.store.Query(ctx, `SELECT DISTINCT output FROM jobs WHERE state = ? AND output <> ''`, Done)
	if err != nil {
		return nil, fmt.Errorf("queue: reading outputs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var path string
		if err := rows.Scan(&path); err != nil {
			return nil, fmt.Errorf("queue: reading outputs: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, rows.Err()
}

// addAllFrames adds the sums of all jobs' units by one query.
func (q *Queue) addAllFrames(ctx context.Context, jobs []Job) error {
	byID := make(map[int64]*Job, len(jobs))
	for i := range jobs {
		byID[jobs[i].ID] = &jobs[i]
	}
	rows, err := q.store.Query(ctx, `
		SELECT job, sum(CASE state WHEN ? THEN frames ELSE 0 END), sum(frames) FROM units GROUP BY job`, done)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var frames, total int
		if err := rows.Scan(&id, &frames, &total); err != nil {
			return err
		}
		if job, ok := byID[id]; ok {
			job.add(frames, total, 0)
			for _, c := range q.claims.ofUnits(id) {
				job.add(c.frames, 0, c.fps)
			}
			job.estimate()
		}
	}
	return rows.Err()
}

// Changes yields the numbers of the jobs that have changed, were added or removed
// since it was called or yielded before. It ends with ctx.
func (q *Queue) Changes(ctx context.Context) iter.Seq[[]int64] {
	f, stop := q.watches.follow()
	return func(yield func([]int64) bool) {
		defer stop()
		for received(ctx, f.woken) {
			if !yield(f.drain()) {
				return
			}
		}
	}
}

// A follower collects the numbers of jobs that have changed.
type follower struct {
	woken chan struct{}

	mu   sync.Mutex
	jobs map[int64]bool
}

func (f *follower) note(job int64) {
	f.mu.Lock()
	f.jobs[job] = true
	f.mu.Unlock()
	wake(f.woken)
}

func (f *follower) drain() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	jobs := slices.Sorted(maps.Keys(f.jobs))
	clear(f.jobs)
	return jobs
}

// follow subscribes to the changes of all jobs, until stop.
func (ws *watches) follow() (f *follower, stop func()) {
	f = &follower{woken: make(chan struct{}, 1), jobs: map[int64]bool{}}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.followers[f] = true
	return f, func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		delete(ws.followers, f)
	}
}
