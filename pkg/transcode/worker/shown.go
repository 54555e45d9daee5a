package worker

import (
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
)

// printTimes is a filter that prints when each frame is shown that the decoder
// yields. The grid after it would hide what is missing.
const printTimes = "setpts='PTS+0*print(PTS*TB,24)'"

// A showing is what the decoder has shown of a unit of video.
type showing struct {
	from, to float64 // of the unit, on the grid
	last     float64 // of the frames so far
	any      bool
	held     []transcode.Held
	// longer is how long a picture may stand still without a report: as in the
	// source, and a little more.
	longer float64
}

// maxHeld bounds what a unit reports.
const maxHeld = 100

func newShowing(u transcode.VideoUnit) *showing {
	return &showing{from: u.Grid.Seconds(u.FirstFrame), to: u.Grid.Seconds(u.EndFrame), longer: u.MaxGapSeconds + 0.5}
}

// line consumes a line of ffmpeg's output if printTimes has written it.
func (s *showing) line(text []byte) bool {
	at, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return false
	}
	s.frame(at)
	return true
}

func (s *showing) frame(at float64) {
	if !s.any {
		s.last = s.from
	}
	s.hold(s.last, at)
	s.last, s.any = at, true
}

// end returns the stretches of the unit for which nothing was decoded.
func (s *showing) end() []transcode.Held {
	if !s.any {
		s.last = s.from
	}
	s.hold(s.last, s.to)
	return s.held
}

func (s *showing) hold(from, to float64) {
	from, to = max(from, s.from), min(to, s.to)
	if to-from > s.longer && len(s.held) < maxHeld {
		s.held = append(s.held, transcode.Held{From: from, To: to})
	}
}
