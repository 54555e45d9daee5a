package queue

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

const (
	// freeSoon is how long a player's unit waits for a worker that is almost done.
	freeSoon = time.Second
	// idleWithin is how long an idle worker may take to claim what was announced.
	idleWithin = 2 * time.Second
)

// errNoGain reports that a worker would not do what it is to be preempted for.
var errNoGain = errors.New("another unit comes first")

// A wanted is what a player waits for: a part of one rendition.
type wanted struct {
	dir string
	at  float64 // seconds of the stream
}

// preempt has a worker put off its unit, whose deadline is far away, for a unit of the same
// job that a player waits for and no worker has. That happens once for each place that a
// player goes to and once for each unit, so that all of them are done in the end. The
// attempt that ends is no failure. Its worker learns of it with its next progress.
func (q *Queue) preempt(ctx context.Context, id int64, w wanted, now time.Time) error {
	running := q.claims.ofJob(id)
	if q.places.helped(id, w) || slices.ContainsFunc(running, func(c claim) bool { return makes(c.spec, w) }) {
		return nil
	}
	running = slices.DeleteFunc(running, func(c claim) bool { return !q.canWait(c, now) })
	if len(running) == 0 {
		return nil
	}
	// The one that has done the least.
	slices.SortFunc(running, func(a, b claim) int { return cmp.Compare(a.frames, b.frames) })
	err := q.write(ctx, func(t *transaction) error {
		u, failedOn, err := t.pendingUnit(ctx, id, w)
		if err != nil || u.key.unit == "" || q.places.helped(id, w) || q.soonClaimed(u, w, now) {
			return err
		}
		for _, c := range running {
			me, _ := q.workers.get(c.worker)
			if !me.free() || unfit(u, me, q.workers.list(), failedOn) != "" || q.claims.isAccepting(c.key) || !q.inTime(c, u, now) {
				continue
			}
			if done, err := q.putOff(ctx, t, c, u); err != nil || done {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errNoGain) {
		return nil
	}
	return err
}

// putOff ends a claim for u, unless that was done with its unit before.
func (q *Queue) putOff(ctx context.Context, t *transaction, c claim, u unitRow) (done bool, err error) {
	held, err := t.unit(ctx, c.key.unitKey)
	if err != nil || !held.runs(c.worker, c.key.attempt) || held.second > 0 {
		return false, err
	}
	var before int
	err = t.tx.QueryRowContext(ctx, `SELECT count(*) FROM attempts WHERE job = ? AND unit = ? AND outcome = ?`,
		held.key.job, held.key.unit, EventPreempted).Scan(&before)
	if err != nil || before > 0 {
		return false, err
	}
	if err := t.release(ctx, held, c.key, ending{outcome: EventPreempted, detail: "a player waits for " + u.key.unit}); err != nil {
		return false, err
	}
	next, _, err := q.choose(ctx, t, c.worker)
	if err == nil && (next == nil || next.key != u.key) {
		err = errNoGain
	}
	if err != nil {
		return false, err
	}
	q.places.help(u.key.job, u.spec, c.worker, t.now)
	return true, nil
}

// makes reports whether u makes what a player waits for.
func makes(u transcode.Unit, w wanted) bool {
	from, to := u.Span()
	return from <= w.at && w.at < to &&
		slices.ContainsFunc(transcode.Pieces(u, transcode.Result{}), func(p transcode.Piece) bool { return p.Unit.Dir() == w.dir })
}

// canWait reports whether nobody waits for a claim's unit, nor will it be done soon.
func (q *Queue) canWait(c claim, now time.Time) bool {
	_, awaited := q.places.ahead(c.key.job, c.spec, now)
	return !awaited && c.spec.Kind == transcode.KindVideo && q.left(c, now) > freeSoon
}

// inTime reports whether a claim's unit is in time for those who play up to it, though its
// worker does u first.
func (q *Queue) inTime(c claim, u unitRow, now time.Time) bool {
	again, known := q.workers.estimate(c.worker, c.spec)
	first, _ := q.workers.estimate(c.worker, u.spec)
	return known && now.Add(first+again).Before(q.places.deadline(c.key.job, c.spec, now))
}

// soonClaimed reports whether a worker that could do u is idle, or has almost done another
// unit of u's job.
func (q *Queue) soonClaimed(u unitRow, w wanted, now time.Time) bool {
	held := q.claims.byWorker()
	patient := q.places.waits(u.key.job, w, now) < idleWithin
	return slices.ContainsFunc(q.workers.list(), func(me Worker) bool {
		if !me.free() || !able(u.spec, u.request, me) || !enoughMemory(u.spec, me.Hello.Memory) {
			return false
		}
		c, busy := held[me.Name]
		return !busy && patient && !q.places.putOff(me.Name, now) || busy && c.key.job == u.key.job && c.fps > 0 && q.left(c, now) <= freeSoon
	})
}

// pendingUnit returns the pending unit of a job that makes what a player waits for, and the
// workers that have failed at it; the zero unit if there is none.
func (t *transaction) pendingUnit(ctx context.Context, id int64, w wanted) (found unitRow, failedOn []string, err error) {
	rows, err := t.tx.QueryContext(ctx, offersOf, id)
	if err != nil {
		return found, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var failed string
		u, err := scanUnit(offer{rows, &failed})
		if err != nil {
			return found, nil, err
		}
		if makes(u.spec, w) {
			return u, strings.Split(failed, ","), nil
		}
	}
	return found, nil, rows.Err()
}
