package transcode

import (
	"fmt"
	"math"
	"slices"
)

// Sizes are the bytes of a stream's packets by when they are shown. What a stretch of a source
// needed there says how hard it is beside others.
type Sizes struct {
	Seconds float64 `json:"seconds"` // of each stretch, the first of which begins with the first frame
	Bytes   []int64 `json:"bytes"`   // of each stretch, at most MaxSizes
}

// MaxSizes is the maximum number of stretches of a stream.
const MaxSizes = 1024

// Add adds a packet that is shown so many seconds after the first one. The stretches become
// longer as the stream does.
func (s *Sizes) Add(seconds float64, bytes int) {
	if !(seconds <= maxStart) {
		return
	}
	if s.Seconds == 0 {
		s.Seconds = 1
	}
	for seconds >= s.Seconds*MaxSizes {
		s.double()
	}
	i := max(int(seconds/s.Seconds), 0)
	for len(s.Bytes) <= i {
		s.Bytes = append(s.Bytes, 0)
	}
	s.Bytes[i] += int64(max(bytes, 0))
}

// double makes one stretch of two.
func (s *Sizes) double() {
	s.Seconds *= 2
	for i := range s.Bytes {
		if i%2 == 0 {
			s.Bytes[i/2] = s.Bytes[i]
		} else {
			s.Bytes[i/2] += s.Bytes[i]
		}
	}
	s.Bytes = s.Bytes[:(len(s.Bytes)+1)/2]
}

func (s *Sizes) check() error {
	negative := func(n int64) bool { return n < 0 || n > maxFileBytes }
	if s != nil && (!(s.Seconds > 0 && s.Seconds <= maxStart) || len(s.Bytes) > MaxSizes || slices.ContainsFunc(s.Bytes, negative)) {
		return fmt.Errorf("sizes of %d stretches of %v s are out of range", len(s.Bytes), s.Seconds)
	}
	return nil
}

// around returns the bytes per second of the stretches that are within half of a window around
// a time, and at least of the one there.
func (s *Sizes) around(at, window float64) float64 {
	last := len(s.Bytes) - 1
	first := min(max(int((at-window/2)/s.Seconds), 0), last)
	end := min(max(int(math.Ceil((at+window/2)/s.Seconds)), first+1), last+1)
	sum := 0.0
	for _, n := range s.Bytes[first:end] {
		sum += float64(n)
	}
	return sum / (float64(end-first) * s.Seconds)
}

// fewestBytes a second are what a stretch counts for in which nothing moves.
const fewestBytes = 200

// hardness returns how hard each piece of a grid is beside the others, as the logarithm of the
// source's bytes per second there; nil if the source does not say. A key frame is much larger
// than others, so that its whole group counts.
func hardness(g Grid, r Request, p Probe, o Options) []float64 {
	v := p.Video
	if v == nil || v.Sizes == nil || len(v.Sizes.Bytes) < 2 || p.Windowed || p.CutSeconds > 0 || v.Slow > 0 || len(p.Spans)+len(p.Parts) > 0 || o.Filter != "" || o.Rate.Num > 0 || r.custom() {
		return nil
	}
	list := make([]float64, g.Frames/g.SegmentFrames)
	window := max(2, v.MaxGOPSeconds)
	for i := range list {
		middle := g.Seconds(i*g.SegmentFrames + g.SegmentFrames/2)
		list[i] = math.Log(max(v.Sizes.around(middle, window), fewestBytes))
	}
	return list
}
