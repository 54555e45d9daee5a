package transcode

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"pibootd/pkg/pi"
)

// Limits of a request.
const (
	maxRungs        = 12
	minAskedBPS     = 4_000
	maxCRF          = 51
	minAudioBPS     = 16_000
	maxAudioBPS     = 512_000
	maxVideoBPS     = 200_000_000
	maxKeyURI       = 1000 // bytes
	maxMaxFPS       = 240  // frames per second
	maxMuxID        = 1 << 20
	maxRequestLines = maxSide
)

// Check reports what is impossible in r for any source. The errors are meant for
// the user, and name the wrong field as a pi.RequestError.
func (r Request) Check() error {
	if s := r.SegmentSeconds; s != 0 && !(s >= minSegmentSeconds && s <= maxSegmentSeconds) {
		return wrong("segment_seconds", "segments of %v s; want %v to %v, or 0 for the default", s, minSegmentSeconds, maxSegmentSeconds)
	}
	if r.MuxID < 0 || r.MuxID > maxMuxID {
		return wrong("mux_id", "muxer id %d; want 1 to %d, or 0 for any worker", r.MuxID, maxMuxID)
	}
	if err := pi.CheckLabels(r.Labels); err != nil {
		return pi.InvalidField("labels", err)
	}
	if r.Name != "" && !validName(r.Name) {
		return wrong("name", "name %.300q cannot name a directory; want 1 to %d bytes without slashes, control characters or a leading dot", r.Name, maxName)
	}
	if err := r.checkLive(); err != nil {
		return err
	}
	return r.Output.check()
}

func wrong(field, format string, args ...any) error {
	return pi.InvalidField(field, fmt.Errorf(format, args...))
}

// Canonical returns r with explicit defaults, so that equivalent requests are
// equal.
func (r Request) Canonical() Request {
	r.SegmentSeconds = cmp.Or(r.SegmentSeconds, defaultSegmentSeconds)
	r.Output.Format = cmp.Or(r.Output.Format, FormatHLS)
	r.Output.Ladder = cmp.Or(r.Output.Ladder, PresetApple)
	r.Output.Container = r.Output.SegmentContainer()
	r.Output.Encoder = r.Output.encoder()
	r.Output.Codec = r.Output.codec()
	// As in jobs of earlier versions:
	if r.Output.MaxFPS == DefaultMaxFPS {
		r.Output.MaxFPS = 0
	}
	if r.Output.Deinterlace == DeinterlaceAuto {
		r.Output.Deinterlace = ""
	}
	if r.Output.HDR == HDRAuto {
		r.Output.HDR = ""
	}
	return r
}

// maxName is the maximum length of a name in bytes: a file name has 255, and a
// number may be added.
const maxName = 200

// NameOf returns the name of an output for a source: the source's own name as far
// as a directory can have it.
func NameOf(source string) string {
	base := path.Base(source)
	name := strings.TrimLeft(strings.TrimSuffix(base, path.Ext(base)), ".")
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	for len(name) > maxName {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	return cmp.Or(name, "video")
}

func validName(name string) bool {
	return len(name) <= maxName && utf8.ValidString(name) && !strings.HasPrefix(name, ".") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
}
