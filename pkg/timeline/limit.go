package timeline

import (
	"cmp"
	"fmt"
	"sync"
	"time"
)

const (
	// limitEvery is how often one thing that repeats stands on a timeline.
	limitEvery = time.Minute
	// maxLimited bounds what is remembered to know that.
	maxLimited = 4096
)

// RecordLimited is Record for what a board, or a stranger in its name, can cause
// as often as it likes: of one board, kind and rule it records at most one event
// a minute, and the next one tells how many were left out. rule is a short
// constant of the caller's that tells apart what must not hide each other, such
// as "quota"; "" will do where the kind says it all.
func (l *Log) RecordLimited(e Event, rule string) {
	e.At = cmp.Or(e.At, time.Now())
	missed, ok := l.limits.admit(limitKey{e.Board, e.Kind, rule}, e.At)
	if !ok {
		return
	}
	if missed > 0 {
		e.Detail = fmt.Sprintf("%.900s (%d more times since the last such event)", e.Detail, missed)
	}
	l.Record(e)
}

type limitKey struct {
	board string
	kind  Kind
	rule  string
}

// limits remember when what was recorded last. The zero value is empty.
type limits struct {
	mu   sync.Mutex
	last map[limitKey]limited
}

type limited struct {
	at     time.Time
	missed int // since then
}

// admit reports whether an event may be recorded, and how many of its like were
// not since the last one. What cannot be remembered is not recorded: it is one
// of thousands.
func (l *limits) admit(key limitKey, at time.Time) (missed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last = map[limitKey]limited{}
	}
	last, known := l.last[key]
	if known && within(at, last.at) {
		last.missed++
		l.last[key] = last
		return 0, false
	}
	if !known && len(l.last) >= maxLimited && !l.forgetLocked(at) {
		return 0, false
	}
	l.last[key] = limited{at: at}
	return last.missed, true
}

// within reports whether two events come within limitEvery of each other. A
// clock that was set back does not silence anything for longer.
func within(at, last time.Time) bool { return at.Sub(last).Abs() < limitEvery }

// forgetLocked makes room by what may be recorded again anyway, and reports
// whether there is room then.
func (l *limits) forgetLocked(at time.Time) bool {
	for key, last := range l.last {
		if !within(at, last.at) {
			delete(l.last, key)
		}
	}
	return len(l.last) < maxLimited
}
