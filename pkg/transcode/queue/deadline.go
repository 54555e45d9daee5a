package queue

import (
	"context"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// byDeadline returns what a worker should do in place of next, the first pending unit
// that it can do: a unit of the same job that a player waits for, or a second attempt of
// a unit that will be late. Other jobs never wait for either: the first is of next's own
// job, and so is the second or of one before it.
func (q *Queue) byDeadline(ctx context.Context, t *transaction, me Worker, next *unitRow) (*unitRow, error) {
	if next.request.Progressive {
		var err error
		if next, err = q.nearest(ctx, t, me, next); err != nil {
			return nil, err
		}
	}
	late, err := q.late(ctx, t, me, next)
	if err != nil || len(late) == 0 {
		return next, err
	}
	u, err := q.outrun(ctx, t, me, late)
	if u == nil {
		u = next
	}
	return u, err
}

// offersOf is offers of one job, in the order in which its film is.
const offersOf = offered + ` WHERE j.id = ? ORDER BY u.seq`

// nearest returns the pending unit of next's job that is nearest ahead of a player; next
// if there is none.
func (q *Queue) nearest(ctx context.Context, t *transaction, me Worker, next *unitRow) (*unitRow, error) {
	if len(q.places.of(next.key.job).places) == 0 {
		return next, nil
	}
	rows, err := t.tx.QueryContext(ctx, offersOf, next.key.job)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all, best, found := q.workers.list(), 0.0, false
	for rows.Next() {
		var failedOn string
		u, err := scanUnit(offer{rows, &failedOn})
		if err != nil {
			return nil, err
		}
		ahead, wanted := q.places.ahead(u.key.job, u.spec, t.now)
		if wanted && (!found || ahead < best) && unfit(u, me, all, strings.Split(failedOn, ",")) == "" {
			next, best, found = &u, ahead, true
		}
	}
	return next, rows.Err()
}

// late returns the claims on units that will be late, if a worker has the time to help
// before it does next: next would not be late itself.
func (q *Queue) late(ctx context.Context, t *transaction, me Worker, next *unitRow) ([]claim, error) {
	var late []claim
	for _, c := range q.claims.all() {
		if c.request.Progressive && q.isLate(c, t.now) {
			late = append(late, c)
		}
	}
	if len(late) == 0 || next.request.Progressive && !q.hasTime(me, next, t.now) {
		return nil, nil
	}
	ahead, err := t.jobsUpTo(ctx, next.key.job)
	var ours []claim
	for _, c := range late {
		if ahead[c.key.job] {
			ours = append(ours, c)
		}
	}
	return ours, err
}

// isLate reports whether a claim's unit will not be done when it is played.
func (q *Queue) isLate(c claim, now time.Time) bool {
	return c.spec.Kind == transcode.KindVideo && now.Add(q.left(c, now)).After(q.places.deadline(c.key.job, c.spec, now))
}

// hasTime reports whether a worker could begin u later.
func (q *Queue) hasTime(me Worker, u *unitRow, now time.Time) bool {
	mine, known := q.workers.estimate(me.Name, u.spec)
	return known && now.Add(2*mine).Before(q.places.deadline(u.key.job, u.spec, now))
}

// jobsUpTo returns a job and those before it in the order of claims.
func (t *transaction) jobsUpTo(ctx context.Context, id int64) (map[int64]bool, error) {
	rows, err := t.tx.QueryContext(ctx, `
		SELECT j.id FROM jobs j JOIN jobs other ON other.id = ?
		WHERE j.ended = 0 AND (j.id = other.id OR (j.priority, -j.id) > (other.priority, -other.id))`, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	jobs := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		jobs[id] = true
	}
	return jobs, rows.Err()
}
