package transcode

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Subtitles that are burnt in are part of the picture. Text is drawn by libass, which
// reads a file: a unit of its own lifts the text out of the source first, because text
// is spread over the whole of it. Pictures are read by the units of video themselves,
// from where the one begins that is shown at their first frame.

// A Burn is subtitles that a unit of video draws into its picture.
type Burn struct {
	Later  int    `json:"later,omitempty"`  // by how many frames the text is late there: Grid.LiftedFrames
	File   string `json:"file,omitempty"`   // text, as a LiftUnit has made it: a path in the media share
	Map    string `json:"map,omitempty"`    // pictures: ffmpeg's specifier of their stream
	Width  int    `json:"width"`            // of the picture that they are drawn into; 0: the rendition's
	Height int    `json:"height"`           // of the picture that they are drawn into; 0: the rendition's
	Format string `json:"format"`           // of this picture, by ffmpeg's filter overlay
	Canvas string `json:"canvas,omitempty"` // that pictures are for, where ffmpeg does not see it: WIDTHxHEIGHT
	// Fit says that the pictures are made for a picture of another shape, so that they are
	// fitted into this one.
	Fit bool `json:"fit,omitempty"`
}

// A LiftUnit takes subtitles that are text out of a source, into a Matroska file of
// their own. They are shown Grid.LiftedFrames later there.
type LiftUnit struct {
	Later       float64 `json:"later"`  // those frames in seconds
	Stream      int     `json:"stream"` // place among the source's streams of subtitles
	Codec       string  `json:"codec"`
	SourceStart float64 `json:"source_start"`    // of the grid, in the source's time stamps
	Spans       []Span  `json:"spans,omitempty"` // in place of SourceStart
	File        bool    `json:"file,omitempty"`
}

const (
	// LiftedName is the name of the file of lifted subtitles in its attempt's directory.
	LiftedName = "subtitles.mkv"
	// MaxLiftedBytes bounds lifted subtitles, with the fonts that belong to them.
	MaxLiftedBytes = 256 << 20

	// Libass is the name by which a worker reports that its ffmpeg can draw text.
	Libass = "libass"
)

// LiftedFrames is by how much lifted subtitles are later than the grid: about ten
// seconds, so that no time stamp is negative where a source begins before its grid, and
// what is left out of the source at its beginning.
func (g Grid) LiftedFrames(cutSeconds float64) int {
	return 10*int(math.Ceil(g.Rate.Float())) + int(math.Ceil(cutSeconds*g.Rate.Float()))
}

// An Interval is a stretch of time in seconds after the grid's start.
type Interval struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// PictureSeconds is the time for which a picture of text is shown without an entry in
// SubtitleStream.Long.
const PictureSeconds = 5

// MaxIntervals bounds SubtitleStream.Long.
const MaxIntervals = 256

// burnable are the codecs of subtitles that are pictures, by ffmpeg's names, that can be
// burnt in.
var burnable = []string{"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub"}

// burnt returns the subtitles that r asks to burn in, and their place among the source's;
// -1 if it asks for none. Its errors are meant for the user.
func (r Request) burnt(p Probe) (SubtitleStream, int, error) {
	if r.BurnSubtitles == "" {
		return SubtitleStream{}, -1, nil
	}
	if p.Video == nil {
		return SubtitleStream{}, -1, fmt.Errorf("it has only sound, into which no subtitles can be burnt")
	}
	list, want, found := r.SubtitleStreams(p), Language(r.BurnSubtitles), -1
	for i, s := range list {
		if s.Language == want && (found < 0 || s.burnRank() < list[found].burnRank()) {
			found = i
		}
	}
	if found < 0 {
		return SubtitleStream{}, -1, fmt.Errorf("it has no subtitles in %s to burn in; it has %s", cmp.Or(LanguageName(want), r.BurnSubtitles), namedSubtitles(list))
	}
	s := list[found]
	if s.Image && !slices.Contains(burnable, s.Codec) {
		return s, -1, fmt.Errorf("%s cannot be burnt in: only text, PGS, VobSub and DVB can, and it is %s", s.named("subtitles", found), subtitleKind(s.Codec))
	}
	return s, found, nil
}

// burnRank orders subtitles of one language: those of the whole film come first.
func (s SubtitleStream) burnRank() int {
	rank := 0
	for _, less := range []struct {
		set  bool
		rank int
	}{{s.Commentary, 16}, {s.Forced, 8}, {s.Image && !slices.Contains(burnable, s.Codec), 4}, {s.HearingImpaired, 2}, {!s.Default, 1}} {
		if less.set {
			rank += less.rank
		}
	}
	return rank
}

func namedSubtitles(list []SubtitleStream) string {
	var names []string
	for i, s := range list {
		names = append(names, s.named("subtitles", i))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "; ")
}

// liftUnit returns the unit that lifts s out of its source.
func liftUnit(r Request, p Probe, grid Grid, s SubtitleStream) Unit {
	lift := LiftUnit{Later: grid.Seconds(grid.LiftedFrames(p.CutSeconds)) - p.CutSeconds, Stream: s.Stream, Codec: s.Codec, File: s.File != ""}
	if !lift.File {
		lift.SourceStart = p.Start - p.CutSeconds
	}
	if !lift.File && len(p.Spans) > 0 {
		lift.SourceStart = p.Spans[0].First - p.Spans[0].At - p.CutSeconds
		if lift.Spans = p.appended(); lift.Spans != nil {
			lift.SourceStart = 0
		}
	}
	return Unit{ID: string(KindLift), Kind: KindLift, Source: cmp.Or(s.File, r.Source), Lift: &lift}
}

// burn returns how units draw s; lifted is the file that a LiftUnit made of it.
func burn(r Request, p Probe, grid Grid, o Options, s SubtitleStream, lifted string) *Burn {
	v := *p.Video
	b := &Burn{Format: overlayFormat(r, v, o)}
	if r.custom() {
		width, height := float64(v.Width), float64(v.Height)
		if v.CodedWidth > 0 {
			width, height = float64(v.CodedWidth), float64(v.CodedHeight)
		}
		if w, h, err := filteredSize(o.Filter, width, height); err == nil && o.Filter != "" {
			width, height = w, h
		}
		b.Width, b.Height = int(math.Round(width)), int(math.Round(height))
	}
	if !s.Image {
		b.File, b.Later = lifted, grid.LiftedFrames(p.CutSeconds)
		return b
	}
	b.Map = cmp.Or(s.Map, fmt.Sprintf("0:s:%d", s.Stream))
	if s.Codec == "dvb_subtitle" && s.Width > 0 && s.Height > 0 {
		b.Canvas = fmt.Sprintf("%dx%d", s.Width, s.Height)
	}
	b.Fit = s.Width > 0 && s.Height > 0 && !alike(s.Width, s.Height, v.Width, v.Height) && !alike(s.Width, s.Height, v.CodedWidth, v.CodedHeight)
	return b
}

// alike reports whether two pictures have the same shape, but for rounding.
func alike(width, height, otherWidth, otherHeight int) bool {
	one, other := float64(width)*float64(otherHeight), float64(otherWidth)*float64(height)
	return math.Abs(one-other) <= 0.02*max(one, other)
}

// overlayFormat returns the format in which ffmpeg's filter overlay keeps the most of what
// the encoder gets.
func overlayFormat(r Request, v VideoStream, o Options) string {
	if !r.custom() {
		return "" // follows from the rendition
	}
	name := v.PixelFormat
	if i := slices.Index(o.Video, "-pix_fmt:v"); i >= 0 && i+1 < len(o.Video) {
		name = o.Video[i+1]
	}
	format := "yuv420"
	switch {
	case v.rgb() && name == v.PixelFormat:
		return "gbrp"
	case strings.Contains(name, "444"):
		return "yuv444"
	case strings.Contains(name, "422"):
		format = "yuv422"
	}
	if bits(name) > 8 {
		format += "p10"
	}
	return format
}

// readsFrom returns the time at which reading has to begin for what s shows at this time.
func (s SubtitleStream) readsFrom(seconds float64) float64 {
	const margin = 0.5 // more than containers round
	from := seconds - max(PictureSeconds, s.PrerollSeconds)
	for _, i := range s.Long {
		if i.From <= seconds && i.To >= seconds {
			from = min(from, i.From)
		}
	}
	return from - margin
}

// checkLift looks at lifted subtitles.
func checkLift(r Result) error {
	if len(r.Segments) != 1 {
		return fmt.Errorf("%d files of subtitles; want one", len(r.Segments))
	}
	return checkSegmentFile(r.Segments[0], LiftedName, MaxLiftedBytes)
}

// sane reports whether what a worker read about when subtitles are shown is possible.
func (s SubtitleStream) sane() bool {
	impossible := func(i Interval) bool {
		return !(math.Abs(i.From) <= maxStart) || !(math.Abs(i.To) <= maxStart) || i.To < i.From
	}
	return mapOfStream.MatchString(s.Map) && within(s.Width, 1<<16) && within(s.Height, 1<<16) && sane(s.PrerollSeconds, maxStart) &&
		len(s.Long) <= MaxIntervals && !slices.ContainsFunc(s.Long, impossible)
}
