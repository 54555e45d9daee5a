package worker

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
)

// printSound returns a filter that prints, four times a second, the time of the samples that
// the decoder of a part of the source yields, and how many seconds of samples came before
// them, with playedMark added for each part up to it: ffmpeg would count two lines that are
// the same as one.
func printSound(part int) string {
	return fmt.Sprintf("asetpts='st(1,if(gte(PTS*TB,ld(0)),print(PTS*TB,24)+0*print(NB_CONSUMED_SAMPLES/SR+%d,24)+0.25,ld(0)));st(0,ld(1));PTS'", (1+part)*playedMark)
}

// playedMark is more than any time in seconds.
const playedMark = 1_000_000

// A playing is what the decoders have played of a unit of audio.
type playing struct {
	parts []playedPart // of the source
	next  float64      // the time that was printed last
	held  []transcode.Held
}

// A playedPart is what the decoder of a part has played. Where it yields samples for less
// than half of the time, as of data that is none of its codec, it counts as silent.
type playedPart struct {
	from, to float64 // seconds
	at       float64 // of the latest samples
	played   float64 // seconds of samples before them
}

// leastSilence is how long sound is missing before a unit reports it, in seconds.
const leastSilence = 1

func newPlaying(u transcode.AudioUnit) *playing {
	p := &playing{parts: []playedPart{{from: float64(u.First) * u.SegmentSeconds, to: u.PortionEnd()}}}
	for _, part := range u.Parts[min(1, len(u.Parts)):] {
		at := max(part.Seconds, 0)
		p.parts[len(p.parts)-1].to = at
		p.parts = append(p.parts, playedPart{from: at, at: at, to: u.Rendition.Seconds})
	}
	return p
}

// line consumes a line of ffmpeg's output if printSound has written it.
func (p *playing) line(text []byte) bool {
	value, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil || !(value < float64(len(p.parts)+1)*playedMark) {
		return false
	}
	if value < playedMark/2 {
		p.next = value
		return true
	}
	i := min(int(value/playedMark), len(p.parts)) - 1
	part := &p.parts[max(i, 0)]
	value -= float64(1+max(i, 0)) * playedMark
	if value-part.played < (p.next-part.at)/2 {
		p.hold(*part, part.at, p.next)
	}
	part.at, part.played = max(p.next, part.at), value
	return true
}

func (p *playing) hold(of playedPart, from, to float64) {
	from, to = max(from, of.from), min(to, of.to)
	if n := len(p.held); n > 0 && from >= p.held[n-1].From && from <= p.held[n-1].To+0.5 {
		p.held[n-1].To = max(p.held[n-1].To, to)
	} else if to > from && n < 1000 {
		p.held = append(p.held, transcode.Held{From: from, To: to})
	}
}

// end returns the stretches of the unit for which nothing was decoded.
func (p *playing) end() []transcode.Held {
	for _, part := range p.parts {
		if part.to-part.at > leastSilence {
			p.hold(part, part.at, part.to)
		}
	}
	list := slices.DeleteFunc(p.held, func(h transcode.Held) bool { return h.To-h.From <= leastSilence })
	slices.SortFunc(list, func(a, b transcode.Held) int { return cmp.Compare(a.From, b.From) })
	return list[:min(len(list), maxHeld)]
}
