package timeline

import (
	"cmp"
	"fmt"
	"sync"
	"time"
)

const (
	// limitEvery is the least time between two records of a repeated event.
	limitEvery = time.Minute
	// maxLimited bounds the repeated events that are remembered.
	maxLimited = 4096
)

// RecordLimited is Record for events that a board, or a stranger in its name, can
// cause without limit: it records at most one event a minute for each board, kind
// and rule, and the next one reports how many were omitted. rule is a short
// constant that distinguishes events that must not hide each other, such as
// "quota"; "" if the kind is enough.
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

// limits remember when each repeated event was recorded last. The zero value is
// empty.
type limits struct {
	mu   sync.Mutex
	last map[limitKey]limited
}

type limited struct {
	at     time.Time
	missed int // since then
}

// admit reports whether an event may be recorded, and how many like it were omitted
// since the last one. An event is not recorded if maxLimited others are remembered.
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

// within reports whether two events are within limitEvery of each other, also if
// the clock was set back between them.
func within(at, last time.Time) bool { return at.Sub(last).Abs() < limitEvery }

// forgetLocked forgets events that may be recorded again, and reports whether
// another can be remembered.
func (l *limits) forgetLocked(at time.Time) bool {
	for key, last := range l.last {
		if !within(at, last.at) {
			delete(l.last, key)
		}
	}
	return len(l.last) < maxLimited
}
