package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Limits of a plan.
const (
	minSide           = 16
	maxSide           = 8192
	maxSeconds        = 24 * 60 * 60 // a PTS wraps after 26.5 hours
	maxRate           = 1000         // frames per second of a source
	minSegmentSeconds = 0.5
	maxSegmentSeconds = 30
	maxStart          = 1e6 // seconds; broadcast recordings start at any time stamp
)

const (
	defaultSegmentSeconds = 4
	// maxChunkSeconds is the maximum length of a video unit with one rendition. A
	// unit with several renditions is shorter in proportion to their work.
	maxChunkSeconds = 60
	// minChunkSeconds is the minimum length. A shorter unit would lose more to the
	// start of ffmpeg and to its preroll than it gains.
	minChunkSeconds = 8
	// fewWorkers is the number of workers that a plan assumes if it is unknown.
	fewWorkers = 4
	// manyWorkers is the number from which on the speeds of workers are assumed to
	// differ a lot.
	manyWorkers = 16
	// apartSeconds is the length of source from which on a unit makes all
	// renditions. A shorter source is divided by renditions rather than by time.
	apartSeconds = 20
	// minPreroll is the minimum time in seconds that a unit reads before its first
	// frame: the grid needs the frame that is shown before it.
	minPreroll = 1
)

// A Division says how finely a plan is divided into units.
type Division struct {
	Workers      int     // 0: their number is unknown
	LeastSeconds float64 // of a unit of video; 0 means 8 s, or the time to the last key frame before it if that is longer
	// Lifted is the file that a LiftUnit has made, in the media share; "": none has.
	Lifted string
	// Tried is what trials have shown of a video with a quality; nil: there were none yet.
	Tried []TriedRendition
	// Untried plans such a video by the usual bitrates, to show what there is to choose from.
	Untried bool
	// Begun is what was planned before all of the source was known; nil: nothing.
	Begun *Plan
}

// NewPlan divides the source that p describes into units for this many workers; 0
// means that their number is unknown. Its errors are meant for the user.
func NewPlan(r Request, p Probe, workers int) (Plan, error) {
	return Division{Workers: workers}.Plan(r, p)
}

// Plan divides the source that p describes into units. Its errors are meant for the
// user.
func (d Division) Plan(r Request, p Probe) (Plan, error) {
	if err := plannable(p); err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	if err := r.Check(); err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	input, err := ParseInputOptions(r.InputOptions)
	if err == nil {
		p, err = input.apply(p)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	if p.Video == nil && r.IsFile() {
		return Plan{}, fmt.Errorf("planning %q: it has only sound, of which a stream can be made; an %s file needs video", r.Source, r.Format)
	}
	options, err := planOptions(r, p)
	if err == nil {
		p, err = options.trim(p)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	grid, err := newGrid(r, p, options.Rate)
	if err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	if options.Frames > 0 {
		grid.Frames = min(grid.Frames, options.Frames)
	}
	own := grid
	if !r.IsFile() && p.Video != nil && p.Audio != nil && r.Audio != AudioNone {
		grid = grid.playable(options.Rate.Num > 0 || r.MaxFPS > 0)
	}
	options.setKeys(grid)
	plan := Plan{Output: r.Output, Grid: grid}
	subtitles, burnt, err := r.burnt(p)
	if err == nil && burnt >= 0 && options.Encoder == EncoderCopy {
		err = errors.New("subtitles cannot be burnt into a video that is copied; want -c:v libx264")
	}
	if err != nil {
		return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
	}
	if burnt >= 0 && !subtitles.Image && d.Lifted == "" {
		plan.Units = []Unit{liftUnit(r, p, grid, subtitles)}
		return plan, nil
	}
	if longer := grid.Seconds(grid.Frames); longer > own.Seconds(own.Frames)+0.001 {
		plan.note("the last picture stands still until %.2g s: browsers do not play shorter streams with sound", longer)
	}
	plan.noteTracks(p)
	plan.noteGaps(p, options)
	plan.noteSubtitles(r.SubtitleStreams(p), burnt)
	if options.Rate.Num == 0 && p.Video != nil && !options.Free {
		plan.noteRate(r, *p.Video)
	}
	if options.Whole != "" {
		plan.note("one worker does the whole video: %s", options.Whole)
	}
	plan.Renditions = ladders(r.Output, p)
	plan.noteRungs(r.Output, p)
	if !options.NoAudio && r.Audio != AudioNone {
		plan.addAudio(r, p, options)
	}
	if !options.NoSubtitles {
		plan.addSubtitles(r, p, burnt)
	}
	plan.addTexts(p, options)
	if p.Video == nil {
		plan.addCover(r, p)
		return plan, nil
	}
	toneMap := plan.paint(r, *p.Video, options)
	plan.notePartColors(p)
	switch {
	case r.Quality > 0 && d.Untried:
		plan.note("quality %d: which of these renditions there are, and their bitrates, follow from trials when the job runs", r.Quality)
	case r.Quality > 0 && d.Tried == nil:
		return Plan{Output: plan.Output, Grid: plan.Grid, Note: plan.Note, Units: plan.trials(r, p, options, toneMap)}, nil
	case r.Quality > 0:
		if err := plan.choose(r, p, options, d.Tried); err != nil {
			return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
		}
	}
	plan.passOnCaptions(r, *p.Video, p.Audio, options)
	groups := together(plan, r, options)
	most, least := chunkSegments(grid, groups, cmp.Or(d.LeastSeconds, max(minChunkSeconds, p.Video.prerollSeconds())))
	cuts := cut(grid.Segments()-d.head(), most, least, cmp.Or(max(d.Workers, 0), fewWorkers))
	switch {
	case d.head() > 0:
		cuts = cutHead(d.head(), grid.fewestSegments(), most, cuts)
	case r.Progressive:
		cuts = cutBegin(cuts, grid.fewestSegments())
	}
	cuts = plan.cutTail(cuts, groups, r, options)
	if options.Whole != "" {
		cuts = []int{0, grid.Segments()}
	}
	units := videoUnits(r, p, grid, groups, options, cuts)
	for _, u := range units {
		u.Video.ToneMap = toneMap && u.Video.Rendition.VideoRange == ""
		u.Video.Captions, u.Video.NoCaptions = len(plan.Captions) > 0, len(plan.Captions) == 0
		if burnt >= 0 {
			u.Video.burn(p, burn(r, p, grid, options, subtitles, d.Lifted), subtitles)
		}
	}
	plan.Units = append(plan.Units, units...)
	plan.addPictures(r, p, d.head()*grid.SegmentFrames)
	plan.Units = AddSurveys(plan.Units)
	if r.Progressive {
		slices.SortStableFunc(plan.Units, func(a, b Unit) int { return cmp.Compare(a.from(), b.from()) })
	}
	for _, u := range plan.Units {
		if u.Video != nil && options.Whole != "" {
			u.Video.Container, u.Video.Free, u.Video.Rendition.TwoPass = ContainerNUT, options.Free, options.TwoPass
			u.Video.CutSeconds = p.CutSeconds
		}
	}
	if d.Begun != nil {
		if err := plan.continueHead(*d.Begun); err != nil {
			return Plan{}, fmt.Errorf("planning %q: %w", r.Source, err)
		}
	}
	return plan, nil
}

// head returns the number of segments that were planned before.
func (d Division) head() int {
	if d.Begun == nil {
		return 0
	}
	return d.Begun.Head
}

// custom reports whether only ffmpeg's options set the quality of r's video.
func (r Request) custom() bool { return r.IsFile() && len(r.Options) > 0 }

// planOptions returns the options of a request, checked against this source.
func planOptions(r Request, p Probe) (Options, error) {
	options, err := ParseOptions(r.Format, r.Options)
	if err == nil && options.Filter != "" && p.Video != nil {
		_, _, err = filteredSize(options.Filter, float64(p.Video.Width), float64(p.Video.Height))
	}
	if err == nil {
		err = options.choose(p)
	}
	return options, err
}

// addAudio adds the audio renditions and their units. These come first: they cannot
// be divided, and nobody should have to wait for them at the end.
func (p *Plan) addAudio(r Request, probe Probe, o Options) {
	if o.AudioTracks != nil {
		r.AudioTracks, r.AudioLangs = o.AudioTracks, nil
	}
	renditions := audioRenditions(r, probe, p.chosenAudio(r.Output, probe))
	if len(renditions) == 0 {
		return
	}
	for i := range renditions {
		encoder, rate := cmp.Or(o.AudioEncoder, r.audioEncoder()), o.AudioRate
		if _, known := audioCodecs()[encoder]; !known && rate == 0 {
			rate = probe.audioAt(renditions[i].Stream).SampleRate
		}
		renditions[i].use(encoder, rate)
	}
	p.Audio, p.MoreAudio = &renditions[0], renditions[1:]
	p.Units = append(p.Units, audioUnits(r, probe, p.Grid, renditions, o)...)
}

// addTexts adds the source's chapters and tags, unless they are unwanted.
func (p *Plan) addTexts(probe Probe, o Options) {
	if !o.NoChapters {
		p.Chapters = probe.Chapters
	}
	if !o.NoMetadata {
		p.Tags = probe.Tags
	}
}

// note adds a sentence to what the user should know of the plan, once.
func (p *Plan) note(format string, args ...any) {
	sentence := fmt.Sprintf(format, args...)
	switch {
	case p.Note == "":
		p.Note = sentence
	case !slices.Contains(strings.Split(p.Note, "\n"), sentence):
		p.Note += "\n" + sentence
	}
}

// noteRate notes that frames are left out because there are too many.
func (p *Plan) noteRate(r Request, v VideoStream) {
	source, rate := usualRate(r.rate(v)).Float(), p.Grid.Rate.Float()
	if rate < 0.99*source {
		most := cmp.Or(r.MaxFPS, DefaultMaxFPS)
		p.note("%.4g of %.4g frames per second are kept: more than %g need --max-fps", rate, source, most)
	}
}

// plannable returns an error if p cannot be planned.
func plannable(p Probe) error {
	if p.Video == nil && p.Audio == nil {
		return errors.New("it has neither video nor sound")
	}
	if v := p.Video; v != nil {
		if err := plannableVideo(p, *v); err != nil {
			return err
		}
	}
	for _, a := range p.AudioStreams() {
		if seconds := audioSeconds(p, a); !(seconds > 0 && seconds <= maxSeconds) {
			return fmt.Errorf("its audio is %.1f s long; want more than 0 and at most %d", seconds, maxSeconds)
		}
	}
	if !(math.Abs(p.Start) <= maxStart) {
		return fmt.Errorf("its first time stamp is %v s; want %g at most", p.Start, maxStart)
	}
	return nil
}

func plannableVideo(p Probe, v VideoStream) error {
	if v.Width == 0 || v.Height == 0 {
		return fmt.Errorf("its video (%s) has no picture that ffmpeg can decode", v.Codec)
	}
	if v.Width < minSide || v.Width > maxSide || v.Height < minSide || v.Height > maxSide {
		return fmt.Errorf("its picture is %dx%d; want %d to %d on each side", v.Width, v.Height, minSide, maxSide)
	}
	if rate := v.Rate.Float(); rate <= 0 || rate > maxRate {
		return fmt.Errorf("its frame rate is %v; want more than 0 and at most %d", v.Rate, maxRate)
	}
	if err := plannableColor(v.Color); err != nil {
		return err
	}
	if seconds := videoSeconds(p); !(seconds > 0 && seconds <= maxSeconds) {
		return fmt.Errorf("its video is %.1f s long; want more than 0 and at most %d", seconds, maxSeconds)
	}
	return nil
}

// videoSeconds returns the end of p's last frame, or the container's duration if
// the frames were not examined.
func videoSeconds(p Probe) float64 {
	if p.Video.EndSeconds > 0 {
		return p.Video.EndSeconds
	}
	return p.Seconds
}

// soundRate is the rate of the grid of a source without video, from which only its
// length and that of segments follow.
var soundRate = Rational{25, 1}

// newGrid returns the grid of a source at this rate; 0 means the rate nearest to its
// own.
func newGrid(r Request, p Probe, rate Rational) (Grid, error) {
	segment := r.SegmentSeconds
	if segment == 0 {
		segment = defaultSegmentSeconds
	}
	seconds := 0.0
	if p.Video == nil {
		rate, seconds = soundRate, audioSeconds(p, *p.Audio)
	} else {
		rate, seconds = cmp.Or(rate, gridRate(r.rate(*p.Video), cmp.Or(r.MaxFPS, DefaultMaxFPS))), videoSeconds(p)
	}
	return Grid{
		Rate:          rate,
		SegmentFrames: max(int(math.Round(segment*rate.Float())), 1),
		Frames:        max(int(math.Round(seconds*rate.Float())), 1),
	}, nil
}

// together groups the renditions by the units that make them. libx264 makes all of
// them at once, because decoding the source once and not once for each rendition
// saves a fifth of the work. Other encoders are so slow that this would save
// nothing, or support only a few streams.
func together(p Plan, r Request, o Options) [][]Rendition {
	long := p.Grid.Seconds(p.Grid.Frames) >= apartSeconds
	var groups [][]Rendition
	for _, rendition := range p.Renditions {
		last := len(groups) - 1
		shared := long && !r.custom() && encoderFor(r, o, rendition) == EncoderX264
		if shared && last >= 0 && groups[last][0].Codec == rendition.Codec {
			groups[last] = append(groups[last], rendition)
		} else {
			groups = append(groups, []Rendition{rendition})
		}
	}
	return groups
}

// encoderFor returns the encoder of a rendition.
func encoderFor(r Request, o Options, rendition Rendition) string {
	return cmp.Or(o.Encoder, r.of(cmp.Or(rendition.Codec, r.codec())).encoder())
}

// cutTail makes a unit of the last segment alone if it is longer than the others and an
// encoder would make a key frame within it.
func (p *Plan) cutTail(cuts []int, groups [][]Rendition, r Request, o Options) []int {
	last := p.Grid.Segments() - 1
	first, end := p.Grid.Segment(last)
	fixed := func(group []Rendition) bool { return fixedKeys(encoderFor(r, o, group[0])) }
	if end-first <= p.Grid.SegmentFrames || slices.Contains(cuts, last) || !slices.ContainsFunc(groups, fixed) {
		return cuts
	}
	return slices.Insert(cuts, len(cuts)-1, last)
}

// chunkSegments returns the maximum and the minimum number of segments of a unit
// that lasts for at least this long, if it can.
func chunkSegments(g Grid, together [][]Rendition, shortest float64) (most, least int) {
	work, segment := 1.0, g.Seconds(g.SegmentFrames)
	for _, group := range together {
		work = max(work, float64(pixels(group))/float64(max(pixels(group[:1]), 1)))
	}
	fewest := g.fewestSegments()
	most = max(int(maxChunkSeconds/work/segment), fewest)
	return most, max(min(int(math.Ceil(shortest/segment)), most), fewest)
}

// reordered is more frames than an encoder delays to reorder them. One that gets fewer does not
// delay them, which its initialization section says.
const reordered = 4

// fewestSegments returns how many segments a unit has at least, so that it has frames enough,
// though the last segment may have but a quarter of the others' frames.
func (g Grid) fewestSegments() int {
	if g.SegmentFrames >= 4*reordered {
		return 1
	}
	return 1 + (reordered+g.SegmentFrames-1)/g.SegmentFrames
}

func pixels(renditions []Rendition) int {
	n := 0
	for _, r := range renditions {
		n += r.Width * r.Height
	}
	return n
}

// cut returns the numbers of the segments at which units start, and then the number
// of all segments. Units become shorter towards the end, so that workers of any
// speed finish at about the same time: each unit is half of one worker's share of
// the rest, or a third if there are many workers. One of many workers is much
// slower than the others, and its first unit must not outlast all of theirs.
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

// cutBegin cuts the first units of a progressive stream short: one of the fewest segments, the
// next one of twice as many, and so on, until they are as long as the others.
func cutBegin(cuts []int, fewest int) []int {
	var begin []int
	for next, length := 0, fewest; ; length *= 2 {
		i, found := slices.BinarySearch(cuts, next)
		if !found {
			i--
		}
		if i+1 >= len(cuts) || cuts[i+1]-next <= length {
			if !found && cuts[i+1]-next >= fewest {
				begin = append(begin, next)
			}
			if !found {
				i++
			}
			return append(begin, cuts[i:]...)
		}
		begin = append(begin, next)
		next += length
	}
}

// videoUnits returns the units of each group of renditions, divided at cuts.
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
			video := VideoUnit{
				Rendition:     group[0],
				Others:        group[1:],
				Grid:          grid,
				FirstFrame:    first,
				EndFrame:      endFrame,
				SourceStart:   p.Start + p.Video.DelaySeconds,
				SourceCodec:   p.Video.Codec,
				Map:           p.Video.Map,
				Deinterlaced:  p.Video.Interlaced && r.Deinterlace != DeinterlaceOff,
				Fields:        r.fields(*p.Video),
				Aspect:        float64(p.Video.Width) / float64(p.Video.Height),
				Color:         p.Video.Color,
				FullRange:     p.Video.full(),
				MaxGapSeconds: min(p.Video.MaxGapSeconds, pauseSeconds),
				Still:         p.Video.Still,
				RGB:           p.Video.rgb(),
				SourceWidth:   p.Video.CodedWidth,
				SourceHeight:  p.Video.CodedHeight,
				Container:     r.unitContainer(),
				Encoder:       encoderFor(r, o, group[0]),
				Custom:        r.custom(),
				Filter:        o.Filter,
				Options:       o.Video,
			}
			from := max(grid.Seconds(first)-p.PrerollSeconds(), -p.CutSeconds)
			if len(p.Parts) > 0 {
				video.Parts, video.SourceCodec, video.Deinterlaced = r.videoParts(p, from, grid.Seconds(endFrame)), "", false
			} else {
				video.readFrom(p, from)
			}
			units = append(units, Unit{ID: id, Kind: KindVideo, Source: r.Source, Video: &video})
		}
	}
	return units
}

// readFrom sets where in the source reading begins, so that what is shown at this
// time is read.
func (u *VideoUnit) readFrom(p Probe, seconds float64) {
	u.SkipBytes = 0
	if len(p.Spans) == 0 {
		u.SeekSeconds = seconds + p.CutSeconds
		return
	}
	u.Spans, u.Untimed, u.Slow = slices.Clone(p.Spans), p.Untimed, p.Video.Slow
	defer func() {
		for i := range u.Spans {
			u.Spans[i].At -= p.Video.DelaySeconds
		}
	}()
	for _, e := range p.Entries {
		if e.Seconds > seconds {
			break
		}
		u.SkipBytes, u.Spans = e.Bytes, slices.Clone(p.Spans[e.Span:])
		if p.Untimed {
			u.Spans = []Span{{At: e.Seconds}}
			continue
		}
		u.Spans[0] = Span{First: e.Stamp, At: u.Spans[0].At + e.Stamp - u.Spans[0].First}
	}
}

// burn has u draw subtitles.
func (u *VideoUnit) burn(p Probe, b *Burn, s SubtitleStream) {
	u.Burn = b
	first := u.Grid.Seconds(u.FirstFrame)
	switch {
	case b.Map != "" && len(u.Parts) > 0:
		u.burnParts(p, s, first)
	case b.Map != "":
		u.readFrom(p, max(min(first-p.PrerollSeconds(), s.readsFrom(first)), -p.CutSeconds))
	}
}

// PrerollSeconds returns how long before its first frame a unit must start to read, so
// that a key frame lies between, and the frame that the source shows at that time. Where
// ffmpeg has an index, it goes back to a key frame by itself, and what it would decode
// besides is spared: of a film with a key frame every ten seconds, as much as that. The
// index of a damaged one cannot be trusted.
func (p Probe) PrerollSeconds() float64 {
	if p.indexed() && !p.Damaged && len(p.Parts) == 0 && len(p.Spans) == 0 {
		return minPreroll + p.Video.MaxGapSeconds
	}
	return p.Video.prerollSeconds()
}

// prerollSeconds is the same for a source of which only packets are known.
func (v VideoStream) prerollSeconds() float64 {
	return minPreroll + max(v.MaxGOPSeconds, v.MaxGapSeconds)
}

// indexed reports whether the container says where its key frames are.
func (p Probe) indexed() bool {
	return strings.Contains(p.Format, "mp4") || strings.Contains(p.Format, "matroska")
}
