package worker

import (
	"sync"
	"time"

	"pibootd/pkg/transcode"
)

// A pulse is the progress of an attempt, and when it last advanced. It is safe for
// concurrent use.
type pulse struct {
	mu     sync.Mutex
	frames int
	fps    float64
	moved  time.Time // when frames last grew

	held   []transcode.Held // where the ffmpeg that ended last decoded nothing
	unread string           // why a file of subtitles could not be read
}

func newPulse(now time.Time) *pulse { return &pulse{moved: now} }

// advance records the number of frames done.
func (p *pulse) advance(frames int, fps float64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if frames > p.frames {
		p.frames, p.moved = frames, now
	}
	p.fps = fps
}

// touch records progress that has no frames.
func (p *pulse) touch(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved = now
}

// restart resets the count of frames.
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

// stalled reports whether there was no progress for at least limit.
func (p *pulse) stalled(now time.Time, limit time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Sub(p.moved) >= limit
}
