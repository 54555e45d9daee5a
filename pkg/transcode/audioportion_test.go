package transcode

import (
	"math"
	"testing"
)

// Portions follow on each other, and each run begins with a whole frame.
func TestAudioPortions(t *testing.T) {
	for _, tt := range []struct {
		seconds, segment float64
		encoder          string
		portions         int
	}{
		{3, 4, "", 1},
		{1200, 4, "", 8},
		{1200, 4.004, "", 5},
		{1200, 0.5, "libopus", 8},
		{86400, 6, "ac3", 10},
		{1200, 4.0123, "", 1}, // never a whole frame
	} {
		a := AudioUnit{Rendition: AudioRendition{Seconds: tt.seconds, Encoder: tt.encoder}, SegmentSeconds: tt.segment}
		portions := a.portions()
		if len(portions) != tt.portions {
			t.Errorf("%+v: %d portions; want %d", tt, len(portions), tt.portions)
		}
		next := 0
		for i, p := range portions {
			a.First, a.End = p.first, p.end
			frames := a.StartSeconds() * AudioSampleRate / float64(a.Rendition.codec().frameSamples)
			if p.first != next || math.Abs(frames-math.Round(frames)) > 1e-6 || (p.end == 0) != (i == len(portions)-1) {
				t.Errorf("%+v: portion %+v begins at frame %v; want a whole one, of segment %d", tt, p, frames, next)
			}
			next = p.end
		}
	}
}
