package worker

import (
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
)

// printSound is a filter that prints, four times a second, the time of the samples that
// the decoder yields, and how many seconds of samples came before them, with playedMark
// added: ffmpeg would count two lines that are the same as one.
const printSound = "asetpts='st(1,if(gte(PTS*TB,ld(0)),print(PTS*TB,24)+0*print(NB_CONSUMED_SAMPLES/SR+1000000,24)+0.25,ld(0)));st(0,ld(1));PTS'"

// playedMark is more than any time in seconds.
const playedMark = 1_000_000

// A playing is what the decoder has played of a unit of audio. Where it yields samples
// for less than half of the time, as of data that is none of its codec, it counts as
// silent.
type playing struct {
	to     float64 // end of the unit, in seconds
	at     float64 // of the latest samples
	played float64 // seconds of samples before them
	next   float64 // the time that was printed last
	held   []transcode.Held
}

// leastSilence is how long sound is missing before a unit reports it, in seconds.
const leastSilence = 1

func newPlaying(u transcode.AudioUnit) *playing { return &playing{to: u.Rendition.Seconds} }

// line consumes a line of ffmpeg's output if printSound has written it.
func (p *playing) line(text []byte) bool {
	value, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return false
	}
	if value < playedMark/2 {
		p.next = value
		return true
	}
	value -= playedMark
	if value-p.played < (p.next-p.at)/2 {
		p.hold(p.at, p.next)
	}
	p.at, p.played = max(p.next, p.at), value
	return true
}

func (p *playing) hold(from, to float64) {
	from, to = max(from, 0), min(to, p.to)
	if n := len(p.held); n > 0 && from <= p.held[n-1].To+0.5 {
		p.held[n-1].To = max(p.held[n-1].To, to)
	} else if to > from && n < 1000 {
		p.held = append(p.held, transcode.Held{From: from, To: to})
	}
}

// end returns the stretches of the unit for which nothing was decoded.
func (p *playing) end() []transcode.Held {
	if p.to-p.at > leastSilence {
		p.hold(p.at, p.to)
	}
	list := slices.DeleteFunc(p.held, func(h transcode.Held) bool { return h.To-h.From <= leastSilence })
	return list[:min(len(list), maxHeld)]
}
