//go:build bench

package queue

import (
	"testing"
	"time"
)

// A film of two hours on two hundred boards, a twentieth of which die: the time
// it takes beside what the boards that live would need with nothing lost.
func TestSimulatedFilm(t *testing.T) {
	s := simulation{nodes: 200, dead: 10, film: 7200, speeds: mixed(150), ttl: 8 * time.Second}
	got := s.run(t)
	ms := time.Millisecond
	t.Logf("200 nodes, 10 die, %d units, %d outrun", got.units, got.doubled)
	t.Logf("took %v; ideal %v; a chunk on an average node %v", got.took.Round(ms), got.ideal.Round(ms), got.chunk.Round(ms))
	bound := got.ideal + got.ideal/20 + got.chunk
	t.Logf("%.2f of 1.05 x ideal + one chunk", got.took.Seconds()/bound.Seconds())
}
