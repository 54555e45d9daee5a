package transcode

import "math"

// What a plan says of a stream before anything is encoded: every segment of it.

// audioRest is how much audio may be left at its end, in seconds, that is planned as no
// segment of its own: what comes of it depends on the last frame.
const audioRest = 0.1

// PlannedSegments returns the segments that a rendition of p will have: their names and
// about how long they are. It returns none for a directory that p has no segments in.
func (p Plan) PlannedSegments(dir string) []Segment {
	segment, all := p.Grid.Seconds(p.Grid.SegmentFrames), p.Grid.Seconds(p.Grid.Frames)
	for _, r := range p.Renditions {
		if r.Name == dir {
			return plannedSegments(p.Grid.Segments(), segment, all, p.Output.SegmentContainer().SegmentName)
		}
	}
	for _, a := range p.AudioRenditions() {
		if a.Dir() == dir {
			n := max(1, int(math.Ceil((a.Seconds-audioRest)/segment)))
			return plannedSegments(n, segment, a.Seconds, p.Output.SegmentContainer().SegmentName)
		}
	}
	for _, s := range p.Subtitles {
		if s.Name == dir {
			u := TextUnit{Seconds: all, SegmentSeconds: segment}
			return plannedSegments(u.Segments(), segment, all, s.Format.SegmentName)
		}
	}
	return nil
}

// plannedSegments returns n segments of equal length, but for the last.
func plannedSegments(n int, length, all float64, name func(int) string) []Segment {
	list := make([]Segment, n)
	for i := range list {
		list[i] = Segment{Name: name(i), Seconds: length}
	}
	if rest := all - float64(n-1)*length; rest > 0 {
		list[n-1].Seconds = rest
	}
	return list
}

// Span returns what of the grid u makes, in seconds.
func (u Unit) Span() (from, to float64) {
	switch {
	case u.Video != nil:
		return u.Video.Grid.Seconds(u.Video.FirstFrame), u.Video.Grid.Seconds(u.Video.EndFrame)
	case u.Audio != nil:
		return float64(u.Audio.First) * u.Audio.SegmentSeconds, u.Audio.PortionEnd()
	}
	return 0, math.Inf(1)
}

func (u Unit) from() float64 {
	from, _ := u.Span()
	return from
}
