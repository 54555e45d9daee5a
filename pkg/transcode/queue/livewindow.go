package queue

import (
	"context"
	"errors"
	"path"
	"slices"
	"strconv"
	"time"

	"pibootd/pkg/transcode"
)

// completePart lets players have a part.
func (q *Queue) completePart(s *liveStream, p *livePart, attempt int, r transcode.Result) {
	if len(r.Segments) != 1 || r.Init == nil {
		p.state = failed // its worker's result was checked, so this is an older version's
		return
	}
	dir := transcode.AttemptDir(p.key.job, p.key.unit, attempt)
	p.file, p.bytes, p.seconds, p.codecs = path.Join(dir, r.Segments[0].Name), r.Segments[0].SizeBytes, r.Segments[0].Seconds, r.Codecs
	if err := q.verifySize(p.file, p.bytes); err != nil {
		q.log.Warn("part of a live stream is not there", "job", p.key.job, "unit", p.key.unit, "err", err)
		p.state = failed
		return
	}
	if name := initName(p.Rendition, p.Session); s.inits[name] == nil {
		init, err := q.media.ReadFile(path.Join(dir, transcode.InitName))
		if err != nil {
			q.log.Warn("part of a live stream is not there", "job", p.key.job, "unit", p.key.unit, "err", err)
			p.state = failed
			return
		}
		s.inits[name] = init
	}
	if s.codecs[p.Rendition] == "" {
		s.codecs[p.Rendition] = r.Codecs
	}
	p.state = done
}

// initName is the key of an initialization section in liveStream.inits.
func initName(rendition string, session int) string { return rendition + "/" + strconv.Itoa(session) }

// A livePartEnd says how a unit of a live stream ended: by a result, or never.
type livePartEnd struct {
	key     unitKey
	attempt int // 0: it failed
	result  transcode.Result
}

// followLive does what a transaction has left to do of live streams.
func (q *Queue) followLive(ctx context.Context, t *transaction) {
	for _, s := range t.began {
		q.live.put(s)
	}
	for _, job := range t.liveStopped {
		if s := q.live.get(job); s != nil {
			s.mu.Lock()
			s.stopping = t.now
			s.mu.Unlock()
			s.leaveSource()
		}
	}
	for _, e := range t.liveParts {
		if s := q.live.get(e.key.job); s != nil {
			q.endPart(ctx, s, e)
		}
	}
	for _, e := range t.ended {
		if s := q.live.get(e.id); s != nil {
			s.end(t.now)
			s.mu.Lock()
			s.publishing = false
			s.mu.Unlock()
			s.leaveSource()
		}
	}
}

// endPart lets players have a part, or go on without it, and ends the stream behind its
// last one.
func (q *Queue) endPart(ctx context.Context, s *liveStream, e livePartEnd) {
	s.mu.Lock()
	i := slices.IndexFunc(s.parts, func(p *livePart) bool { return p.key == e.key })
	if i < 0 {
		s.mu.Unlock()
		return
	}
	p := s.parts[i]
	if e.attempt == 0 {
		p.state = failed
	} else {
		q.completePart(s, p, e.attempt, e.result)
	}
	waits := slices.ContainsFunc(s.parts, func(o *livePart) bool {
		return o.Session == p.Session && o.Number == p.Number && o.state == pending
	})
	source := livePartSource(s.job, p.LivePart)
	s.notifyLocked()
	s.mu.Unlock()
	if !waits {
		q.remove(source)
	}
	if err := q.endDrained(ctx, s, time.Now()); err != nil && ctx.Err() == nil {
		q.log.Error("live stream not ended, trying again", "job", s.job, "err", err)
	}
}

// end ends the playlists of a stream.
func (s *liveStream) end(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.IsZero() {
		s.ended = now
		s.source = nil
		s.notifyLocked()
	}
}

// endDrained ends a stream whose source has ended and whose parts are all made or left out.
func (q *Queue) endDrained(ctx context.Context, s *liveStream, now time.Time) error {
	s.mu.Lock()
	waits := slices.ContainsFunc(s.parts, func(p *livePart) bool { return p.state == pending })
	goesOn := s.stopping.IsZero() || !s.ended.IsZero() || waits
	s.mu.Unlock()
	if goesOn {
		return nil
	}
	if s.request.Live.Keep {
		s.end(now)
		return q.write(ctx, func(t *transaction) error {
			t.publish, t.changed = true, append(t.changed, s.job)
			_, err := t.tx.ExecContext(ctx, `UPDATE jobs SET state = ? WHERE id = ? AND state = ?`, Publishing, s.job, Running)
			return err
		})
	}
	return q.write(ctx, func(t *transaction) error { return t.endJob(ctx, s.job, Done, "", nil) })
}

// late returns the parts that players have waited for long enough. A stream that is kept as
// a video has all of its parts, however late.
func (s *liveStream) late(oldest time.Time) (list []*livePart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.request.Live.Keep {
		return nil
	}
	for _, p := range s.parts {
		if p.state == pending && p.since.Before(oldest) {
			list = append(list, p)
		}
	}
	return list
}

// leaveOut has a stream go on without parts that nobody has made in time: they are gaps.
func (q *Queue) leaveOut(ctx context.Context, s *liveStream, late []*livePart) error {
	if len(late) == 0 {
		return nil
	}
	q.log.Warn("parts of a live stream came too late and are left out", "job", s.job, "parts", len(late), "first", late[0].key.unit)
	return q.write(ctx, func(t *transaction) error {
		for _, p := range late {
			if err := t.leaveOut(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaveOut gives the unit of a part up, and takes it from its worker.
func (t *transaction) leaveOut(ctx context.Context, p *livePart) error {
	state, err := t.takeAway(ctx, p.key, "its part came too late")
	if err != nil || state != running && state != pending {
		return err
	}
	t.liveParts = append(t.liveParts, livePartEnd{key: p.key})
	return t.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, failed, p.key.job, p.key.unit)
}

// takeAway takes a unit from the worker that is at it, if there is one. It returns the state
// that the unit had; "" if it does not exist.
func (t *transaction) takeAway(ctx context.Context, key unitKey, why string) (state string, err error) {
	u, err := t.unit(ctx, key)
	if errors.Is(err, errNoUnit) {
		return "", nil
	}
	if err == nil && u.state == running {
		err = t.endAttempt(ctx, u, attemptKey{u.key, u.attempt}, ending{outcome: EventCancelled, detail: why})
	}
	return u.state, err
}

// watchLive leaves out what comes too late, ends streams that are to end, and forgets those
// that ended some time ago.
func (q *Queue) watchLive(ctx context.Context, now time.Time) error {
	var errs []error
	for _, s := range q.live.all() {
		errs = append(errs, q.proveCapacity(ctx, s, now), q.leaveOut(ctx, s, s.late(now.Add(-q.liveLate))), q.endDrained(ctx, s, now))
		s.mu.Lock()
		gone := !s.ended.IsZero() && !s.publishing && now.Sub(s.ended) > liveGrace+time.Duration(min(s.request.Live.Window(), 600))*time.Second
		s.mu.Unlock()
		if gone {
			q.live.drop(s.job)
			q.removeJob(s.job)
		}
	}
	return errors.Join(errs...)
}

// leaving returns the parts of segments that have left the window, and whose players have
// had time to read them.
func (s *liveStream) leaving(now time.Time) []*livePart {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.request.Live.Keep {
		return nil
	}
	oldest := now.Add(-time.Duration(s.request.Live.Window()*float64(time.Second)) - liveGrace).UnixMilli()
	keep := -1 // the first segment that stays
	for _, p := range s.parts {
		if p.Time >= oldest {
			keep = p.Segment
			break
		}
	}
	var list []*livePart
	for _, p := range s.parts {
		if p.Segment >= keep {
			break
		}
		list = append(list, p)
	}
	return list
}

// removeParts removes units of parts that have left the window.
func (t *transaction) removeParts(ctx context.Context, list []*livePart) error {
	for _, p := range list {
		state, err := t.takeAway(ctx, p.key, "its part has left the window")
		if err == nil && state == "" {
			continue
		}
		if err == nil {
			err = t.exec(ctx, `DELETE FROM units WHERE job = ? AND unit = ?`, p.key.job, p.key.unit)
		}
		if err == nil {
			_, err = t.tx.ExecContext(ctx, `DELETE FROM attempts WHERE job = ? AND unit = ?`, p.key.job, p.key.unit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeParts removes the files of parts that have left the window.
func (q *Queue) removeParts(s *liveStream, list []*livePart) {
	s.mu.Lock()
	gone := map[*livePart]bool{}
	for _, p := range list {
		gone[p] = true
	}
	s.parts = slices.DeleteFunc(s.parts, func(p *livePart) bool { return gone[p] })
	for name := range s.inits {
		if !slices.ContainsFunc(s.parts, func(p *livePart) bool { return initName(p.Rendition, p.Session) == name }) {
			delete(s.inits, name)
		}
	}
	s.mu.Unlock()
	for _, p := range list {
		if p.file != "" {
			q.remove(path.Dir(p.file))
		}
		q.remove(livePartSource(s.job, p.LivePart))
	}
}

// finishLive stores that a unit of a live stream is done.
func (q *Queue) finishLive(u unitRow, t *transaction, key attemptKey, r transcode.Result) {
	if u.spec.Kind == transcode.KindIngest {
		t.liveStopped = append(t.liveStopped, key.job)
		return
	}
	t.liveParts = append(t.liveParts, livePartEnd{key.unitKey, key.attempt, r})
}

// liveUnit reports whether a unit is of a live stream.
func liveUnit(u transcode.Unit) bool { return u.Live != nil || u.Kind == transcode.KindIngest }
