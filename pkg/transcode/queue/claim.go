package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pibootd/pkg/transcode"
)

// claim grants a worker its next unit, or returns the reason why there is none. The
// work message does not name the unit; it only wakes the worker.
//
// A worker does one unit at a time. A claim that it still holds is therefore lost,
// for example by a restart, and is given up here before it expires.
func (q *Queue) claim(ctx context.Context, worker, session string) (transcode.ClaimReply, error) {
	var reply transcode.ClaimReply
	err := q.write(ctx, func(t *transaction) error {
		again, err := q.giveUp(ctx, t, worker, session)
		if err != nil || again != nil {
			reply = grantReply(again)
			return err
		}
		// The message that woke the worker is consumed.
		t.announce = true
		u, refused, err := q.choose(ctx, t, worker)
		if err != nil || u == nil {
			reply = refused
			return err
		}
		granted := q.newClaim(*u, u.tries+1, worker, t.now)
		granted.session = session
		u.attempt = granted.key.attempt
		reply = grantReply(u)
		return t.grant(ctx, *u, granted)
	})
	return reply, err
}

func (q *Queue) newClaim(u unitRow, attempt int, worker string, now time.Time) claim {
	return claim{
		key: attemptKey{u.key, attempt}, worker: worker, total: u.frames, spec: u.spec, request: u.request,
		granted: now, deadline: now.Add(q.ttlOf(worker, u.spec)),
	}
}

// ttlOf returns how long a claim on a unit lasts without progress.
func (q *Queue) ttlOf(worker string, u transcode.Unit) time.Duration {
	if liveUnit(u) {
		return min(liveTTL, q.ttl(worker))
	}
	return q.ttl(worker)
}

// grantReply grants the attempt of u, or nothing if u is nil.
func grantReply(u *unitRow) transcode.ClaimReply {
	if u == nil {
		return transcode.ClaimReply{}
	}
	return transcode.ClaimReply{Job: u.key.job, Attempt: u.attempt, Unit: u.spec}
}

// giveUp releases the units that this worker runs. A unit without progress in the
// same session was granted by a reply that got lost: giveUp returns it with the
// same attempt and the same deadline, so that this cannot repeat forever. A new
// session needs a new attempt, because an ffmpeg of the old one may still write.
func (q *Queue) giveUp(ctx context.Context, t *transaction, worker, session string) (again *unitRow, err error) {
	held, err := t.units(ctx, `WHERE u.state = ? AND (u.worker = ? OR u.second_worker = ?)`, running, worker, worker)
	if err != nil {
		return nil, err
	}
	for _, u := range held {
		key := u.attemptOf(worker)
		if c, ok := q.claims.get(worker, key); ok && u.spec.Kind == transcode.KindIngest && (c.session == session || c.adopted) {
			continue // it does that beside others; if it does not, the claim expires
		}
		if c, ok := q.claims.get(worker, key); ok && c.heard.IsZero() && !c.adopted && c.session == session {
			u.attempt = key.attempt
			return &u, nil
		}
		if err := t.release(ctx, u, key, ending{outcome: EventGivenUp, detail: "its worker has claimed again"}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// grant starts an attempt of a pending unit, or the speculative attempt of a running
// one.
func (t *transaction) grant(ctx context.Context, u unitRow, c claim) error {
	t.granted = append(t.granted, c)
	t.changed = append(t.changed, c.key.job)
	t.events = append(t.events, UnitEvent{
		Event: EventClaimed, Worker: c.worker, Job: c.key.job, Unit: c.key.unit, Attempt: c.key.attempt,
	})
	now := t.now.UnixNano()
	place := `UPDATE units SET state = ?, tries = ?, attempt = ?, worker = ? WHERE job = ? AND unit = ?`
	if u.state == running {
		place = `UPDATE units SET state = ?, tries = ?, second = ?, second_worker = ? WHERE job = ? AND unit = ?`
	}
	return errors.Join(
		t.exec(ctx, place, running, c.key.attempt, c.key.attempt, c.worker, c.key.job, c.key.unit),
		t.exec(ctx, `INSERT INTO attempts (job, unit, attempt, worker, started) VALUES (?, ?, ?, ?, ?)`,
			c.key.job, c.key.unit, c.key.attempt, c.worker, now),
		t.exec(ctx, `UPDATE jobs SET state = ?, started = CASE started WHEN 0 THEN ? ELSE started END WHERE id = ?`,
			Running, now, c.key.job),
	)
}

// expireClaims releases the claims that have made no progress for too long.
func (q *Queue) expireClaims(ctx context.Context, now time.Time) {
	for _, c := range q.claims.expired(now) {
		err := q.write(ctx, func(t *transaction) error {
			u, err := t.unit(ctx, c.key.unitKey)
			if err != nil && !errors.Is(err, errNoUnit) {
				return err
			}
			if !u.runs(c.worker, c.key.attempt) {
				return nil // it has ended meanwhile
			}
			return t.release(ctx, u, c.key, ending{outcome: EventExpired, detail: fmt.Sprintf("no progress for %v", q.ttlOf(c.worker, c.spec))})
		})
		if err == nil {
			q.claims.drop(c.key)
		} else if ctx.Err() == nil {
			q.log.Error("claim not expired, trying again", "job", c.key.job, "unit", c.key.unit, "err", err)
		}
	}
}

// adoptClaims restores the running claims of the store, each with a new deadline.
func (q *Queue) adoptClaims(ctx context.Context, now time.Time) error {
	rows, err := q.store.Query(ctx, unitQuery+` WHERE u.state = ?`, running)
	if err != nil {
		return fmt.Errorf("queue: reading claims: %w", err)
	}
	units, err := scanUnits(rows)
	if err != nil {
		return fmt.Errorf("queue: reading claims: %w", err)
	}
	for _, u := range units {
		for _, key := range u.attempts() {
			q.claims.adopt(q.newClaim(u, key.attempt, u.workerOf(key.attempt), now))
		}
	}
	return nil
}
