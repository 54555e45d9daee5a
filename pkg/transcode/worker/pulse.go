package worker

import (
	"sync"
	"time"
)

// A pulse tells how far an attempt is, and whether it still moves. It is safe
// for concurrent use.
type pulse struct {
	mu     sync.Mutex
	frames int
	fps    float64
	moved  time.Time // when frames last grew
}

func newPulse(now time.Time) *pulse { return &pulse{moved: now} }

// advance notes that this many frames are done by now.
func (p *pulse) advance(frames int, fps float64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if frames > p.frames {
		p.frames, p.moved = frames, now
	}
	p.fps = fps
}

// touch notes that work without frames goes on.
func (p *pulse) touch(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved = now
}

// restart begins to count anew, at no frames.
func (p *pulse) restart(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames, p.fps, p.moved = 0, 0, now
}

func (p *pulse) read() (frames int, fps float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frames, p.fps
}

// stalled tells whether nothing has moved for as long as limit.
func (p *pulse) stalled(now time.Time, limit time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Sub(p.moved) >= limit
}
