package transcode

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
)

// A TextFormat is the format of subtitles that are text, and the extension of their
// files.
type TextFormat string

// The formats. Streams have WebVTT. Files are joined from the others.
const (
	TextVTT TextFormat = "vtt"
	TextSRT TextFormat = "srt"
	TextASS TextFormat = "ass" // of Matroska only, to keep its styles
)

// A TextRendition is subtitles of a plan.
type TextRendition struct {
	TrackInfo
	Name   string     `json:"name"` // unique in its plan, safe as a directory name
	Format TextFormat `json:"format"`
	Source string     `json:"source,omitempty"` // the file beside the source that they are from; "" is the source
}

// A TextUnit converts the subtitles of one source.
type TextUnit struct {
	Renditions  []TextRendition `json:"renditions"`
	SourceStart float64         `json:"source_start"`          // of the source's own time; 0 of a file of subtitles
	Spans       []Span          `json:"spans,omitempty"`       // in place of SourceStart, with what is left out
	CutSeconds  float64         `json:"cut_seconds,omitempty"` // what is left out at the beginning
	Seconds     float64         `json:"seconds"`               // of the output
	// SegmentSeconds is the length of the segments, except the last; 0: a single file.
	SegmentSeconds float64 `json:"segment_seconds,omitempty"`
}

// A JoinText is subtitles of a file that is joined.
type JoinText struct {
	Info TrackInfo `json:"info"`
	File string    `json:"file"` // in the media share
}

// SubtitlesName begins the names of the units and of the directories of subtitles.
const SubtitlesName = "subtitles"

// maxTextSegment is the most that a segment of subtitles has, in seconds: their
// target duration may differ from that of the video (RFC 8216bis §6.2.4).
const maxTextSegment = 60

// SegmentName returns the file name of a segment of subtitles.
func (f TextFormat) SegmentName(number int) string { return fmt.Sprintf("%05d.%s", number, f) }

// Segments returns the number of segments of each of u's renditions.
func (u TextUnit) Segments() int {
	if u.SegmentSeconds <= 0 {
		return 1
	}
	return max(int(math.Ceil(u.Seconds/u.SegmentSeconds-0.001)), 1)
}

// Segment returns when segment i begins and ends, in seconds.
func (u TextUnit) Segment(i int) (start, end float64) {
	if i == u.Segments()-1 {
		return float64(i) * u.SegmentSeconds, u.Seconds
	}
	return float64(i) * u.SegmentSeconds, float64(i+1) * u.SegmentSeconds
}

// addSubtitles adds the subtitles that are text, except those that are burnt in, and the
// units that convert them. Each unit reads one source.
func (p *Plan) addSubtitles(r Request, probe Probe, burnt int) {
	units := map[string]*TextUnit{}
	var order []string
	for i, s := range r.SubtitleStreams(probe) {
		if s.Image || i == burnt || slices.Contains(r.OmitSubtitles, i+1) {
			continue
		}
		rendition := TextRendition{
			TrackInfo: s.TrackInfo, Source: s.File, Format: textFormat(r.Output, probe, s),
			Name: fmt.Sprintf("%s-%d", SubtitlesName, len(p.Subtitles)+1),
		}
		p.Subtitles = append(p.Subtitles, rendition)
		source := cmp.Or(s.File, r.Source)
		if units[source] == nil {
			units[source] = p.textUnit(r, probe, s)
			order = append(order, source)
		}
		units[source].Renditions = append(units[source].Renditions, rendition)
	}
	for _, source := range order {
		p.Units = append(p.Units, Unit{ID: units[source].Renditions[0].Name, Kind: KindText, Source: source, Text: units[source]})
	}
}

func (p *Plan) textUnit(r Request, probe Probe, s SubtitleStream) *TextUnit {
	u := &TextUnit{Seconds: p.Grid.Seconds(p.Grid.Frames), CutSeconds: probe.CutSeconds}
	if s.File == "" {
		u.SourceStart = probe.Start - probe.CutSeconds
		if u.Spans = probe.appended(); u.Spans != nil {
			u.SourceStart = 0
		}
	}
	if !r.IsFile() {
		u.SegmentSeconds = p.Grid.Seconds(p.Grid.SegmentFrames)
	}
	// Players ask for a playlist that grows again after its target duration, so subtitles
	// of a progressive stream are cut as its video is.
	if !r.IsFile() && !r.Progressive {
		u.SegmentSeconds *= max(math.Floor(maxTextSegment/u.SegmentSeconds), 1)
	}
	return u
}

// appended returns the spans of files that were appended to one another, as subtitles are
// moved by them: on the axis of the whole source. Otherwise it returns none.
func (p Probe) appended() []Span {
	if !slices.ContainsFunc(p.Spans, func(s Span) bool { return s.Bytes > 0 }) {
		return nil
	}
	spans := slices.Clone(p.Spans)
	for i := range spans {
		spans[i].At += p.CutSeconds
	}
	return spans
}

func textFormat(o Output, p Probe, s SubtitleStream) TextFormat {
	switch {
	case !o.IsFile():
		return TextVTT
	case len(o.InputOptions) == 0 && !p.Windowed && o.Format == FormatMKV && (s.Codec == "ass" || s.Codec == "ssa"):
		return TextASS
	}
	return TextSRT
}

// SubtitleStreams returns the subtitles of a source and of the files beside it, those
// first that a player would choose.
func (r Request) SubtitleStreams(p Probe) []SubtitleStream {
	list := slices.Clone(p.Subtitles)
	for _, file := range r.Sidecars {
		list = append(list, sidecarStream(r.Source, file))
	}
	return list
}

// noteSubtitles says which subtitles the output lacks. burnt are in the picture.
func (p *Plan) noteSubtitles(list []SubtitleStream, burnt int) {
	var lacks []string
	for i, s := range list {
		if s.Image && i != burnt {
			lacks = append(lacks, fmt.Sprintf("%s (%s)", s.named("subtitles", i), subtitleKind(s.Codec)))
		}
	}
	if len(lacks) > 0 {
		p.note("not in the output: %s", strings.Join(lacks, ", "))
	}
}

// subtitleKind names a codec of subtitles as people do.
func subtitleKind(codec string) string {
	switch codec {
	case "hdmv_pgs_subtitle":
		return "PGS, which is pictures"
	case "dvd_subtitle":
		return "VobSub, which is pictures"
	case "dvb_subtitle":
		return "DVB, which is pictures"
	case "xsub":
		return "XSUB, which is pictures"
	case "dvb_teletext":
		return "teletext"
	}
	return codec
}

// checkText makes sure that the subtitles of a unit are all there.
func checkText(u TextUnit, r Result) error {
	if len(u.Renditions) == 0 || len(r.Others) != len(u.Renditions)-1 {
		return fmt.Errorf("%d tracks of subtitles; want %d", 1+len(r.Others), len(u.Renditions))
	}
	for _, p := range Pieces(Unit{Text: &u}, r) {
		if err := checkTextSegments(*p.Unit.Text, p.Result); err != nil {
			return fmt.Errorf("%s: %w", p.Unit.Dir(), err)
		}
	}
	return nil
}

func checkTextSegments(u TextUnit, r Result) error {
	if len(r.Segments) != u.Segments() {
		return fmt.Errorf("%d segments; want %d", len(r.Segments), u.Segments())
	}
	for i, s := range r.Segments {
		if err := checkSegmentFile(s, u.Renditions[0].Format.SegmentName(i), maxTextBytes); err != nil {
			return err
		}
		start, end := u.Segment(i)
		if !(math.Abs(s.Seconds-(end-start)) < 0.001) || !within(s.Frames, maxFrames) {
			return fmt.Errorf("%s: %v s with %d cues; want %.3f s", s.Name, s.Seconds, s.Frames, end-start)
		}
	}
	return nil
}

// DropUnread takes the subtitles out of p that could not be read, and notes them.
func (p *Plan) DropUnread(results map[string]Result) {
	p.Units = slices.DeleteFunc(p.Units, func(u Unit) bool {
		why := results[u.ID].Unread
		if u.Text == nil || why == "" {
			return false
		}
		p.note("not in the output: the subtitles of %s, which cannot be read (%s)", path.Base(u.Source), why)
		p.Subtitles = slices.DeleteFunc(p.Subtitles, func(r TextRendition) bool {
			return slices.ContainsFunc(u.Text.Renditions, func(unread TextRendition) bool { return unread.Name == r.Name })
		})
		return true
	})
}
