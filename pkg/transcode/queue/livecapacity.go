package queue

import (
	"fmt"
	"strings"

	"pibootd/pkg/transcode"
)

// liveReserve is by how much the workers have to be faster than a live stream comes: its
// pictures become harder, and a worker may die.
const liveReserve = 1.25

// liveEncoder is under which name the speeds of a live stream's units are kept: with the
// start of ffmpeg for each, they are lower than those of others.
func liveEncoder(encoder string) string { return "live " + encoder }

// checkCapacity returns an error if the workers are known to be too slow for a live stream
// besides those that run. It names the renditions for which they would be fast enough. A
// worker that has encoded nothing yet is not known.
func (q *Queue) checkCapacity(s *liveStream, l transcode.LivePlan) error {
	free := 1.0
	for _, other := range q.live.all() {
		other.mu.Lock()
		plan, over := other.plan, !other.ended.IsZero()
		other.mu.Unlock()
		if other == s || plan == nil || over {
			continue
		}
		if load, known := q.liveLoad(other.request, *plan); known {
			free -= load
		}
	}
	load, known := q.liveLoad(s.request, l)
	if !known || load <= free {
		return nil
	}
	fits := l
	for len(fits.Plan.Units) > 0 {
		fits.Plan.Units = fits.Plan.Units[1:] // the highest first
		if load, _ := q.liveLoad(s.request, fits); load <= free {
			break
		}
	}
	return fmt.Errorf("the workers cannot encode these renditions as fast as they come: they are busy for %.0f %% of the time, and have %.0f %%; %s",
		load*100, max(free, 0)*100, whatFits(fits))
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

// liveLoad returns for which part of the time a live stream keeps all workers busy that may
// encode it, liveReserve included.
func (q *Queue) liveLoad(r transcode.Request, l transcode.LivePlan) (load float64, known bool) {
	parts := 0.0 // that all encode in a second
	for _, w := range q.workers.list() {
		if !w.free() {
			continue
		}
		seconds := 0.0
		for _, u := range l.Plan.Units {
			if !able(u, r, w) {
				continue
			}
			if took, ok := q.liveEstimate(w.Name, u, l); ok {
				seconds += took
			}
		}
		if seconds > 0 {
			parts += 1 / seconds
		}
	}
	if parts == 0 {
		return 0, false
	}
	return liveReserve / (parts * l.PartSeconds()), true
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
