package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
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
	// maxChunkSeconds bounds a video unit of one rendition. One of several
	// renditions is as much shorter as they are more work.
	maxChunkSeconds = 60
	// minChunkSeconds bounds it from below: the start of ffmpeg, and what it
	// reads before the first frame, would cost more than is won.
	minChunkSeconds = 8
	// fewWorkers are planned for where nobody knows how many there are.
	fewWorkers = 4
	// manyWorkers are so many that their speeds will differ a lot.
	manyWorkers = 16
	// apartSeconds is the length from which on a unit makes all renditions. A
	// shorter source is better shared by renditions than by time.
	apartSeconds = 20
	// minPreroll is how long before its first frame a unit at least reads, beside
	// the longest time between two key frames: the grid needs the frame that is
	// shown before it.
	minPreroll = 1
)

// NewPlan cuts the source that p describes into units for this many workers; 0
// if that is not known. Its errors are meant for the user who asked.
func NewPlan(r Request, p Probe, workers int) (Plan, error) {
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
	if p.Audio != nil && !options.NoAudio {
		// First: it cannot be cut, and nobody should wait for it in the end.
		plan.Audio = audioRendition(r.Output, p)
		plan.Units = append(plan.Units, audioUnit(r, p, grid, *plan.Audio, options))
	}
	groups := together(plan, cmp.Or(options.Encoder, r.encoder()), len(r.Options) > 0)
	most, least := chunkSegments(grid, groups, preroll(*p.Video))
	if workers <= 0 {
		workers = fewWorkers
	}
	cuts := cut(grid.Segments(), most, least, workers)
	plan.Units = append(plan.Units, videoUnits(r, p, grid, groups, options, cuts)...)
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

// together returns the renditions by the units that make them. libx264 makes
// all of them at once: the source is decoded once then, and not once for each,
// which is a fifth of the work. Other encoders are so slow that this would save
// nothing, or have room for few streams.
func together(p Plan, encoder string, custom bool) [][]Rendition {
	long := p.Grid.Seconds(p.Grid.Frames) >= apartSeconds
	if long && encoder == EncoderX264 && !custom {
		return [][]Rendition{p.Renditions}
	}
	var each [][]Rendition
	for _, r := range p.Renditions {
		each = append(each, []Rendition{r})
	}
	return each
}

// chunkSegments returns how many segments a unit has at most, and at least.
func chunkSegments(g Grid, together [][]Rendition, preroll float64) (most, least int) {
	work, segment := 1.0, g.Seconds(g.SegmentFrames)
	for _, group := range together {
		work = max(work, float64(pixels(group))/float64(max(pixels(group[:1]), 1)))
	}
	most = max(int(maxChunkSeconds/work/segment), 1)
	return most, min(int(math.Ceil(max(minChunkSeconds, preroll)/segment)), most)
}

func pixels(renditions []Rendition) int {
	n := 0
	for _, r := range renditions {
		n += r.Width * r.Height
	}
	return n
}

// cut returns the numbers of segments that units begin with, and of all. The
// units become shorter towards the end, so that workers of whatever speed have
// nothing left to do at about the same time: each is a half of what would be
// left for one worker, or with many workers a third. Among many is one that is
// much slower than the others, and its first unit must not outlast all of them.
func cut(segments, most, least, workers int) []int {
	parts := 2 * workers
	if workers >= manyWorkers {
		parts = 3 * workers
	}
	cuts := []int{0}
	for begin := 0; begin < segments; cuts = append(cuts, begin) {
		left := segments - begin
		begin += min(max((left+parts-1)/parts, least), most, left)
		if segments-begin < least {
			begin = segments
		}
	}
	return cuts
}

// videoUnits makes units of each group of renditions from cut to cut.
func videoUnits(r Request, p Probe, grid Grid, together [][]Rendition, o Options, cuts []int) []Unit {
	var units []Unit
	for i, end := range cuts[1:] {
		first, _ := grid.Segment(cuts[i])
		_, endFrame := grid.Segment(end - 1)
		for _, group := range together {
			id := fmt.Sprintf("v-%s-%04d", group[0].Name, i)
			if len(group) > 1 {
				id = fmt.Sprintf("v-%04d", i)
			}
			units = append(units, Unit{ID: id, Kind: KindVideo, Source: r.Source, Video: &VideoUnit{
				Rendition:    group[0],
				Others:       group[1:],
				Grid:         grid,
				FirstFrame:   first,
				EndFrame:     endFrame,
				SourceStart:  p.Start,
				SeekSeconds:  max(grid.Seconds(first)-preroll(*p.Video), 0),
				SourceCodec:  p.Video.Codec,
				Deinterlaced: p.Video.Interlaced,
				Container:    r.unitContainer(),
				Encoder:      cmp.Or(o.Encoder, r.encoder()),
				Custom:       len(r.Options) > 0,
				Filter:       o.Filter,
				Options:      o.Video,
			}})
		}
	}
	return units
}

// preroll returns how long before its first frame a unit begins to read: so
// early that a key frame lies between, and the frame that the source shows at
// that time.
func preroll(v VideoStream) float64 {
	return minPreroll + max(v.MaxGOPSeconds, v.MaxGapSeconds)
}
