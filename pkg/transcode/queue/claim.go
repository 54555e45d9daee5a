package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pibootd/pkg/transcode"
)

// claim gives a worker the unit that it had best do next, or says why there is
// none. What the work message said does not matter: it only woke the worker.
//
// A worker does one unit at a time. So whatever it seemed to be doing when it
// claims another it has lost, say by a restart: that is given up here and need
// not wait for its claim to expire.
func (q *Queue) claim(ctx context.Context, worker, session string) (transcode.ClaimReply, error) {
	var reply transcode.ClaimReply
	var granted claim
	err := q.write(ctx, func(s *step) error {
		again, err := q.giveUp(ctx, s, worker, session)
		if err != nil || again != nil {
			reply = grantReply(again)
			return err
		}
		// The message that brought the worker here is gone.
		s.announce = true
		u, refused, err := q.choose(ctx, s, worker)
		if err != nil || u == nil {
			reply = refused
			return err
		}
		granted = q.newClaim(*u, u.tries+1, worker, s.now)
		granted.session = session
		u.attempt = granted.key.attempt
		reply = grantReply(u)
		return s.grant(ctx, *u, granted)
	})
	if err == nil && granted.worker != "" {
		q.claims.put(granted)
	}
	return reply, err
}

func (q *Queue) newClaim(u unitRow, attempt int, worker string, now time.Time) claim {
	return claim{
		key: attemptKey{u.key, attempt}, worker: worker, total: u.frames, spec: u.spec, request: u.request,
		granted: now, deadline: now.Add(q.ttl(worker)),
	}
}

// grantReply grants the attempt of u; of nil it grants nothing.
func grantReply(u *unitRow) transcode.ClaimReply {
	if u == nil {
		return transcode.ClaimReply{}
	}
	return transcode.ClaimReply{Job: u.key.job, Attempt: u.attempt, Unit: u.spec}
}

// giveUp releases what this worker runs. But if nothing was heard of it yet in
// this session, our answer was lost and the worker asks again: then it returns
// the unit, with the attempt that is this worker's. The deadline stays, so that
// this cannot go on for ever. In another session the attempt must be another:
// an ffmpeg of the one before may still be writing.
func (q *Queue) giveUp(ctx context.Context, s *step, worker, session string) (again *unitRow, err error) {
	held, err := s.units(ctx, `WHERE u.state = ? AND (u.worker = ? OR u.second_worker = ?)`, running, worker, worker)
	if err != nil {
		return nil, err
	}
	for _, u := range held {
		key := u.attemptOf(worker)
		if c, ok := q.claims.get(worker, key); ok && c.heard.IsZero() && !c.adopted && c.session == session {
			u.attempt = key.attempt
			return &u, nil
		}
		if err := s.release(ctx, u, key, ending{outcome: EventGivenUp, detail: "its worker has claimed again"}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// grant makes a pending unit a running attempt, or gives one that runs its
// second.
func (s *step) grant(ctx context.Context, u unitRow, c claim) error {
	s.changed = append(s.changed, c.key.job)
	s.events = append(s.events, UnitEvent{
		Event: EventClaimed, Worker: c.worker, Job: c.key.job, Unit: c.key.unit, Attempt: c.key.attempt,
	})
	now := s.now.UnixNano()
	place := `UPDATE units SET state = ?, tries = ?, attempt = ?, worker = ? WHERE job = ? AND unit = ?`
	if u.state == running {
		place = `UPDATE units SET state = ?, tries = ?, second = ?, second_worker = ? WHERE job = ? AND unit = ?`
	}
	return errors.Join(
		s.exec(ctx, place, running, c.key.attempt, c.key.attempt, c.worker, c.key.job, c.key.unit),
		s.exec(ctx, `INSERT INTO attempts (job, unit, attempt, worker, started) VALUES (?, ?, ?, ?, ?)`,
			c.key.job, c.key.unit, c.key.attempt, c.worker, now),
		s.exec(ctx, `UPDATE jobs SET state = ?, started = CASE started WHEN 0 THEN ? ELSE started END WHERE id = ?`,
			Running, now, c.key.job),
	)
}

// expireClaims takes back the claims whose worker has been silent for too long.
func (q *Queue) expireClaims(ctx context.Context, now time.Time) {
	for _, c := range q.claims.expired(now) {
		err := q.write(ctx, func(s *step) error {
			u, err := s.unit(ctx, c.key.unitKey)
			if err != nil && !errors.Is(err, errNoUnit) {
				return err
			}
			if !u.runs(c.worker, c.key.attempt) {
				return nil // it ended meanwhile
			}
			return s.release(ctx, u, c.key, ending{outcome: EventExpired, detail: fmt.Sprintf("no progress for %v", q.ttl(c.worker))})
		})
		if err == nil {
			q.claims.drop(c.key)
		} else if ctx.Err() == nil {
			q.log.Error("claim not expired, trying again", "job", c.key.job, "unit", c.key.unit, "err", err)
		}
	}
}

// adoptClaims gives a fresh deadline to each claim that the store says runs.
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
			c := q.newClaim(u, key.attempt, u.workerOf(key.attempt), now)
			c.adopted = true
			q.claims.put(c)
		}
	}
	return nil
}
