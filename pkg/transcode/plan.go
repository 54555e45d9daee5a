package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Limits of what can be planned.
const (
	minSide           = 16
	maxSide           = 8192
	maxSeconds        = 24 * 60 * 60 // a PTS wraps after 26.5 hours
	maxRate           = 1000         // frames per second of a source
	minSegmentSeconds = 1
	maxSegmentSeconds = 20
	maxStart          = 1e6 // seconds; broadcast recordings start anywhere
)

const (
	defaultSegmentSeconds = 4
	// maxChunkSeconds bounds a video unit. A source longer than that is cut
	// evenly, so that no unit is shorter than half of it.
	maxChunkSeconds = 60
	// minPreroll is how long before its first frame a unit at least reads: the
	// decoder needs a key frame, and the grid the frame shown before it.
	minPreroll = 5
)

// NewPlan cuts the source that p describes into units. Its errors are meant
// for the user who asked.
func NewPlan(r Request, p Probe) (Plan, error) {
	if err := plannable(p); err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	grid, err := newGrid(r, p)
	if err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	if err := r.Check(); err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	options, err := ParseOptions(r.Format, r.Options)
	if err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	plan := Plan{Output: r.Output, Grid: grid}
	if options.Whole != "" {
		plan.Note = "one worker does the whole video: " + options.Whole
		plan.Units = []Unit{wholeUnit(r, grid, options)}
		return plan, nil
	}
	plan.Renditions = Ladder(r.Output, p)
	for _, rendition := range plan.Renditions {
		plan.Units = append(plan.Units, videoUnits(r, p, grid, rendition, options)...)
	}
	if p.Audio != nil && !options.NoAudio {
		plan.Audio = audioRendition(r.Output, p)
		plan.Units = append(plan.Units, audioUnit(r, p, grid, *plan.Audio, options))
	}
	return plan, nil
}

// wholeUnit is all of a job that cannot be cut.
func wholeUnit(r Request, grid Grid, o Options) Unit {
	whole := WholeUnit{Format: r.Format, Options: o.All, TwoPass: o.TwoPass, Frames: grid.Frames}
	if !o.Trimmed {
		whole.Seconds = grid.Seconds(grid.Frames)
	}
	return Unit{ID: string(KindWhole), Kind: KindWhole, Source: r.Source, Whole: &whole}
}

// plannable says what keeps p from being planned, if anything does.
func plannable(p Probe) error {
	v := p.Video
	if v == nil {
		return errors.New("it has no video")
	}
	if v.Width < minSide || v.Width > maxSide || v.Height < minSide || v.Height > maxSide {
		return fmt.Errorf("its picture is %dx%d; want %d to %d on each side", v.Width, v.Height, minSide, maxSide)
	}
	if rate := v.Rate.Float(); rate <= 0 || rate > maxRate {
		return fmt.Errorf("its frame rate is %v; want more than 0 and at most %d", v.Rate, maxRate)
	}
	if seconds := videoSeconds(p); !(seconds > 0 && seconds <= maxSeconds) {
		return fmt.Errorf("its video is %.1f s long; want more than 0 and at most %d", seconds, maxSeconds)
	}
	if p.Audio != nil {
		if seconds := audioSeconds(p); !(seconds > 0 && seconds <= maxSeconds) {
			return fmt.Errorf("its audio is %.1f s long; want more than 0 and at most %d", seconds, maxSeconds)
		}
	}
	if !(math.Abs(p.Start) <= maxStart) {
		return fmt.Errorf("its first time stamp is %v s; want %g at most", p.Start, maxStart)
	}
	return nil
}

// videoSeconds returns when p's last frame ends; the container's duration
// stands in where the frames were not looked at.
func videoSeconds(p Probe) float64 {
	if p.Video.EndSeconds > 0 {
		return p.Video.EndSeconds
	}
	return p.Seconds
}

func newGrid(r Request, p Probe) (Grid, error) {
	segment := r.SegmentSeconds
	if segment == 0 {
		segment = defaultSegmentSeconds
	}
	if !(segment >= minSegmentSeconds && segment <= maxSegmentSeconds) {
		return Grid{}, fmt.Errorf("segments of %v s were asked for; want %d to %d", segment, minSegmentSeconds, maxSegmentSeconds)
	}
	rate := nearestRate(p.Video.Rate)
	return Grid{
		Rate:          rate,
		SegmentFrames: max(int(math.Round(segment*rate.Float())), 1),
		Frames:        max(int(math.Round(videoSeconds(p)*rate.Float())), 1),
	}, nil
}

// videoUnits cuts one rendition into units of whole segments.
func videoUnits(r Request, p Probe, grid Grid, rendition Rendition, o Options) []Unit {
	segments := grid.Segments()
	most := max(int(maxChunkSeconds/grid.Seconds(grid.SegmentFrames)), 1)
	chunks := (segments + most - 1) / most
	units := make([]Unit, chunks)
	for i := range units {
		first, _ := grid.Segment(i * segments / chunks)
		_, end := grid.Segment((i+1)*segments/chunks - 1)
		units[i] = Unit{
			ID:     fmt.Sprintf("v-%s-%04d", rendition.Name, i),
			Kind:   KindVideo,
			Source: r.Source,
			Video: &VideoUnit{
				Rendition:    rendition,
				Grid:         grid,
				FirstFrame:   first,
				EndFrame:     end,
				SourceStart:  p.Start,
				SeekSeconds:  seekSeconds(grid.Seconds(first), *p.Video),
				SourceCodec:  p.Video.Codec,
				Deinterlaced: p.Video.Interlaced,
				Container:    r.unitContainer(),
				Encoder:      cmp.Or(o.Encoder, r.encoder()),
				Custom:       len(r.Options) > 0,
				Filter:       o.Filter,
				Options:      o.Video,
			},
		}
	}
	return units
}

// seekSeconds returns where to begin to read for a frame shown at this time: so
// early that a key frame lies between, and the frame that the source shows at
// that time.
func seekSeconds(at float64, v VideoStream) float64 {
	preroll := slices.Max([]float64{minPreroll, v.MaxGOPSeconds, v.MaxGapSeconds + 1})
	return max(at-preroll, 0)
}
