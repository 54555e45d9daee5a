package worker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// A report is ffprobe's output, with the packets summed up for each stream.
type report struct {
	packets  map[int]*track
	streams  []stream
	chapters []chapter
	clocks   []clock // of the packets so far; there is at least one after the first packet
	trail    []entry // the latest packets of all streams
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
	ID                string      `json:"id"`
	HasBFrames        int         `json:"has_b_frames"`
	CodecType         string      `json:"codec_type"`
	CodecName         string      `json:"codec_name"`
	CodecTag          string      `json:"codec_tag_string"`
	Width             int         `json:"width"`
	Height            int         `json:"height"`
	SampleAspectRatio string      `json:"sample_aspect_ratio"`
	PixFmt            string      `json:"pix_fmt"`
	FieldOrder        string      `json:"field_order"`
	AvgFrameRate      string      `json:"avg_frame_rate"`
	RFrameRate        string      `json:"r_frame_rate"`
	BitRate           string      `json:"bit_rate"`
	Channels          int         `json:"channels"`
	SampleRate        string      `json:"sample_rate"`
	Disposition       disposition `json:"disposition"`
	Tags              tags        `json:"tags"`
	ColorRange        string      `json:"color_range"`
	ColorSpace        string      `json:"color_space"`
	ColorTransfer     string      `json:"color_transfer"`
	ColorPrimaries    string      `json:"color_primaries"`
	SideData          []sideData  `json:"side_data_list"`
}

type packet struct {
	Stream   int    `json:"stream_index"`
	PTS      string `json:"pts_time"`
	DTS      string `json:"dts_time"`
	Duration string `json:"duration_time"`
	Pos      string `json:"pos"`
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
	rest, err := report.readPacketLines(bufio.NewReaderSize(r, maxPacketBytes), progress)
	if err != nil {
		return nil, fmt.Errorf("reading ffprobe's report: %w", err)
	}
	d := json.NewDecoder(rest)
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
	report.finish()
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
		t = &track{}
		r.packets[p.Stream] = t
	}
	r.place(t, p)
}

// A track sums up the packets of one stream. Packets arrive in decoding order. To
// measure the time between frames, a track keeps as many as can be out of order.
type track struct {
	count       int
	first, end  float64 // of all packets, in seconds, after finish
	lastSeconds float64 // duration of the packet that ends last; 0 if unknown
	encrypted   bool
	stretches   []stretch
	unstamped   int     // packets without a presentation time
	untimed     float64 // seconds of packets without any time
	decoded     float64 // the latest decoding time
	timed       bool    // decoded is set
	clock       int     // of the latest packet
	pending     *packet // begins another clock if the next packet confirms it
	entries     []entry
	entryEvery  float64 // seconds
	maxGap      float64
	maxGOP      float64
	gaps        gaps

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

// add adds a packet and returns when it is shown, unless it never is.
func (t *track) add(p packet) (m moment, shown bool) {
	for _, data := range p.SideData {
		t.encrypted = t.encrypted || data.Type == "Encryption info"
	}
	// Flags are K, D, C for key, discard, corrupt. A packet that an edit list
	// discards is never shown.
	if len(p.Flags) > 1 && p.Flags[1] == 'D' {
		return moment{}, false
	}
	m = moment{at: t.at(p), key: len(p.Flags) > 0 && p.Flags[0] == 'K'}
	t.count++
	t.extend(m, max(number(p.Duration), 0))
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
	return m, true
}

// show receives the frames in the order in which they are shown.
func (t *track) show(m moment) {
	if !t.any {
		t.any, t.shown, t.lastKey = true, m, m.at
		return
	}
	t.maxGap = max(t.maxGap, m.at-t.shown.at)
	t.gaps.add(m.at - t.shown.at)
	t.maxGOP = max(t.maxGOP, m.at-t.lastKey)
	if m.key {
		t.lastKey = m.at
	}
	t.shown = m
}

// span returns how long the stream lasts.
func (t *track) span() float64 {
	if t.count < 2 {
		return 0 // a picture, whatever its duration
	}
	seconds := 0.0
	for _, s := range t.stretches {
		seconds += s.end - s.first
	}
	return seconds
}
