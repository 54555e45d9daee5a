package boardlog

import (
	"sync"
	"time"
)

// A board may log as many lines as a boot has, at once, and then so many a second.
const (
	burst     = 5000
	perSecond = 100
	// reportEvery is how often dropped lines are counted in a line.
	reportEvery = 10 * time.Second
)

// limits bound the lines of each board. The zero value is ready.
type limits struct {
	mu     sync.Mutex
	boards map[string]*bucket
}

type bucket struct {
	left     float64 // lines
	at       time.Time
	missed   int // since they were reported
	reported time.Time
}

// admit reports whether a board may log another line, and how many were dropped if that is
// to be reported now.
func (l *limits) admit(board string, now time.Time) (ok bool, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.boards[board]
	if b == nil {
		if l.boards == nil {
			l.boards = map[string]*bucket{}
		}
		b = &bucket{left: burst, at: now}
		l.boards[board] = b
	}
	// A clock that was set back adds nothing.
	b.left = min(burst, b.left+max(0, now.Sub(b.at).Seconds())*perSecond)
	b.at = now
	if b.left < 1 {
		b.missed++
		return false, 0
	}
	b.left--
	if b.missed > 0 && now.Sub(b.reported).Abs() >= reportEvery {
		missed, b.missed, b.reported = b.missed, 0, now
	}
	return true, missed
}
