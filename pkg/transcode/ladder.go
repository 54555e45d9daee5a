package transcode

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// A rung is a size that a ladder can have below its source, with the bitrate that
// Apple's authoring specification gives it at up to 30 frames per second.
type rung struct {
	lines, pixels, bitrateBPS int
}

var rungs = []rung{
	{1080, 1920 * 1080, 6_000_000},
	{720, 1280 * 720, 3_000_000},
	{540, 960 * 540, 2_000_000},
	{432, 768 * 432, 1_100_000},
	{360, 640 * 360, 365_000},
	{234, 416 * 234, 145_000},
}

const (
	// bitrateSlope is the exponent by which the bitrate of a picture grows with its
	// pixels: twice the pixels need less than twice the bits.
	bitrateSlope = 0.75
	// minBitrateBPS is the lowest bitrate that libx264 can keep to.
	minBitrateBPS = 32_000
	// h265Share is the bitrate of H.265 relative to H.264 for the same picture.
	h265Share = 0.6
	// av1Share is the bitrate of AV1 relative to H.264 for the same picture.
	av1Share = 0.5
	// authorFloorBPS is the bitrate of the lowest rung of PresetAuthor.
	authorFloorBPS = 200_000
	// twoRungLines is the height above which a ladder has at least two renditions.
	twoRungLines = 120
)

// Ladder returns the renditions of o for a source, the highest first. Lines are
// counted on the shorter side, so that a portrait video has the ladder of the
// landscape video of the same size. Without video it returns nil.
func Ladder(o Output, p Probe) []Rendition {
	v := p.Video
	if v == nil || v.Width < minSide || v.Height < minSide {
		return nil
	}
	switch {
	case len(o.Rungs) > 0:
		return askedLadder(o, p)
	case o.IsFile():
		return []Rendition{rendition(o, p, min(v.Width, v.Height), 0)}
	case o.Ladder == PresetAuthor:
		return authorLadder(o, p)
	}
	return appleLadder(o, p)
}

// ladders returns the renditions of every codec of o, those of its first codec first.
func ladders(o Output, p Probe) []Rendition {
	var all []Rendition
	for i, codec := range o.codecs() {
		for _, r := range Ladder(o.of(codec), p) {
			if i > 0 {
				r.Codec, r.Name = codec, fmt.Sprintf("%s-%s", r.Name, codec)
			}
			all = append(all, r)
		}
	}
	return all
}

// appleLadder has the source's own size, and below it the usual sizes that are
// clearly smaller, at least one if the source has more than 120 lines. No rendition
// is larger than the source or has a higher bitrate.
func appleLadder(o Output, p Probe) []Rendition {
	lines := min(p.Video.Width, p.Video.Height)
	ladder := []Rendition{rendition(o, p, lines, 0)}
	for _, r := range rungs {
		if 5*r.lines <= 4*lines {
			ladder = append(ladder, rendition(o, p, r.lines, 0))
		}
	}
	if len(ladder) == 1 && lines > twoRungLines {
		ladder = append(ladder, rendition(o, p, lines/2, 0))
	}
	return ladder
}

// authorLadder keeps the source's size, at its bitrate, at half of it and at the
// floor, as far as each is less than the one before.
func authorLadder(o Output, p Probe) []Rendition {
	lines := min(p.Video.Width, p.Video.Height)
	top := videoBitrate(p)
	if top == 0 {
		top = rendition(o, p, lines, 0).BitrateBPS
	}
	top = max(top/1000*1000, minBitrateBPS)
	bitrates := []int{top}
	for _, b := range []int{top / 2 / 1000 * 1000, authorFloorBPS} {
		if b >= authorFloorBPS && b < bitrates[len(bitrates)-1] {
			bitrates = append(bitrates, b)
		}
	}
	var ladder []Rendition
	for _, b := range bitrates {
		ladder = append(ladder, rendition(o, p, lines, b))
	}
	return named(ladder)
}

// askedLadder has the rungs of the request. It omits those above the source,
// because they would only enlarge it, but keeps one if there are no others.
func askedLadder(o Output, p Probe) []Rendition {
	lines := min(p.Video.Width, p.Video.Height)
	var ladder []Rendition
	for _, r := range o.Rungs {
		switch {
		case r.Width > 0:
			ladder = append(ladder, sizedRendition(o, p, r))
		case r.Lines == 0:
			ladder = append(ladder, rendition(o, p, lines, r.BitrateBPS))
		case r.Lines <= lines:
			ladder = append(ladder, rendition(o, p, r.Lines, r.BitrateBPS))
		}
	}
	if len(ladder) == 0 {
		ladder = []Rendition{rendition(o, p, lines, 0)}
	}
	slices.SortStableFunc(ladder, func(a, b Rendition) int {
		return cmp.Or(cmp.Compare(b.Width*b.Height, a.Width*a.Height), cmp.Compare(b.BitrateBPS, a.BitrateBPS))
	})
	return named(slices.CompactFunc(ladder, func(a, b Rendition) bool { return a == b }))
}

// named gives different names to renditions of the same size.
func named(ladder []Rendition) []Rendition {
	count := map[string]int{}
	for _, r := range ladder {
		count[r.Name]++
	}
	for i, r := range ladder {
		if count[r.Name] > 1 {
			ladder[i].Name = fmt.Sprintf("%s-%d", r.Name, r.BitrateBPS)
		}
	}
	return ladder
}

// rendition returns the rendition of p whose shorter side has this many lines, at
// this bitrate; 0 means the usual bitrate.
func rendition(o Output, p Probe, lines, bitrate int) Rendition {
	v := p.Video
	short, long := min(v.Width, v.Height), max(v.Width, v.Height)
	width := even(float64(long) * float64(lines) / float64(short))
	height := even(float64(lines))
	if v.Height > v.Width {
		width, height = height, width
	}
	if bitrate == 0 {
		bitrate = renditionBitrate(o, p, width*height)
	}
	return o.controlled(Rendition{
		Name:       fmt.Sprintf("%dp", min(width, height)),
		Width:      width,
		Height:     height,
		BitrateBPS: bitrate,
		MaxrateBPS: bitrate + bitrate/10,
		BufferBits: 2 * bitrate,
	})
}

// controlled adds to a rendition how it keeps to its bitrate.
func (o Output) controlled(r Rendition) Rendition {
	r.Constant, r.CRF, r.TwoPass = o.Constant, o.CRF, o.TwoPass
	if o.Constant || o.CRF != 0 {
		r.MaxrateBPS, r.BufferBits = r.BitrateBPS, r.BitrateBPS
	}
	if o.TwoPass {
		r.MaxrateBPS = 2 * r.BitrateBPS // what Apple's authoring specification allows peaks to be
	}
	return r
}

// sizedRendition returns a rendition of any shape. The picture is as large as it
// can be within, with black bars, or it is stretched.
func sizedRendition(o Output, p Probe, rung Rung) Rendition {
	v := p.Video
	bitrate := cmp.Or(rung.BitrateBPS, renditionBitrate(o, p, rung.Width*rung.Height))
	r := Rendition{
		Name:       fmt.Sprintf("%dx%d", rung.Width, rung.Height),
		Width:      rung.Width,
		Height:     rung.Height,
		BitrateBPS: bitrate,
		MaxrateBPS: bitrate + bitrate/10,
		BufferBits: 2 * bitrate,
	}
	scale := min(float64(r.Width)/float64(v.Width), float64(r.Height)/float64(v.Height))
	width, height := max(even(float64(v.Width)*scale+1), 2), max(even(float64(v.Height)*scale+1), 2)
	if !o.Stretch && (width < r.Width || height < r.Height) {
		r.PictureWidth, r.PictureHeight = min(width, r.Width), min(height, r.Height)
	}
	return o.controlled(r)
}

// noteRungs says which rungs are above the source.
func (p *Plan) noteRungs(o Output, probe Probe) {
	v := probe.Video
	if v == nil {
		return
	}
	for _, r := range o.Rungs {
		switch {
		case r.Lines > min(v.Width, v.Height):
			p.note("the rung of %d lines is left out: the source has %dx%d", r.Lines, v.Width, v.Height)
		case r.Width > v.Width && r.Height > v.Height:
			p.note("the rung of %dx%d only enlarges the picture: the source has %dx%d", r.Width, r.Height, v.Width, v.Height)
		}
	}
}

// even rounds down to an even number, which 4:2:0 requires.
func even(n float64) int { return int(n) &^ 1 }

// renditionBitrate returns the bitrate that a picture of this many pixels needs at
// the source's frame rate, but at most what the source uses for the same pixels.
func renditionBitrate(o Output, p Probe, pixels int) int {
	bitrate := neededBitrate(pixels, p.Video.Rate.Float()) * codecShare(o.codec())
	if source := videoBitrate(p); source > 0 {
		share := float64(pixels) / (float64(p.Video.Width) * float64(p.Video.Height))
		bitrate = min(bitrate, float64(source)*math.Pow(share, bitrateSlope))
	}
	return max(int(bitrate)/1000*1000, minBitrateBPS)
}

// codecShare is the bitrate of a codec relative to H.264 for the same picture.
func codecShare(codec Codec) float64 {
	switch codec {
	case CodecH265:
		return h265Share
	case CodecAV1:
		return av1Share
	}
	return 1
}

// neededBitrate scales the nearest rung's bitrate to this size and rate.
func neededBitrate(pixels int, rate float64) float64 {
	nearest := rungs[0]
	for _, r := range rungs {
		if r.pixels >= pixels {
			nearest = r
		}
	}
	scale := math.Pow(float64(pixels)/float64(nearest.pixels), bitrateSlope)
	// At a higher rate, successive frames are more alike: twice the frames need 1.4
	// times the bits.
	return float64(nearest.bitrateBPS) * scale * math.Sqrt(max(rate, 1)/30)
}

// videoBitrate returns the bitrate of p's video, or 0 if it is unknown.
func videoBitrate(p Probe) int {
	if p.Video.BitrateBPS > 0 {
		return p.Video.BitrateBPS
	}
	rest := p.BitrateBPS
	for _, a := range p.AudioStreams() {
		rest -= a.BitrateBPS
	}
	if rest <= 0 {
		return p.BitrateBPS
	}
	return rest
}
