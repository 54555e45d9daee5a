package hls

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// CheckLive reads the media playlist of a live stream as a strict player would
// (RFC 8216bis §4.4 and §6.2), and returns what it says.
func CheckLive(text []byte) (LivePlaylist, error) {
	r := liveReader{mediaSequence: -1}
	if len(text) > maxPlaylistBytes {
		return r.list, fmt.Errorf("more than %d bytes", maxPlaylistBytes)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if lines[0] != "#EXTM3U" {
		return r.list, fmt.Errorf("it begins with %.50q; want #EXTM3U", lines[0])
	}
	for i, line := range lines[1:] {
		if err := r.line(line); err != nil {
			return r.list, fmt.Errorf("line %d, %.100q: %w", i+2, line, err)
		}
	}
	return r.list, r.finish()
}

// A liveReader reads a playlist line by line.
type liveReader struct {
	list          LivePlaylist
	mediaSequence int
	hold          float64
	block         bool

	next     LiveSegment // whose tags are being read
	timed    bool        // next has its time
	session  int
	extinf   float64 // -1 before EXTINF
	anything bool    // next has any tag
	uri      string  // of the latest EXT-X-MAP
}

func (r *liveReader) line(line string) error {
	if r.list.Ended {
		return errors.New("it follows EXT-X-ENDLIST")
	}
	tag, value, _ := strings.Cut(line, ":")
	switch tag {
	case "#EXT-X-VERSION":
		return wantNumber(value, versionLive, versionLive)
	case "#EXT-X-INDEPENDENT-SEGMENTS":
		return nil
	case "#EXT-X-PLAYLIST-TYPE":
		if r.list.VOD = true; value != "VOD" {
			return errors.New("want VOD, or none")
		}
		return nil
	case "#EXT-X-TARGETDURATION":
		return readNumber(value, &r.list.Target)
	case "#EXT-X-MEDIA-SEQUENCE":
		return readNumber(value, &r.mediaSequence)
	case "#EXT-X-DISCONTINUITY-SEQUENCE":
		err := readNumber(value, &r.list.Discontinuities)
		r.session = r.list.Discontinuities
		return err
	case "#EXT-X-ENDLIST":
		r.list.Ended = true
		return nil
	case "#EXT-X-DISCONTINUITY":
		r.session++
		return nil
	case "#EXT-X-GAP":
		r.next.Gap, r.anything = true, true
		return nil
	case "#EXT-X-PROGRAM-DATE-TIME":
		return r.readTime(value)
	case "#EXTINF":
		return r.readDuration(value)
	}
	if strings.HasPrefix(line, "#") {
		return r.attributes(tag, value)
	}
	return r.segment(line)
}

// attributes reads a tag with an attribute list.
func (r *liveReader) attributes(tag, value string) error {
	a, err := attributes(value)
	if err != nil {
		return err
	}
	switch tag {
	case "#EXT-X-SERVER-CONTROL":
		r.block = a["CAN-BLOCK-RELOAD"] == "YES"
		return readSeconds(a["PART-HOLD-BACK"], &r.hold)
	case "#EXT-X-PART-INF":
		return readSeconds(a["PART-TARGET"], &r.list.PartTarget)
	case "#EXT-X-MAP":
		r.uri = a["URI"]
		return nil
	case "#EXT-X-PRELOAD-HINT":
		r.list.Hint = a["URI"]
		if a["TYPE"] != "PART" || r.list.Hint == "" {
			return errors.New("want TYPE=PART and a URI")
		}
		return nil
	case "#EXT-X-PART":
		return r.part(a)
	}
	return errors.New("an unknown tag")
}

func (r *liveReader) part(a map[string]string) error {
	p := LivePart{URI: a["URI"], Gap: a["GAP"] == "YES"}
	if err := readSeconds(a["DURATION"], &p.Seconds); err != nil {
		return err
	}
	switch {
	case p.URI == "" || a["INDEPENDENT"] != "YES":
		return errors.New("want a URI and INDEPENDENT=YES")
	case p.Seconds > r.list.PartTarget:
		return fmt.Errorf("%v s; want the part target %v at most", p.Seconds, r.list.PartTarget)
	case !r.timed:
		return errors.New("want EXT-X-PROGRAM-DATE-TIME before the segment's first part")
	}
	// RFC 8216bis §4.4.4.9: all parts but the last of a segment last at least 85 % of the target.
	if n := len(r.next.Parts); n > 0 && r.next.Parts[n-1].Seconds < 0.85*r.list.PartTarget {
		return fmt.Errorf("the part before lasts %v s; want 85 %% of %v at least", r.next.Parts[n-1].Seconds, r.list.PartTarget)
	}
	r.next.Parts, r.anything = append(r.next.Parts, p), true
	return nil
}

func (r *liveReader) readTime(value string) (err error) {
	r.next.Time, err = time.Parse("2006-01-02T15:04:05.000Z", value)
	r.timed, r.anything = err == nil, true
	return err
}

func (r *liveReader) readDuration(value string) error {
	value, ok := strings.CutSuffix(value, ",")
	if !ok {
		return errors.New("want a duration and a comma")
	}
	r.anything = true
	return readSeconds(value, &r.extinf)
}

// segment reads the URI of a segment.
func (r *liveReader) segment(uri string) error {
	sum := r.next.Seconds()
	switch {
	case r.extinf <= 0:
		return errors.New("want EXTINF before a segment")
	case math.Round(r.extinf) > float64(r.list.Target):
		return fmt.Errorf("%v s; want the target duration %d at most", r.extinf, r.list.Target)
	case len(r.next.Parts) > 0 && math.Abs(sum-r.extinf) > 0.001:
		return fmt.Errorf("its parts last %v s; want %v", sum, r.extinf)
	case !r.timed:
		return errors.New("want EXT-X-PROGRAM-DATE-TIME")
	}
	if len(r.next.Parts) == 0 {
		r.next.Parts = []LivePart{{Seconds: r.extinf, Gap: r.next.Gap}}
	}
	r.next.URI = uri
	return r.push()
}

// push ends a segment.
func (r *liveReader) push() error {
	if r.mediaSequence < 0 || r.list.Target < 1 || r.uri == "" {
		return errors.New("want EXT-X-MEDIA-SEQUENCE, EXT-X-TARGETDURATION and EXT-X-MAP before a segment")
	}
	r.next.Number, r.next.Session, r.next.Map = r.mediaSequence+len(r.list.Segments), r.session, r.uri
	r.list.Segments = append(r.list.Segments, r.next)
	r.next, r.timed, r.extinf, r.anything = LiveSegment{}, false, 0, false
	return nil
}

// finish looks at the playlist as a whole.
func (r *liveReader) finish() error {
	if r.anything {
		if len(r.next.Parts) == 0 || r.list.Ended {
			return errors.New("tags of a segment without its URI are left")
		}
		r.next.Open = true
		if err := r.push(); err != nil {
			return err
		}
	}
	switch {
	case r.list.VOD && !r.list.Ended:
		return errors.New("a video without EXT-X-ENDLIST")
	case r.list.Ended && r.list.Hint != "":
		return errors.New("EXT-X-PRELOAD-HINT in a playlist that has ended")
	case !r.list.Ended && (!r.block || r.hold < 2*r.list.PartTarget):
		return fmt.Errorf("CAN-BLOCK-RELOAD=%v and PART-HOLD-BACK=%v; want YES and twice the part target %v at least", r.block, r.hold, r.list.PartTarget)
	case !r.list.Ended && r.list.Hint == "":
		return errors.New("no EXT-X-PRELOAD-HINT")
	}
	return nil
}

// CheckLiveUpdate makes sure that a playlist can follow an earlier one of the same
// rendition (RFC 8216bis §6.2.1 and §6.2.2).
func CheckLiveUpdate(before, after LivePlaylist) error {
	if before.Target != after.Target || before.PartTarget != after.PartTarget {
		return fmt.Errorf("target durations of %d and %v; want %d and %v as before", after.Target, after.PartTarget, before.Target, before.PartTarget)
	}
	if len(before.Segments) == 0 || len(after.Segments) == 0 {
		return nil
	}
	first, last := after.Segments[0].Number, after.Segments[len(after.Segments)-1].Number
	was := before.Segments[len(before.Segments)-1]
	if first < before.Segments[0].Number || last < was.Number {
		return fmt.Errorf("segments %d to %d follow %d to %d; want no way back", first, last, before.Segments[0].Number, was.Number)
	}
	for _, old := range before.Segments {
		if i := old.Number - first; i >= 0 {
			if err := sameSegment(old, after.Segments[i]); err != nil {
				return fmt.Errorf("segment %d: %w", old.Number, err)
			}
		}
	}
	return nil
}

// sameSegment makes sure that a segment that was listed has not changed.
func sameSegment(old, is LiveSegment) error {
	switch {
	case old.Session != is.Session || old.Map != is.Map || !old.Time.Equal(is.Time):
		return fmt.Errorf("discontinuity %d, %s from %v; want %d, %s from %v as before", is.Session, is.Map, is.Time, old.Session, old.Map, old.Time)
	case !old.Open && (old.URI != is.URI || is.Open || math.Abs(old.Seconds()-is.Seconds()) > 0.001):
		return fmt.Errorf("%s of %v s; want %s of %v s as before", is.URI, is.Seconds(), old.URI, old.Seconds())
	case old.Open && is.Seconds() < old.Seconds()-0.001:
		return fmt.Errorf("%v s; it had %v s of parts before", is.Seconds(), old.Seconds())
	}
	return nil
}

func readNumber(text string, n *int) (err error) {
	if *n, err = strconv.Atoi(text); err == nil && *n < 0 {
		err = strconv.ErrRange
	}
	return err
}

func wantNumber(text string, least, most int) error {
	var n int
	if err := readNumber(text, &n); err != nil || n < least || n > most {
		return fmt.Errorf("%.20q; want %d to %d", text, least, most)
	}
	return nil
}

// readSeconds reads a decimal floating-point number that is not 0.
func readSeconds(text string, seconds *float64) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0 && n < 1e6) {
		return fmt.Errorf("%.20q; want seconds", text)
	}
	*seconds = n
	return nil
}
