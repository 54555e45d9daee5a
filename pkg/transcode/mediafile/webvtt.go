package mediafile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of WebVTT that is read.
const (
	MaxTextBytes = 32 << 20 // of a file of subtitles
	maxTextLine  = 64 << 10
	maxCues      = 200_000
)

// A Cue is a text of WebVTT, and when it is shown.
type Cue struct {
	Start, End time.Duration
	Settings   string // behind the times, such as align:left
	Text       string // lines without an empty one
}

// A TextTrack is a file of WebVTT.
type TextTrack struct {
	// MPEGTS is the time stamp, in 90 kHz, at which a cue of time 0 is shown, by
	// X-TIMESTAMP-MAP (RFC 8216 §3.5); -1 without.
	MPEGTS int64
	Cues   []Cue
}

// ReadWebVTT reads a file of WebVTT. It drops comments, styles, regions and the names
// of cues.
func ReadWebVTT(r io.Reader) (TextTrack, error) {
	track, err := readWebVTT(io.LimitReader(r, MaxTextBytes+1))
	if err != nil {
		return TextTrack{}, fmt.Errorf("reading WebVTT: %w", err)
	}
	return track, nil
}

func readWebVTT(r io.Reader) (TextTrack, error) {
	track, total := TextTrack{MPEGTS: -1}, 0
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxTextLine)
	var block []string
	for first := true; lines.Scan(); first = false {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if total += len(lines.Bytes()) + 1; total > MaxTextBytes {
			return track, fmt.Errorf("more than %d bytes", MaxTextBytes)
		}
		if first && !isHeader(line) {
			return track, fmt.Errorf("it begins with %.50q; want WEBVTT", line)
		}
		if line != "" {
			block = append(block, line)
			continue
		}
		if err := track.add(block); err != nil {
			return track, err
		}
		block = nil
	}
	if total == 0 && lines.Err() == nil {
		return track, errors.New("it is empty; want WEBVTT")
	}
	return track, errors.Join(lines.Err(), track.add(block))
}

func isHeader(line string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(line, "\ufeff"), "WEBVTT")
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t')
}

// add adds a block of lines, which may be the header, a comment or a cue.
func (t *TextTrack) add(block []string) error {
	for i, line := range block[:min(len(block), 2)] {
		if value, ok := strings.CutPrefix(line, "X-TIMESTAMP-MAP="); ok {
			return t.readMap(value)
		}
		if !strings.Contains(line, arrow) {
			continue
		}
		cue, err := parseTimes(line)
		if err != nil {
			return err
		}
		if len(t.Cues) >= maxCues {
			return fmt.Errorf("more than %d cues", maxCues)
		}
		cue.Text = strings.Join(block[i+1:], "\n")
		t.Cues = append(t.Cues, cue)
		return nil
	}
	return nil
}

// readMap reads MPEGTS:900000,LOCAL:00:00:00.000.
func (t *TextTrack) readMap(value string) error {
	for part := range strings.SplitSeq(value, ",") {
		key, number, _ := strings.Cut(part, ":")
		switch key {
		case "MPEGTS":
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 0 || n >= 1<<33 {
				return fmt.Errorf("MPEGTS %.30q; want 0 to 2^33", number)
			}
			t.MPEGTS = n
		case "LOCAL":
			if local, err := parseTime(number); err != nil || local != 0 {
				return fmt.Errorf("LOCAL %.30q; want 00:00:00.000", number)
			}
		}
	}
	return nil
}

const arrow = "-->"

func parseTimes(line string) (Cue, error) {
	from, rest, _ := strings.Cut(line, arrow)
	words := strings.Fields(rest)
	if len(words) == 0 {
		return Cue{}, fmt.Errorf("%.100q has no end", line)
	}
	start, err := parseTime(strings.TrimSpace(from))
	end, err2 := parseTime(words[0])
	return Cue{Start: start, End: max(start, end), Settings: strings.Join(words[1:], " ")}, errors.Join(err, err2)
}

// parseTime parses hh:mm:ss.mmm, whose hours may be missing.
func parseTime(text string) (time.Duration, error) {
	parts := strings.Split(text, ":")
	if len(parts) == 2 {
		parts = slices.Insert(parts, 0, "0")
	}
	if len(parts) != 3 {
		return 0, fmt.Errorf("time %.30q; want hh:mm:ss.mmm", text)
	}
	whole, milli, ok := strings.Cut(parts[2], ".")
	h, err1 := strconv.ParseUint(parts[0], 10, 16)
	m, err2 := strconv.ParseUint(parts[1], 10, 8)
	s, err3 := strconv.ParseUint(whole, 10, 8)
	ms, err4 := strconv.ParseUint(milli, 10, 16)
	if !ok || len(milli) != 3 || errors.Join(err1, err2, err3, err4) != nil {
		return 0, fmt.Errorf("time %.30q; want hh:mm:ss.mmm", text)
	}
	return time.Duration(((h*60+m)*60+s)*1000+ms) * time.Millisecond, nil
}

// Between returns the cues that are shown at any time from start to end.
func (t TextTrack) Between(start, end time.Duration) []Cue {
	var cues []Cue
	for _, c := range t.Cues {
		if c.Start < end && (c.End > start || c.Start >= start) {
			cues = append(cues, c)
		}
	}
	return cues
}

// From returns t without what is shown before start, which becomes its time 0.
func (t TextTrack) From(start time.Duration) TextTrack {
	if start <= 0 {
		return t
	}
	var cues []Cue
	for _, c := range t.Cues {
		if c.End > start {
			c.Start, c.End = max(c.Start-start, 0), c.End-start
			cues = append(cues, c)
		}
	}
	t.Cues = cues
	return t
}

// SubRip returns what t shows before end as a file of SubRip.
func (t TextTrack) SubRip(end time.Duration) []byte {
	var b strings.Builder
	clock := func(d time.Duration) string {
		ms := d.Milliseconds()
		return fmt.Sprintf("%02d:%02d:%02d,%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
	}
	for i, c := range t.Between(0, end) {
		fmt.Fprintf(&b, "%d\n%s --> %s\n%s\n\n", i+1, clock(c.Start), clock(min(c.End, end)), c.Text)
	}
	if b.Len() == 0 {
		b.WriteString("\n")
	}
	return []byte(b.String())
}

// WebVTT returns t as a file.
func (t TextTrack) WebVTT() []byte {
	var b strings.Builder
	b.WriteString("WEBVTT\n")
	if t.MPEGTS >= 0 {
		fmt.Fprintf(&b, "X-TIMESTAMP-MAP=MPEGTS:%d,LOCAL:00:00:00.000\n", t.MPEGTS)
	}
	for _, c := range t.Cues {
		fmt.Fprintf(&b, "\n%s %s %s", timeText(c.Start), arrow, timeText(c.End))
		if c.Settings != "" {
			b.WriteString(" " + c.Settings)
		}
		b.WriteString("\n")
		if c.Text != "" {
			b.WriteString(c.Text + "\n")
		}
	}
	return []byte(b.String())
}

func timeText(d time.Duration) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}
