package hls

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"pibootd/pkg/transcode"
)

// versionLive is the lowest that allows EXT-X-MAP and EXT-X-GAP and partial segments.
const versionLive = 9

// A LivePlaylist is the media playlist of one rendition of a live stream, with partial
// segments (RFC 8216bis §4.4.4.9).
type LivePlaylist struct {
	Target     int     // seconds; no segment's rounded duration is longer
	PartTarget float64 // seconds; no part is longer
	// Discontinuities is how many have left the playlist (EXT-X-DISCONTINUITY-SEQUENCE).
	Discontinuities int
	Segments        []LiveSegment
	Hint            string // URI of the part that will be next; "": there is none
	Ended           bool
	VOD             bool // it is kept as a video: without parts
}

// A LiveSegment is a segment of a live stream, of one part at least.
type LiveSegment struct {
	Number  int    // media sequence number
	Session int    // another one than that of the segment before means a discontinuity
	Map     string // URI of the initialization section
	URI     string
	Time    time.Time // when its first frame was received
	Parts   []LivePart
	Open    bool // more parts may follow
	Gap     bool // a part could not be made
}

// A LivePart is a partial segment. All are independent: they begin with a key frame.
type LivePart struct {
	URI     string
	Seconds float64
	Gap     bool
}

// Seconds returns the duration of s.
func (s LiveSegment) Seconds() float64 {
	sum := 0.0
	for _, p := range s.Parts {
		sum += extinf(p.Seconds)
	}
	return sum
}

// partsOf is for how many target durations before the end parts are listed; RFC 8216bis
// §4.4.4.9 wants three at most.
const partsOf = 3

// Text returns the playlist as players read it.
func (p LivePlaylist) Text() []byte {
	var b bytes.Buffer
	hold := 3 * p.PartTarget
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-TARGETDURATION:%d\n", versionLive, p.Target)
	if p.VOD {
		b.WriteString("#EXT-X-PLAYLIST-TYPE:VOD\n")
	} else if !p.Ended {
		fmt.Fprintf(&b, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=%.3f,HOLD-BACK=%d\n", hold, 3*p.Target)
	}
	if !p.VOD {
		fmt.Fprintf(&b, "#EXT-X-PART-INF:PART-TARGET=%.3f\n", p.PartTarget)
	}
	first := 0
	if len(p.Segments) > 0 {
		first = p.Segments[0].Number
	}
	fmt.Fprintf(&b, "#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-DISCONTINUITY-SEQUENCE:%d\n#EXT-X-INDEPENDENT-SEGMENTS\n", first, p.Discontinuities)
	from := p.firstWithParts()
	for i, s := range p.Segments {
		if i > 0 && s.Session != p.Segments[i-1].Session {
			b.WriteString("#EXT-X-DISCONTINUITY\n")
		}
		if i == 0 || s.Map != p.Segments[i-1].Map {
			fmt.Fprintf(&b, "#EXT-X-MAP:URI=%q\n", s.Map)
		}
		s.write(&b, i >= from)
	}
	if p.Ended {
		b.WriteString(endList)
	} else if p.Hint != "" {
		fmt.Fprintf(&b, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=%q\n", p.Hint)
	}
	return b.Bytes()
}

// firstWithParts returns the first segment whose parts are listed.
func (p LivePlaylist) firstWithParts() int {
	i := len(p.Segments)
	if p.VOD {
		return i
	}
	left := float64(partsOf * p.Target)
	for ; i > 0 && left > 0; i-- {
		left -= p.Segments[i-1].Seconds()
	}
	return i
}

func (s LiveSegment) write(b *bytes.Buffer, parts bool) {
	if len(s.Parts) > 0 {
		fmt.Fprintf(b, "#EXT-X-PROGRAM-DATE-TIME:%s\n", s.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	for _, part := range s.Parts {
		if !parts {
			break
		}
		gap := ""
		if part.Gap {
			gap = ",GAP=YES"
		}
		fmt.Fprintf(b, "#EXT-X-PART:DURATION=%.6f,URI=%q,INDEPENDENT=YES%s\n", extinf(part.Seconds), part.URI, gap)
	}
	if s.Open {
		return
	}
	if s.Gap {
		b.WriteString("#EXT-X-GAP\n")
	}
	fmt.Fprintf(b, "#EXTINF:%.6f,\n%s\n", s.Seconds(), s.URI)
}

// LiveTarget returns the target duration of a live stream, in seconds.
func LiveTarget(p transcode.LivePlan) int {
	return max(1, int(math.Round(p.PartSeconds()*float64(p.SegmentParts)+transcode.LiveAudioSlack)))
}

// LiveMaster returns the master playlist of a live stream whose tracks, by rendition, have
// these codecs.
func LiveMaster(p transcode.LivePlan, codecs map[string]string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-INDEPENDENT-SEGMENTS\n", versionLive)
	var groups []audioGroup
	var audio []transcode.AudioRendition
	if p.Audio != "" {
		groups, audio = audioGroups(p.Plan), []transcode.AudioRendition{*p.Plan.Audio}
	}
	for _, g := range groups {
		g.write(&b, transcode.Naming{})
	}
	for _, r := range p.Plan.Renditions {
		v := variant{rendition: r, rate: p.Plan.Grid.Rate.Float(), codecs: []string{codecs[r.Name]}, videoRange: videoRange(p.Plan, r), peak: plannedPeak(p.Plan, r, audio)}
		if p.Audio != "" {
			v.codecs, v.group = append(v.codecs, codecs[p.Audio]), groups[0].id
		}
		v.write(&b, transcode.Naming{})
	}
	return b.Bytes()
}

// Trim removes the segments that ended before a time, except the last three.
func (p *LivePlaylist) Trim(oldest time.Time) {
	n := 0
	for n < len(p.Segments)-3 && p.Segments[n].Time.Add(time.Duration(p.Segments[n].Seconds()*float64(time.Second))).Before(oldest) {
		n++
	}
	if n > 0 {
		p.Segments = p.Segments[n:]
		p.Discontinuities = p.Segments[0].Session
	}
}
