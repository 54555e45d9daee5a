package worker

import (
	"slices"

	"pibootd/pkg/transcode"
)

// cues finds out when pictures of text are shown that are shown for long. A picture is
// shown until the next packet of its stream, which may do no more than remove it.
type cues struct {
	from    float64 // time stamp of the picture that is shown
	clock   int
	bytes   int // of the packets with about this time stamp
	any     bool
	long    []longCue
	longest float64 // of those that are not in long; 0: less than transcode.PictureSeconds
}

type longCue struct {
	from, to float64
	clock    int
}

// emptyBytes is more than a packet has that removes a picture: 30 bytes of PGS, 25 of DVB.
const emptyBytes = 64

// partSeconds is how far apart packets of one picture may be: in a transport stream, each
// segment of PGS has a time stamp of its own.
const partSeconds = 0.2

// add adds a packet with a time stamp in seconds.
func (c *cues) add(at float64, bytes, clock int) {
	if c.any && c.clock == clock && at <= c.from+partSeconds {
		c.bytes += bytes
		return
	}
	if c.any && c.clock == clock && c.bytes >= emptyBytes && at-c.from > transcode.PictureSeconds {
		c.keep(longCue{c.from, at, clock})
	}
	c.from, c.clock, c.bytes, c.any = at, clock, bytes, true
}

func (c *cues) keep(one longCue) {
	if len(c.long) < transcode.MaxIntervals-1 {
		c.long = append(c.long, one)
		return
	}
	c.longest = max(c.longest, one.to-one.from)
}

// spuSeconds is more than a picture of VobSub is shown: its end is a number of 16 bits.
const spuSeconds = 750

// describe adds to s when its pictures are shown, of which t are the packets, and where
// they are. end is when the last one is taken to end.
func (t *track) describe(s *transcode.SubtitleStream, of *stream, a axis, end float64) {
	s.Map, s.Width, s.Height = of.specifier(), max(of.Width, 0), max(of.Height, 0)
	s.PrerollSeconds = t.cues.longest
	all := t.cues.long
	if t.cues.bytes >= emptyBytes {
		all = append(slices.Clone(all), longCue{t.cues.from, t.cues.from + mostSeconds, t.cues.clock})
	}
	for _, c := range all {
		from, to := a.at(c.clock, c.from), min(a.at(c.clock, c.to), end)
		if s.Codec == "dvd_subtitle" {
			to = min(to, from+spuSeconds)
		}
		if to-from > transcode.PictureSeconds {
			s.Long = append(s.Long, transcode.Interval{From: from, To: to})
		}
	}
}
