package transcode

import (
	"fmt"
	"math"

	"pibootd/pkg/transcode/mediafile"
)

// StartPTS is the presentation time of frame 0 in 90 kHz ticks: 10 s, so that no
// decode time before the first frame is negative.
const StartPTS = 10 * mediafile.TicksPerSecond

// gridRates are the possible frame rates of a grid: those of television and film,
// and the low rates of cameras and screen recordings, whose frames a higher rate
// would only duplicate.
var gridRates = []Rational{
	{1, 1}, {2, 1}, {5, 1}, {10, 1}, {12, 1}, {25, 2}, {15, 1}, {24000, 1001}, {24, 1}, {25, 1},
	{30000, 1001}, {30, 1}, {50, 1}, {60000, 1001}, {60, 1},
}

// nearestRate returns the grid rate nearest to r; of two, the higher, which loses
// no frame.
func nearestRate(r Rational) Rational {
	best := gridRates[0]
	for _, rate := range gridRates {
		if math.Abs(rate.Float()-r.Float()) <= math.Abs(best.Float()-r.Float()) {
			best = rate
		}
	}
	return best
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
	if c == ContainerCMAF {
		return "m4s"
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
