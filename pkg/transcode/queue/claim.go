package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pibootd/pkg/transcode"
)

// claim gives a unit to a worker, or says why not.
//
// A worker does one unit at a time. So whatever it seemed to be doing when it
// claims another, or the same again, it has lost, say by a restart: that is
// given up here and need not wait for its claim to expire.
func (q *Queue) claim(ctx context.Context, worker string, c transcode.Claim) (transcode.ClaimReply, error) {
	hello, _ := q.workers.get(worker)
	key := unitKey{c.Job, c.Unit}
	var reply transcode.ClaimReply
	var granted claim
	err := q.write(ctx, func(s *step) error {
		u, err := s.unit(ctx, key)
		if err != nil && !errors.Is(err, errNoUnit) {
			return err
		}
		if u.state == running && u.worker == worker && q.claims.unheard(key, u.attempt) {
			// Our answer was lost and it asks again: nothing has begun yet. The
			// deadline stays, so that this cannot go on for ever.
			reply = transcode.ClaimReply{Attempt: u.attempt, Unit: u.spec}
			return nil
		}
		if u, err = s.giveUp(ctx, worker, u); err != nil {
			return err
		}
		if reply = refusal(u, hello.Hello); reply.Refused != "" {
			return nil
		}
		granted = claim{key: key, worker: worker, attempt: u.attempt + 1, total: u.frames, deadline: s.now.Add(q.claimTTL)}
		reply = transcode.ClaimReply{Attempt: granted.attempt, Unit: u.spec}
		return s.grant(ctx, granted)
	})
	if err == nil && granted.attempt > 0 {
		q.claims.put(granted)
	}
	return reply, err
}

// refusal says why a unit cannot be claimed by the worker that said this hello;
// the zero reply if it can. u is zero if there is no such unit.
func refusal(u unitRow, hello transcode.Hello) transcode.ClaimReply {
	encoder := u.spec.NeedsEncoder()
	switch {
	case u.state == "":
		return transcode.ClaimReply{Refused: "there is no such unit", Gone: true}
	case u.state == running:
		return transcode.ClaimReply{Refused: fmt.Sprintf("attempt %d of %s is running", u.attempt, u.worker)}
	case u.state != pending:
		return transcode.ClaimReply{Refused: "it is " + u.state, Gone: true}
	case u.request.MuxID != 0 && u.request.MuxID != hello.MuxID:
		return transcode.ClaimReply{Refused: fmt.Sprintf("it is for muxer %d, you said hello as %d", u.request.MuxID, hello.MuxID)}
	case encoder != "" && !slices.Contains(hello.Encoders, encoder):
		return transcode.ClaimReply{Refused: fmt.Sprintf("it needs %s; you have %q", encoder, hello.Encoders)}
	}
	return transcode.ClaimReply{}
}

// giveUp releases whatever this worker runs, and returns u as it is then.
func (s *step) giveUp(ctx context.Context, worker string, u unitRow) (unitRow, error) {
	rows, err := s.units(ctx, `WHERE u.state = ? AND u.worker = ?`, running, worker)
	if err != nil || len(rows) == 0 {
		return u, err
	}
	for _, lost := range rows {
		if err := s.release(ctx, lost, ending{outcome: EventGivenUp, detail: "its worker has claimed again"}); err != nil {
			return u, err
		}
	}
	u, err = s.unit(ctx, u.key)
	if errors.Is(err, errNoUnit) {
		err = nil
	}
	return u, err
}

// grant makes a pending unit a running attempt.
func (s *step) grant(ctx context.Context, c claim) error {
	s.changed = append(s.changed, c.key.job)
	s.events = append(s.events, UnitEvent{
		Event: EventClaimed, Worker: c.worker, Job: c.key.job, Unit: c.key.unit, Attempt: c.attempt,
	})
	now := s.now.UnixNano()
	return errors.Join(
		s.exec(ctx, `UPDATE units SET state = ?, attempt = ?, worker = ? WHERE job = ? AND unit = ?`,
			running, c.attempt, c.worker, c.key.job, c.key.unit),
		s.exec(ctx, `INSERT INTO attempts (job, unit, attempt, worker, started) VALUES (?, ?, ?, ?, ?)`,
			c.key.job, c.key.unit, c.attempt, c.worker, now),
		s.exec(ctx, `UPDATE jobs SET state = ?, started = CASE started WHEN 0 THEN ? ELSE started END WHERE id = ?`,
			Running, now, c.key.job),
	)
}

// expireClaims takes back the claims whose worker has been silent for too long.
func (q *Queue) expireClaims(ctx context.Context, now time.Time) {
	for _, c := range q.claims.expired(now) {
		err := q.write(ctx, func(s *step) error {
			u, err := s.unit(ctx, c.key)
			if err != nil && !errors.Is(err, errNoUnit) {
				return err
			}
			if u.state != running || u.attempt != c.attempt {
				return nil // it ended meanwhile
			}
			return s.release(ctx, u, ending{outcome: EventExpired, detail: fmt.Sprintf("no progress for %v", q.ttl(u.worker))})
		})
		if err == nil {
			q.claims.drop(c.key, c.attempt)
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
		q.claims.put(claim{key: u.key, worker: u.worker, attempt: u.attempt, total: u.frames, deadline: now.Add(q.ttl(u.worker))})
	}
	return nil
}
