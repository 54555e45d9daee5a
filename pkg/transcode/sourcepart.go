package transcode

import (
	"fmt"
	"math"
	"regexp"
	"slices"
)

// A SourcePart is a part of a source whose video is of another codec, another stream, or
// another range of brightness than that of the part before it, or a file that was appended to
// another one. It has a decoder of its own.
type SourcePart struct {
	Bytes   int64       `json:"bytes"`         // where it begins in the source
	End     int64       `json:"end,omitempty"` // where it ends; 0: with the source
	Seconds float64     `json:"seconds"`       // when its first frame is shown, after the grid's start
	Span    int         `json:"span"`          // number in Probe.Spans of its beginning
	Video   VideoStream `json:"video"`         // what it is, without times
	// Audio are the places of the streams in the part that continue the source's audio
	// streams, in the order of those; -1: none does.
	Audio []int `json:"audio,omitempty"`
	// Subtitles are the same of subtitles.
	Subtitles []int `json:"subtitles,omitempty"`
}

// A UnitPart is what a unit reads of a SourcePart. All its parts are decoded side by side.
type UnitPart struct {
	Bytes        int64   `json:"bytes"`
	End          int64   `json:"end,omitempty"`  // 0: the end of the source
	Seconds      float64 `json:"seconds"`        // SourcePart.Seconds
	Spans        []Span  `json:"spans"`          // from Bytes on
	Map          string  `json:"map"`            // of its one input, e.g. 0:1
	Text         string  `json:"text,omitempty"` // the same of the pictures of text that are burnt in; "": it has none
	Deinterlaced bool    `json:"deinterlaced,omitempty"`
	Fields       Fields  `json:"fields,omitempty"`
	Width        int     `json:"width,omitempty"`  // as coded, of video
	Height       int     `json:"height,omitempty"` // as coded, of video
	Aspect       float64 `json:"aspect,omitempty"` // of the picture as shown
	Color        *Color  `json:"color,omitempty"`
	Format       string  `json:"format,omitempty"` // the pixel format that all parts are given
}

// pixelFormat matches ffmpeg's names of pixel formats.
var pixelFormat = regexp.MustCompile(`^[a-z0-9_]{1,20}$`)

// maxParts bounds how often a video changes its codec.
const maxParts = 32

// checkParts looks at what is passed on to the ffmpeg of other workers.
func checkParts(p Probe) error {
	if len(p.Parts) > maxParts || len(p.Parts) > 0 && p.Video == nil {
		return fmt.Errorf("%d parts; want %d at most, of a video", len(p.Parts), maxParts)
	}
	for i, part := range p.Parts {
		ends := part.End > part.Bytes || part.End == 0 && i == len(p.Parts)-1
		if part.Bytes < 0 || !ends || part.Span < 0 || part.Span >= len(p.Spans) || !(math.Abs(part.Seconds) <= maxStart) || len(part.Audio)+len(part.Subtitles) > 2*maxStreams {
			return fmt.Errorf("a part from byte %d to %d, span %d, is out of range", part.Bytes, part.End, part.Span)
		}
		v := part.Video
		if err := checkFilm(v); err != nil {
			return err
		}
		if !pixelFormat.MatchString(v.PixelFormat) || v.CodedWidth < 1 || v.CodedHeight < 1 || !within(v.Width, 1<<16) || !within(v.Height, 1<<16) {
			return fmt.Errorf("a part of %dx%d, %.50q, is out of range", v.CodedWidth, v.CodedHeight, v.PixelFormat)
		}
	}
	return nil
}

// videoParts returns what a unit reads that shows the grid from one time to another.
func (r Request) videoParts(p Probe, from, to float64) []UnitPart {
	var list []UnitPart
	for i, part := range p.Parts {
		last := i+1 == len(p.Parts)
		if !last && p.Parts[i+1].Seconds <= from || part.Seconds >= to && len(list) > 0 {
			continue
		}
		u := p.unitPart(i)
		if len(list) == 0 {
			u.beginAt(p, part, from)
		}
		v := part.Video
		u.Map, u.Deinterlaced, u.Fields = v.Map, v.Interlaced && r.Deinterlace != DeinterlaceOff, r.fields(v)
		u.Width, u.Height, u.Color, u.Format = v.CodedWidth, v.CodedHeight, v.Color, p.Parts[0].Video.PixelFormat
		u.Aspect = float64(max(v.Width, 1)) / float64(max(v.Height, 1))
		list = append(list, u)
	}
	return list
}

// unitPart returns the whole of a part.
func (p Probe) unitPart(i int) UnitPart {
	part := p.Parts[i]
	end := len(p.Spans)
	if i+1 < len(p.Parts) {
		next := p.Parts[i+1]
		if end = next.Span; next.Seconds > p.Spans[end].At+0.001 {
			end++ // that span has begun before the next part
		}
	}
	return UnitPart{Bytes: part.Bytes, End: part.End, Seconds: part.Seconds, Spans: slices.Clone(p.Spans[part.Span:max(end, part.Span+1)])}
}

// beginAt has a unit begin to read where a frame is shown at this time, if there is an
// entry before it.
func (u *UnitPart) beginAt(p Probe, part SourcePart, seconds float64) {
	last := part.Span + len(u.Spans) // the span after those of the part
	for _, e := range p.Entries {
		if e.Seconds > seconds {
			break
		}
		if e.Bytes < part.Bytes || part.End > 0 && e.Bytes >= part.End || e.Span < part.Span || e.Span >= last {
			continue
		}
		u.Bytes, u.Spans = e.Bytes, slices.Clone(p.Spans[e.Span:last])
		u.Spans[0] = Span{First: e.Stamp, At: u.Spans[0].At + e.Stamp - u.Spans[0].First}
	}
}

// burnParts has u read the pictures of text that s has in each of its parts, from where those
// begin that are shown at a time of the first one.
func (u *VideoUnit) burnParts(p Probe, s SubtitleStream, from float64) {
	for i := range u.Parts {
		at := slices.IndexFunc(p.Parts, func(part SourcePart) bool { return part.Seconds == u.Parts[i].Seconds })
		if at < 0 {
			continue
		}
		part := p.Parts[at]
		if i == 0 {
			u.Parts[0].beginAt(p, part, s.readsFrom(from))
		}
		if s.Stream < len(part.Subtitles) && part.Subtitles[s.Stream] >= 0 {
			u.Parts[i].Text = fmt.Sprintf("0:s:%d", part.Subtitles[s.Stream])
		}
	}
}

// audioParts returns what the unit of an audio stream reads, which is at this place among
// those of the source.
func (p Probe) audioParts(stream int) []UnitPart {
	var list []UnitPart
	for i, part := range p.Parts {
		before := i+1 < len(p.Parts) && p.Parts[i+1].Seconds <= 0 // what is left out
		if before || stream >= len(part.Audio) || part.Audio[stream] < 0 {
			continue
		}
		u := p.unitPart(i)
		u.Map = fmt.Sprintf("0:a:%d", part.Audio[stream])
		list = append(list, u)
	}
	return list
}

// notePartColors notes which parts of a source change their range of brightness.
func (p *Plan) notePartColors(probe Probe) {
	for _, part := range probe.Parts {
		if dynamic := part.Video.Color.VideoRange(); dynamic != "" && probe.Video.Color.VideoRange() == "" {
			p.note("HDR (%s) from %.1f s on is tone-mapped to SDR, in which the source begins", dynamic, part.Seconds)
		}
	}
}
