package queue

import (
	"errors"
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

// addParts gives a stream parts of a second, each of which is a unit that waits for a worker.
func (b *bench) addParts(s *liveStream, n int) {
	b.t.Helper()
	plan, err := transcode.PlanLive(s.request, theFixture(b.t).probe)
	if err != nil {
		b.t.Fatal(err)
	}
	s.plan = &plan
	err = b.write(b.t.Context(), func(t *transaction) (err error) {
		for i := range n {
			part := transcode.LivePart{Segment: i / plan.SegmentParts, Index: i % plan.SegmentParts, Number: i, Time: time.Now().UnixMilli()}
			for _, u := range plan.VideoUnits(part, (i+1)*plan.Frames, "source.mp4") {
				s.parts = append(s.parts, newLivePart(s, u))
				err = errors.Join(err, t.addUnit(b.t.Context(), s.job, i+1, u))
			}
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// A part that nobody makes in time is left out, also if a worker is at it, and the stream
// goes on behind it. A stream that is kept as a video waits for it.
func TestLiveLate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keep         bool
		listed, gaps int // parts
	}{"usual": {false, 3, 2}, "kept": {true, 0, 0}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, newDirs(t), nil)
			_, err := b.AddLive(t.Context(), transcode.Request{
				Source: sourceName, Name: "show", Live: &transcode.Live{Keep: c.keep}, Output: transcode.Output{Rungs: []transcode.Rung{{Lines: 64}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			s := b.live.named("show")
			b.addParts(s, 3)
			b.gets("pi1", s.job, "ingest")
			taken := b.gets("pi2", s.job, s.parts[0].key.unit)
			s.parts[2].state = done
			for _, step := range []struct {
				after        time.Duration
				listed, gaps int
			}{{0, 0, 0}, {defaultLiveLate + time.Second, c.listed, c.gaps}} {
				if err := b.watchLive(t.Context(), time.Now().Add(step.after)); err != nil {
					t.Fatal(err)
				}
				listed, gaps := 0, 0
				for _, segment := range s.playlist(s.parts[0].Rendition, time.Now()).Segments {
					for _, part := range segment.Parts {
						listed++
						if part.Gap {
							gaps++
						}
					}
				}
				if listed != step.listed || gaps != step.gaps {
					t.Errorf("after %v %d parts are listed, %d of them gaps; want %d and %d", step.after, listed, gaps, step.listed, step.gaps)
				}
			}
			if _, has := b.claims.ofUnits(s.job)[taken.Unit.ID]; has != c.keep {
				t.Errorf("the worker of the first part has it: %v; want %v", has, c.keep)
			}
		})
	}
}
