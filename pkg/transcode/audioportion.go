package transcode

import "math"

// The audio of a stream that is published while it is made is divided into portions, so
// that the first of them is there at once. Each is encoded by a run that begins
// some segments earlier and ends one later, of which it keeps its own: the encoder has
// adapted by the first frame that is kept, and the last one overlaps with what follows.
// Frames of all runs lie on one raster, because runs begin where a segment begins with a
// whole frame.

// A portion is segments [first, end) of an audio rendition; end 0: up to its last.
type portion struct{ first, end int }

const (
	// firstPortionSeconds is how long the first portion of the audio is at least, and each
	// further one is portionGrowth times as long as the one before, up to a limit: players
	// that go to a place wait for the portion that it is in. All are read from the source's
	// beginning, so that portions of a sixth of it cost its reading four times at most.
	firstPortionSeconds = 16
	portionGrowth       = 4
	longPortionSeconds  = 128
	fewPortions         = 6
	// maxLead bounds the segments that a run begins earlier than its portion.
	maxLead = 64
)

// portions divides the audio of a progressive stream; one portion if it cannot be.
func (a AudioUnit) portions() []portion {
	lead := a.Lead()
	all := int(math.Ceil(a.Rendition.Seconds / a.SegmentSeconds))
	if lead == 0 || len(a.Spans) > 0 || len(a.Parts) > 0 || a.CutSeconds > 0 || a.Filter != "" || len(a.Options) > 0 {
		return []portion{{}}
	}
	var portions []portion
	segments := func(seconds float64) int {
		return lead * max(1, int(math.Ceil(seconds/a.SegmentSeconds/float64(lead))))
	}
	length, most := segments(firstPortionSeconds), segments(max(longPortionSeconds, a.Rendition.Seconds/fewPortions))
	for first := 0; ; length = min(length*portionGrowth, most) {
		// A short rest is worth no portion of its own, and the one before needs a segment
		// behind it.
		if first+length+length/2+1 >= all {
			return append(portions, portion{first: first})
		}
		portions = append(portions, portion{first, first + length})
		first += length
	}
}

// Lead returns the number of segments that a run begins before its portion: after as many,
// segments begin with a whole frame again. It is 0 if there are too many.
func (a AudioUnit) Lead() int {
	samples := a.SegmentSeconds * float64(a.Rendition.Rate())
	for n := 1; n <= maxLead; n++ {
		frames := float64(n) * samples / float64(a.Rendition.codec().frameSamples)
		if math.Abs(frames-math.Round(frames)) < 1e-6 {
			return n
		}
	}
	return 0
}

// StartSeconds returns where on the grid the run of a begins, in seconds.
func (a AudioUnit) StartSeconds() float64 {
	if a.First == 0 {
		return 0
	}
	return float64(a.First-a.Lead()) * a.SegmentSeconds
}

// EndSeconds returns where on the grid the run of a ends, in seconds.
func (a AudioUnit) EndSeconds() float64 {
	if a.End == 0 {
		return a.Rendition.Seconds
	}
	return min(float64(a.End+1)*a.SegmentSeconds, a.Rendition.Seconds)
}

// PortionEnd returns where on the grid the last segment of a ends, in seconds.
func (a AudioUnit) PortionEnd() float64 {
	if a.End == 0 {
		return a.Rendition.Seconds
	}
	return float64(a.End) * a.SegmentSeconds
}

// seconds returns how long the segments of a are together.
func (a AudioUnit) seconds() float64 { return a.PortionEnd() - float64(a.First)*a.SegmentSeconds }
