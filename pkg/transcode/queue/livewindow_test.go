package queue

import (
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// windowed returns a stream of an hour that ends now, in segments of four parts of a second.
func windowed(now time.Time, l transcode.Live) *liveStream {
	s := newLiveStream(1, transcode.Request{Live: &l})
	s.plan = &transcode.LivePlan{SegmentParts: 4}
	const parts = 60 * 60
	for i := range parts {
		part := transcode.LivePart{Rendition: "90p", Segment: i / 4, Index: i % 4, Number: i, Time: now.Add(time.Duration(i-parts) * time.Second).UnixMilli()}
		s.parts = append(s.parts, &livePart{LivePart: part, seconds: 1, state: done})
	}
	return s
}

// What has left the window stays for players that are about to read it, in whole segments,
// and is then removed: playlist, units and files are bounded however long a stream lasts.
func TestLiveWindow(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		live         transcode.Live
		listed, kept int // seconds
	}{
		"usual":       {transcode.Live{}, 30, 30 + 60},
		"ten minutes": {transcode.Live{DVRSeconds: 600}, 600, 600 + 60},
		"longer":      {transcode.Live{DVRSeconds: 7200}, 3600, 3600},
		"kept":        {transcode.Live{Keep: true}, 30, 3600},
	} {
		s := windowed(now, c.live)
		list := s.playlist("90p", now)
		listed := 0.0
		for _, segment := range list.Segments {
			listed += segment.Seconds()
		}
		if d := int(listed) - c.listed; d < 0 || d > 4 {
			t.Errorf("%s: %v s are listed; want %d, in whole segments", name, listed, c.listed)
		}
		left := s.leaving(now)
		if d := 3600 - len(left) - c.kept; d < 0 || d > 4 || len(left)%4 != 0 {
			t.Errorf("%s: %d s leave; want %d kept, in whole segments", name, len(left), c.kept)
		}
		if n := len(left); n > 0 && left[n-1].Segment >= list.Segments[0].Number {
			t.Errorf("%s: segment %d leaves, and the playlist begins with %d", name, left[n-1].Segment, list.Segments[0].Number)
		}
	}
}
