package transcode

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"pibootd/pkg/transcode/mediafile"
)

// StartPTS is the presentation time of frame 0 in 90 kHz ticks: 10 s, so that no
// decode time before the first frame is negative.
const StartPTS = 10 * mediafile.TicksPerSecond

// DefaultMaxFPS is the highest frame rate of a grid unless a request has another.
const DefaultMaxFPS = 60

// usualRates are the rates of television and film. A rate that was measured or
// rounded to about one of them is meant to be that one.
var usualRates = []Rational{
	{12, 1}, {25, 2}, {15000, 1001}, {15, 1}, {24000, 1001}, {24, 1}, {25, 1}, {30000, 1001}, {30, 1},
	{48000, 1001}, {48, 1}, {50, 1}, {60000, 1001}, {60, 1}, {100, 1}, {120000, 1001}, {120, 1},
}

// gridRate returns the rate of a grid for a source of rate r: its own, or the
// largest whole part of it that is at most this many frames per second, so that
// each frame is shown as long as every other. A rate below one becomes a multiple.
func gridRate(r Rational, most float64) Rational {
	r = usualRate(r)
	if parts := math.Ceil(r.Float()/most - 0.0005); parts > 1 {
		r.Den *= int(parts)
	}
	if r.Float() < 1 {
		r.Num *= int(math.Ceil(1 / r.Float()))
	}
	divisor := gcd(r.Num, r.Den)
	return Rational{r.Num / divisor, r.Den / divisor}
}

const (
	// leastStream is how long a stream with sound is at least, in seconds, and leastFrames how
	// many frames it has. Chromium shows the first frame of a stream that has not ended when it
	// has four frames and 0.2 s of sound, and hls.js ends a stream with a rendition of its
	// sound only after that. So it would wait forever for one that is shorter.
	leastStream = 0.4
	leastFrames = 8
)

// playable returns g with as many frames as browsers need of a stream with sound: each is shown
// more than once if there are few, and the last one stands still. The rate is not changed if it is
// fixed.
func (g Grid) playable(fixed bool) Grid {
	if times := (leastFrames + g.Frames - 1) / g.Frames; times > 1 && !fixed && g.Seconds(g.Frames) > leastStream/2 {
		g.Rate.Num *= times
		divisor := gcd(g.Rate.Num, g.Rate.Den)
		g.Rate.Num, g.Rate.Den = g.Rate.Num/divisor, g.Rate.Den/divisor
		g.Frames, g.SegmentFrames = g.Frames*times, g.SegmentFrames*times
	}
	g.Frames = max(g.Frames, int(math.Ceil(leastStream*g.Rate.Float())))
	return g
}

// usualRate returns the usual rate, or else the whole number, that r is about; r
// in thousandths at most if there is none.
func usualRate(r Rational) Rational {
	rate := r.Float()
	off := func(c Rational) float64 { return math.Abs(c.Float()/rate - 1) }
	best := slices.MinFunc(usualRates, func(a, b Rational) int { return cmp.Compare(off(a), off(b)) })
	whole := Rational{max(int(math.Round(rate)), 1), 1}
	switch {
	case off(best) < 0.003:
		return best
	case off(whole) < 0.005:
		return whole
	}
	if r.Den > 1000 {
		return Rational{max(int(math.Round(rate*1000)), 1), 1000}
	}
	return r
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, 1)
}

// Float returns r as a number; 0 if r is not a positive fraction.
func (r Rational) Float() float64 {
	if r.Num <= 0 || r.Den <= 0 {
		return 0
	}
	return float64(r.Num) / float64(r.Den)
}

// String returns r as ffmpeg writes a rate, e.g. 30000/1001.
func (r Rational) String() string { return fmt.Sprintf("%d/%d", r.Num, r.Den) }

// Seconds returns the duration of this many frames.
func (g Grid) Seconds(frames int) float64 {
	return float64(frames) * float64(g.Rate.Den) / float64(g.Rate.Num)
}

// PTS returns the presentation time of a frame, in 90 kHz ticks.
func (g Grid) PTS(frame int) int64 {
	num, den := int64(g.Rate.Num), int64(g.Rate.Den)
	return StartPTS + (int64(frame)*den*mediafile.TicksPerSecond+num/2)/num
}

// Segments returns the number of segments of the whole grid. The rest after the
// last whole segment is a segment of its own if it is at least a quarter of one;
// otherwise it belongs to the last whole segment.
func (g Grid) Segments() int {
	n, rest := g.Frames/g.SegmentFrames, g.Frames%g.SegmentFrames
	if rest > 0 && (n == 0 || 4*rest >= g.SegmentFrames) {
		n++
	}
	return n
}

// Segment returns the frames [first, end) of segment i.
func (g Grid) Segment(i int) (first, end int) {
	first, end = i*g.SegmentFrames, (i+1)*g.SegmentFrames
	if i == g.Segments()-1 {
		end = g.Frames
	}
	return first, end
}

// Segments returns the numbers [first, end) of the segments that u encodes.
func (u VideoUnit) Segments() (first, end int) {
	first, end = u.FirstFrame/u.Grid.SegmentFrames, u.EndFrame/u.Grid.SegmentFrames
	if u.EndFrame == u.Grid.Frames {
		end = u.Grid.Segments()
	}
	return first, end
}

// SegmentName returns the file name of a segment. The longest video that NewPlan
// accepts has more segments than five digits can count, if they are short.
func (c Container) SegmentName(number int) string {
	return fmt.Sprintf("%05d.%s", number, c.extension())
}

func (c Container) extension() string {
	switch c {
	case ContainerCMAF:
		return "m4s"
	case ContainerNUT:
		return "nut"
	}
	return "ts"
}

// Container returns the container of u's segments.
func (u Unit) Container() Container {
	switch {
	case u.Video != nil && u.Video.Container != "":
		return u.Video.Container
	case u.Audio != nil && u.Audio.Container != "":
		return u.Audio.Container
	}
	return ContainerTS
}
