package queue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// liveReserve is by how much the workers have to be faster than a live stream comes: its
// pictures become harder, and a worker may die.
const liveReserve = 1.25

// liveEncoder is under which name the speeds of a live stream's units are kept: with the
// start of ffmpeg for each, they are lower than those of others.
func liveEncoder(encoder string) string { return "live " + encoder }

// calibrateTime is how long parts of a live stream are encoded before they show what workers
// can do: the first ones come at once, and ffmpeg's first start on a worker takes longer.
const calibrateTime = 10 * time.Second

// checkCapacity returns an error if the workers are too slow for a live stream besides those
// that run. It names the renditions for which they would be fast enough. known is false if
// that follows from some of the workers alone.
func (q *Queue) checkCapacity(s *liveStream, l transcode.LivePlan) (known bool, err error) {
	free := 1.0
	for _, other := range q.live.all() {
		other.mu.Lock()
		plan, over := other.plan, !other.ended.IsZero()
		other.mu.Unlock()
		if other != s && plan != nil && !over {
			free -= q.liveLoad(other.request, *plan).load
		}
	}
	needs := q.liveLoad(s.request, l)
	if needs.load <= free {
		return needs.unknown == 0, nil
	}
	fits := l
	for len(fits.Plan.Units) > 0 {
		fits.Plan.Units = fits.Plan.Units[1:] // the highest first
		if q.liveLoad(s.request, fits).load <= free {
			break
		}
	}
	assumed := ""
	if needs.unknown > 0 {
		assumed = fmt.Sprintf(" (%d that have encoded nothing yet are taken to be like the others)", needs.unknown)
	}
	return needs.unknown == 0, fmt.Errorf("the workers cannot encode these renditions as fast as they come: they are busy for %.0f %% of the time, and have %.0f %%%s; %s",
		needs.load*100, max(free, 0)*100, assumed, whatFits(fits))
}

// proveCapacity ends a stream whose first parts have shown that the workers are too slow for
// it, if that was not known when it was planned.
func (q *Queue) proveCapacity(ctx context.Context, s *liveStream, now time.Time) error {
	s.mu.Lock()
	plan, unproved := s.plan, !s.unproved.IsZero() && s.ended.IsZero()
	after := now.Sub(s.unproved)
	if !unproved || after < calibrateTime {
		s.mu.Unlock()
		return nil
	}
	behind := s.behindLocked()
	s.mu.Unlock()
	known, err := q.checkCapacity(s, *plan)
	switch {
	case err != nil && behind > q.liveLate.Seconds()/4: // it does not keep up, indeed
		q.log.Warn("live stream ended: the workers are too slow", "job", s.job, "err", err)
		return q.write(ctx, func(t *transaction) error { return t.endJob(ctx, s.job, Failed, clip(err.Error(), maxReason), nil) })
	case err == nil && known || after > 6*calibrateTime:
		s.mu.Lock()
		s.unproved = time.Time{}
		s.mu.Unlock()
	}
	return nil
}

func whatFits(l transcode.LivePlan) string {
	var names []string
	for _, u := range l.Plan.Units {
		names = append(names, strings.TrimSuffix(u.Video.Rendition.Name, "p"))
	}
	if len(names) == 0 {
		return "want more workers"
	}
	return fmt.Sprintf("want --rung %s, or more workers", strings.Join(names, " --rung "))
}

// A liveNeed is what a live stream takes of all workers that may encode it.
type liveNeed struct {
	load    float64 // for which part of the time they are busy, liveReserve included
	unknown int     // workers that have encoded nothing yet: they count as the others do
}

// liveLoad returns what a live stream takes. Of workers of which none is known, it is 0.
func (q *Queue) liveLoad(r transcode.Request, l transcode.LivePlan) liveNeed {
	parts, known, unknown := 0.0, 0, 0 // parts that all encode in a second
	for _, w := range q.workers.list() {
		seconds, able := q.livePartTime(w, r, l)
		switch {
		case seconds > 0:
			parts += 1 / seconds
			known++
		case able:
			unknown++
		}
	}
	if known == 0 {
		return liveNeed{unknown: unknown + 1} // one that will come, if there is none
	}
	parts += parts / float64(known) * float64(unknown)
	return liveNeed{load: liveReserve / (parts * l.PartSeconds()), unknown: unknown}
}

// livePartTime returns how long a worker needs for all renditions of a part that it is able
// to encode, in seconds; 0 if that is not known.
func (q *Queue) livePartTime(w Worker, r transcode.Request, l transcode.LivePlan) (seconds float64, may bool) {
	if !w.free() {
		return 0, false
	}
	for _, u := range l.Plan.Units {
		if !able(u, r, w) {
			continue
		}
		may = true
		if took, ok := q.liveEstimate(w.Name, u, l); ok {
			seconds += took
		}
	}
	return seconds, may
}

// liveEstimate returns how long a worker needs for a part of a rendition, in seconds.
func (q *Queue) liveEstimate(worker string, u transcode.Unit, l transcode.LivePlan) (float64, bool) {
	video := *u.Video
	video.FirstFrame, video.EndFrame = 0, l.Frames
	u.Video = &video
	for _, encoder := range []string{liveEncoder(speedOf(u, 0).Encoder), video.Encoder} {
		video.Encoder = encoder
		if took, ok := q.workers.estimate(worker, u); ok {
			return took.Seconds(), true
		}
	}
	return 0, false
}
