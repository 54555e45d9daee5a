package transcode

import (
	"fmt"
	"math"
)

// A rung is a size that a ladder may have below its source, with the bitrate
// that Apple's authoring specification gives it at up to 30 frames per second.
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
	// bitrateSlope says how the bitrate that a picture needs grows with its
	// pixels: twice the pixels need less than twice the bits.
	bitrateSlope = 0.75
	// minBitrateBPS is what libx264 can still hold.
	minBitrateBPS = 32_000
	// twoRungLines is the height above which a ladder has two renditions.
	twoRungLines = 120
)

// Ladder returns the renditions for a source, the highest first: the source's
// own size, and below it the usual sizes that are clearly smaller, at least one
// if the source has more than 120 lines. None is larger than the source or has
// a higher bitrate. Lines are counted on the shorter side, so that a portrait
// video has the ladder of its landscape twin. Without video it returns nil.
func Ladder(p Probe) []Rendition {
	v := p.Video
	if v == nil || v.Width < minSide || v.Height < minSide {
		return nil
	}
	lines := min(v.Width, v.Height)
	ladder := []Rendition{rendition(p, lines)}
	for _, r := range rungs {
		if 5*r.lines <= 4*lines {
			ladder = append(ladder, rendition(p, r.lines))
		}
	}
	if len(ladder) == 1 && lines > twoRungLines {
		ladder = append(ladder, rendition(p, lines/2))
	}
	return ladder
}

// rendition returns the rendition of p whose shorter side has this many lines.
func rendition(p Probe, lines int) Rendition {
	v := p.Video
	short, long := min(v.Width, v.Height), max(v.Width, v.Height)
	width := even(float64(long) * float64(lines) / float64(short))
	height := even(float64(lines))
	if v.Height > v.Width {
		width, height = height, width
	}
	bitrate := renditionBitrate(p, width*height)
	return Rendition{
		Name:       fmt.Sprintf("%dp", min(width, height)),
		Width:      width,
		Height:     height,
		BitrateBPS: bitrate,
		MaxrateBPS: bitrate + bitrate/10,
		BufferBits: 2 * bitrate,
	}
}

// even rounds down to an even number, which 4:2:0 needs.
func even(n float64) int { return int(n) &^ 1 }

// renditionBitrate returns what a picture of this many pixels needs at the
// source's rate, but no more than the source spends on the same pixels.
func renditionBitrate(p Probe, pixels int) int {
	bitrate := neededBitrate(pixels, p.Video.Rate.Float())
	if source := videoBitrate(p); source > 0 {
		share := float64(pixels) / (float64(p.Video.Width) * float64(p.Video.Height))
		bitrate = min(bitrate, float64(source)*math.Pow(share, bitrateSlope))
	}
	return max(int(bitrate)/1000*1000, minBitrateBPS)
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
	// Frames that follow faster resemble each other more: twice the frames need
	// 1.4 times the bits.
	return float64(nearest.bitrateBPS) * scale * math.Sqrt(max(rate, 1)/30)
}

// videoBitrate returns the bitrate of p's video, or 0 if it is unknown.
func videoBitrate(p Probe) int {
	if p.Video.BitrateBPS > 0 {
		return p.Video.BitrateBPS
	}
	if p.Audio != nil && p.Audio.BitrateBPS < p.BitrateBPS {
		return p.BitrateBPS - p.Audio.BitrateBPS
	}
	return p.BitrateBPS
}
