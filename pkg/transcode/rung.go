package transcode

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Rung is a rendition that a user asked for.
type Rung struct {
	Lines      int `json:"lines"`                 // of the picture's shorter side; 0: Width and Height, or the source's size
	BitrateBPS int `json:"bitrate_bps,omitempty"` // 0: the bitrate of Apple's rungs at this size
	Width      int `json:"width,omitempty"`       // of a rung of any shape
	Height     int `json:"height,omitempty"`
}

func checkRungs(rungs []Rung) error {
	if len(rungs) > maxRungs {
		return wrong("rungs", "%d rungs; want %d at most", len(rungs), maxRungs)
	}
	for i, r := range rungs {
		if err := r.check(); err != nil {
			return err
		}
		if slices.Contains(rungs[:i], r) {
			return wrong("rungs", "rung %s is there twice", r)
		}
	}
	return nil
}

func (r Rung) check() error {
	sized := r.Width != 0 || r.Height != 0
	side := func(n int) bool { return n >= minSide && n <= maxRequestLines && n%2 == 0 }
	switch {
	case sized && (r.Lines != 0 || !side(r.Width) || !side(r.Height)):
		return wrong("rungs", "rung of %dx%d and %d lines; want even sides of %d to %d, or lines", r.Width, r.Height, r.Lines, minSide, maxRequestLines)
	case !sized && r.Lines == 0 && r.BitrateBPS == 0:
		return wrong("rungs", "rung of the source's size without a bitrate; want one, e.g. source:128k")
	case r.Lines != 0 && (r.Lines < minSide || r.Lines > maxRequestLines):
		return wrong("rungs", "rung of %d lines; want %d to %d", r.Lines, minSide, maxRequestLines)
	case r.BitrateBPS != 0 && (r.BitrateBPS < minAskedBPS || r.BitrateBPS > maxVideoBPS):
		return wrong("rungs", "rung of %d b/s; want %d to %d, or none for the usual one", r.BitrateBPS, minAskedBPS, maxVideoBPS)
	}
	return nil
}

// String formats r as ParseRung parses it.
func (r Rung) String() string {
	size := strconv.Itoa(r.Lines)
	switch {
	case r.Width != 0:
		size = fmt.Sprintf("%dx%d", r.Width, r.Height)
	case r.Lines == 0:
		size = sourceSize
	}
	if r.BitrateBPS == 0 {
		return size
	}
	return fmt.Sprintf("%s:%d", size, r.BitrateBPS)
}

// sourceSize stands for the source's size.
const sourceSize = "source"

// ParseRung parses a size and perhaps a bitrate: 720, 720:2500k, 600x400:128k or
// source:2M.
func ParseRung(text string) (Rung, error) {
	size, bitrate, both := strings.Cut(text, ":")
	width, height, sized := strings.Cut(size, "x")
	var r Rung
	var err error
	switch {
	case size == sourceSize:
	case sized:
		var errHeight error
		r.Width, err = strconv.Atoi(width)
		r.Height, errHeight = strconv.Atoi(height)
		err = errors.Join(err, errHeight)
	default:
		r.Lines, err = strconv.Atoi(strings.TrimSuffix(size, "p"))
	}
	if err != nil {
		return Rung{}, fmt.Errorf("rung %.50q; want lines, WIDTHxHEIGHT or source, and perhaps a bitrate, e.g. 720:2500k", text)
	}
	if both {
		if r.BitrateBPS, err = ParseBitrate(bitrate); err != nil {
			return Rung{}, fmt.Errorf("rung %.50q: %w", text, err)
		}
	}
	return r, nil
}

// ParseBitrate parses bits per second as ffmpeg does: 200000, 200k or 2.5M.
func ParseBitrate(text string) (int, error) {
	factor := 1.0
	switch {
	case strings.HasSuffix(text, "k"), strings.HasSuffix(text, "K"):
		factor = 1e3
	case strings.HasSuffix(text, "M"):
		factor = 1e6
	}
	digits := text
	if factor > 1 {
		digits = text[:len(text)-1]
	}
	n, err := strconv.ParseFloat(digits, 64)
	if n *= factor; err != nil || !(n >= 1 && n <= maxBitrateBPS) {
		return 0, fmt.Errorf("bitrate %.50q; want bits per second, e.g. 200k or 2.5M", text)
	}
	return int(math.Round(n)), nil
}
