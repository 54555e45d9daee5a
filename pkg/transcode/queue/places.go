package queue

import (
	"slices"
	"sync"
	"time"

	"pibootd/pkg/transcode"
)

// Units of a progressive job have deadlines: when somebody who began to play as soon as
// there was something arrives at them, or a player that has gone to another place.

// Limits of places.
const (
	maxPlaces = 8           // of a job; the one that was asked for longest ago gives way
	placeKept = time.Minute // how long a player that asks for nothing is believed to play on
	// placeAhead is how much of a stream behind a place goes before the rest, in seconds.
	placeAhead = 60
)

// places has where progressive streams are played that are not whole.
type places struct {
	mu    sync.Mutex
	byJob map[int64]playing    // running jobs only
	off   map[string]time.Time // when a worker was made to put off its unit
}

type playing struct {
	began  time.Time // when its first segments were published; zero: they are not
	places []place
}

// A place is where a player waits for a segment.
type place struct {
	from  float64 // seconds of the stream
	asked time.Time
	since time.Time // when it was asked for first
	// helped are the renditions for which a worker has put off something else.
	helped []string
}

func newPlaces() *places { return &places{byJob: map[int64]playing{}, off: map[string]time.Time{}} }

// begin notes that the first segments of a job can be played.
func (ps *places) begin(job int64, now time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.byJob[job]; p.began.IsZero() {
		p.began = now
		ps.byJob[job] = p
	}
}

// ask notes that a player waits at a place. If one was a little before it, that is the
// same player.
func (ps *places) ask(job int64, from float64, now time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p, next := ps.byJob[job], place{from: from, asked: now, since: now}
	p.places = slices.DeleteFunc(slices.Clone(p.places), func(at place) bool {
		if now.Sub(at.asked) > placeKept {
			return true
		}
		same := from >= at.from && from < at.from+placeAhead
		if same {
			next.helped = append(next.helped, at.helped...)
		}
		if at.from == from {
			next.since = at.since
		}
		return same
	})
	if len(p.places) >= maxPlaces {
		p.places = p.places[1:]
	}
	p.places = append(p.places, next)
	ps.byJob[job] = p
}

// help notes that a worker has put off something else for u, which players wait for.
func (ps *places) help(job int64, u transcode.Unit, worker string, now time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.off[worker] = now
	p := ps.byJob[job]
	p.places = slices.Clone(p.places)
	for i, at := range p.places {
		for _, piece := range transcode.Pieces(u, transcode.Result{}) {
			if makes(u, wanted{piece.Unit.Dir(), at.from}) {
				p.places[i].helped = append(slices.Clone(p.places[i].helped), piece.Unit.Dir())
			}
		}
	}
	ps.byJob[job] = p
}

// helped reports whether a worker has put off something for a player that waits here.
func (ps *places) helped(job int64, w wanted) bool {
	at, ok := ps.at(job, w.at)
	return !ok || slices.Contains(at.helped, w.dir)
}

// waits returns since when somebody waits at a place.
func (ps *places) waits(job int64, w wanted, now time.Time) time.Duration {
	at, _ := ps.at(job, w.at)
	return now.Sub(at.since)
}

func (ps *places) at(job int64, from float64) (place, bool) {
	all := ps.of(job).places
	i := slices.IndexFunc(all, func(at place) bool { return at.from == from })
	if i < 0 {
		return place{}, false
	}
	return all[i], true
}

// putOff reports whether a worker has just been made to put off its unit, and so has
// another one to do.
func (ps *places) putOff(worker string, now time.Time) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	then, ok := ps.off[worker]
	return ok && now.Sub(then) < idleWithin
}

// forget drops a job that has ended.
func (ps *places) forget(job int64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.byJob, job)
}

// ahead returns how many seconds the beginning of u is behind the nearest place that it
// is for; false: it is for none.
func (ps *places) ahead(job int64, u transcode.Unit, now time.Time) (nearest float64, ok bool) {
	from, to := u.Span()
	for _, at := range ps.of(job).places {
		if now.Sub(at.asked) > placeKept || to <= at.from || from >= at.from+placeAhead {
			continue
		}
		if d := max(0, from-at.from); !ok || d < nearest {
			nearest, ok = d, true
		}
	}
	return nearest, ok
}

// deadline returns when u will be played. Nobody plays before there is something.
func (ps *places) deadline(job int64, u transcode.Unit, now time.Time) time.Time {
	after := func(t time.Time, seconds float64) time.Time {
		return t.Add(time.Duration(seconds * float64(time.Second)))
	}
	from, to := u.Span()
	playing := ps.of(job)
	earliest := after(now, from)
	if !playing.began.IsZero() {
		earliest = after(playing.began, from)
	}
	for _, at := range playing.places {
		if now.Sub(at.asked) > placeKept || to <= at.from {
			continue
		}
		if then := after(at.asked, max(0, from-at.from)); then.Before(earliest) {
			earliest = then
		}
	}
	return earliest
}

func (ps *places) of(job int64) playing {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.byJob[job] // places are replaced and never changed
}
