package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"

	"pibootd/pkg/transcode"
)

// A report is ffprobe's output, with the packets summed up for each stream.
type report struct {
	packets  map[int]*track
	streams  []stream
	chapters []chapter
	format   format

	undecodable []string // streams that were set aside
}

type format struct {
	FormatName string `json:"format_name"`
	StartTime  string `json:"start_time"`
	Duration   string `json:"duration"`
	Size       string `json:"size"`
	BitRate    string `json:"bit_rate"`
	Tags       tags   `json:"tags"`
}

type stream struct {
	Index             int         `json:"index"`
	CodecType         string      `json:"codec_type"`
	CodecName         string      `json:"codec_name"`
	CodecTag          string      `json:"codec_tag_string"`
	Width             int         `json:"width"`
	Height            int         `json:"height"`
	SampleAspectRatio string      `json:"sample_aspect_ratio"`
	PixFmt            string      `json:"pix_fmt"`
	FieldOrder        string      `json:"field_order"`
	AvgFrameRate      string      `json:"avg_frame_rate"`
	BitRate           string      `json:"bit_rate"`
	Channels          int         `json:"channels"`
	SampleRate        string      `json:"sample_rate"`
	Disposition       disposition `json:"disposition"`
	Tags              tags        `json:"tags"`
	SideData          []struct {
		Rotation float64 `json:"rotation"`
	} `json:"side_data_list"`
}

type packet struct {
	Stream   int    `json:"stream_index"`
	PTS      string `json:"pts_time"`
	DTS      string `json:"dts_time"`
	Duration string `json:"duration_time"`
	Flags    string `json:"flags"`
	SideData []struct {
		Type string `json:"side_data_type"`
	} `json:"side_data_list"`
}

const (
	// maxStreams is the number of streams that are examined. A video that anyone
	// would see is not behind them.
	maxStreams = 64
	// reportEvery is the number of packets between two calls of progress.
	reportEvery = 1000
)

// readReport parses ffprobe's JSON packet by packet as it arrives, because a film
// has half a million packets. It calls progress with the number of packets read so
// far.
func readReport(r io.Reader, progress func(packets int)) (*report, error) {
	report := &report{packets: make(map[int]*track)}
	d := json.NewDecoder(r)
	if err := expect(d, json.Delim('{')); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("reading ffprobe's report: %w", err)
		}
		if err := report.section(d, key, progress); err != nil {
			return nil, fmt.Errorf("reading ffprobe's report: %w", err)
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return nil, err
	}
	for _, t := range report.packets {
		t.finish()
	}
	return report, nil
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err != nil {
		return fmt.Errorf("reading ffprobe's report: %w", err)
	}
	if got != want {
		return fmt.Errorf("reading ffprobe's report: got %v; want %v", got, want)
	}
	return nil
}

func (r *report) section(d *json.Decoder, key json.Token, progress func(int)) error {
	switch key {
	case "packets":
		return r.readPackets(d, progress)
	case "streams":
		return d.Decode(&r.streams)
	case "chapters":
		return d.Decode(&r.chapters)
	case "format":
		return d.Decode(&r.format)
	}
	var other json.RawMessage
	return d.Decode(&other)
}

func (r *report) readPackets(d *json.Decoder, progress func(int)) error {
	if err := expect(d, json.Delim('[')); err != nil {
		return err
	}
	for n := 1; d.More(); n++ {
		var p packet
		if err := d.Decode(&p); err != nil {
			return err
		}
		r.add(p)
		if n%reportEvery == 0 {
			progress(n)
		}
	}
	return expect(d, json.Delim(']'))
}

func (r *report) add(p packet) {
	t := r.packets[p.Stream]
	if t == nil {
		if len(r.packets) >= maxStreams {
			return
		}
		t = &track{first: math.Inf(1)}
		r.packets[p.Stream] = t
	}
	t.add(p)
}

// A track sums up the packets of one stream. Packets arrive in decoding order. To
// measure the time between frames, a track keeps as many as can be out of order.
type track struct {
	count       int
	first, end  float64 // of all packets, in seconds
	lastSeconds float64 // duration of the packet that ends last; 0 if unknown
	encrypted   bool
	maxGap      float64
	maxGOP      float64

	waiting []moment // ascending
	shown   moment   // the last that was removed from waiting
	any     bool     // whether shown is set
	lastKey float64
}

type moment struct {
	at  float64
	key bool
}

// reorderDepth is larger than the number of frames that any codec reorders.
const reorderDepth = 32

func (t *track) add(p packet) {
	at := p.PTS
	if at == "" {
		at = p.DTS // AVI has no PTS
	}
	// Flags are K, D, C for key, discard, corrupt. A packet that an edit list
	// discards is never shown.
	if at == "" || len(p.Flags) > 1 && p.Flags[1] == 'D' {
		return
	}
	for _, data := range p.SideData {
		t.encrypted = t.encrypted || data.Type == "Encryption info"
	}
	m := moment{at: number(at), key: len(p.Flags) > 0 && p.Flags[0] == 'K'}
	t.count++
	t.first = min(t.first, m.at)
	if d := max(number(p.Duration), 0); t.count == 1 || m.at+d > t.end {
		t.end, t.lastSeconds = m.at+d, d
	}
	i, _ := slices.BinarySearchFunc(t.waiting, m.at, func(m moment, at float64) int {
		if m.at < at {
			return -1
		}
		return 1
	})
	t.waiting = slices.Insert(t.waiting, i, m)
	if len(t.waiting) > reorderDepth {
		t.show(t.waiting[0])
		t.waiting = slices.Delete(t.waiting, 0, 1)
	}
}

// show receives the frames in the order in which they are shown.
func (t *track) show(m moment) {
	if !t.any {
		t.any, t.shown, t.lastKey = true, m, m.at
		return
	}
	t.maxGap = max(t.maxGap, m.at-t.shown.at)
	t.maxGOP = max(t.maxGOP, m.at-t.lastKey)
	if m.key {
		t.lastKey = m.at
	}
	t.shown = m
}

func (t *track) finish() {
	for _, m := range t.waiting {
		t.show(m)
	}
	t.waiting = nil
}

// rate returns the container's average frame rate unless the frames contradict it:
// some containers have the rate of fields, or a guess.
func (t *track) rate(said transcode.Rational) transcode.Rational {
	span := t.shown.at - t.first
	if t.count < 2 || span <= 0 {
		return said
	}
	counted := float64(t.count-1) / span
	if math.Abs(said.Float()-counted) <= counted/20 {
		return said
	}
	return transcode.Rational{Num: int(math.Round(min(counted, 1e6) * 1000)), Den: 1000}
}
