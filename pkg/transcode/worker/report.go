package worker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"pibootd/pkg/transcode"
)

// A report is ffprobe's output, with the packets summed up for each stream.
type report struct {
	packets  map[int]*track
	streams  []stream
	chapters []chapter
	clocks   []clock // of the packets so far; there is at least one after the first packet
	trail    []entry // the latest packets of all streams
	format   format
	about    subject // of the next lines
	packet   packet  // that is read
	tag      string  // name of the text that is read; "": none
	ended    bool
	read     int   // packets
	lastEnd  int64 // of packets, in bytes from the beginning of the file
	progress func(packets int)

	head        bool     // only the beginning of the source is read
	late        bool     // the first key frame of the film comes later than ffmpeg looks by itself
	undecodable []string // streams that were set aside

	parts  []sourcePart // of a source whose video changes its codec
	become map[int]int  // the numbers that the streams of the part have that is read; nil: their own
	offset int64        // bytes before that part
}

type format struct {
	FormatName, StartTime, Duration, Size, BitRate string
	Tags                                           tags
}

type stream struct {
	Index                         int
	ID, CodecType, CodecName      string
	CodecTag, BitRate             string
	HasBFrames, Width, Height     int
	Frames                        int // as the header says; 0 if it does not
	Captions                      int // closed captions: 1 if there are some
	SampleAspectRatio, PixFmt     string
	FieldOrder                    string
	AvgFrameRate, RFrameRate      string
	Channels                      int
	SampleRate                    string
	Disposition                   disposition
	Tags                          tags
	ColorRange, ColorSpace        string
	ColorTransfer, ColorPrimaries string
	SideData                      []sideData
}

const (
	// maxStreams is the number of streams that are examined. A video that anyone
	// would see is not behind them.
	maxStreams = 64
	// maxListed is the number of streams, and of chapters, that are kept of a report.
	maxListed = 1000
	// reportEvery is the number of packets between two calls of progress.
	reportEvery = 1000
	// maxLineBytes is how much of a line is read. Only the texts of a source that are
	// longer than a book are cut.
	maxLineBytes = 1 << 20
)

// readReport parses what ffprobe prints, line by line as it arrives: first the packets, of
// which a film has half a million. It calls progress with the number of packets read so
// far.
func readReport(r io.Reader, progress func(packets int)) (*report, error) {
	report := &report{packets: make(map[int]*track), progress: progress}
	if err := report.readFrom(r); err != nil {
		return nil, err
	}
	report.finish()
	return report, nil
}

// readFrom adds what ffprobe prints.
func (r *report) readFrom(from io.Reader) error {
	lines := bufio.NewReaderSize(from, maxLineBytes)
	for {
		line, err := nextLine(lines)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("reading ffprobe's report: %.100q is cut off: %w", line, err)
		}
		r.line(line)
	}
	if !r.ended {
		return errors.New("reading ffprobe's report: it ends before what it says of the container")
	}
	return nil
}

// nextLine returns a line without its end, which remains valid until the next call. It
// cuts a line that is too long.
func nextLine(from *bufio.Reader) ([]byte, error) {
	line, err := from.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimSuffix(line, []byte("\n")), err
	}
	line = bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = from.ReadSlice('\n')
	}
	return line, err
}

// line adds a line to the report: the beginning or the end of a section, or a field.
func (r *report) line(line []byte) {
	if len(line) > 0 && line[0] == '[' && r.section(line) {
		return
	}
	if r.about == subject(&r.packet) {
		r.packet.field(line)
		return
	}
	key, value, ok := strings.Cut(string(line[:min(len(line), maxValueBytes)]), "=")
	name, isTag := strings.CutPrefix(key, "TAG:")
	switch {
	case r.about == nil:
	case ok && isTag:
		r.tag = name
		r.about.text(name, value)
	case r.tag != "": // texts can have several lines
		r.about.text(r.tag, "\n"+string(line[:min(len(line), maxValueBytes)]))
	case ok && value != "unknown" && value != "N/A":
		r.about.set(key, value)
	}
}

// section begins or ends what the next lines are about. It returns false if a line does
// not do that.
func (r *report) section(line []byte) bool {
	switch string(line) {
	case "[PACKET]":
		r.packet, r.about = newPacket(), &r.packet
	case "[/PACKET]":
		r.add(r.packet)
	case "[STREAM]":
		if r.become != nil { // those of the first part are kept
			r.about = &stream{}
		} else {
			r.about = listed(&r.streams)
		}
	case "[CHAPTER]":
		if r.become != nil {
			r.about = &chapter{}
		} else {
			r.about = listed(&r.chapters)
		}
	case "[FORMAT]":
		r.about = &r.format
	case "[SIDE_DATA]", "[/SIDE_DATA]", "[/STREAM]", "[/CHAPTER]":
	case "[/FORMAT]":
		r.ended = true
	default:
		return false
	}
	r.tag = ""
	return true
}

// A subject is what fields of a report are about.
type subject interface {
	set(key, value string)
	// text adds to a text that the source itself has.
	text(name, value string)
}

// listed adds an item to a list and returns it. One that would make the list too long
// is returned, but not added.
func listed[T any, S interface {
	*T
	subject
}](list *[]T) subject {
	if len(*list) >= maxListed {
		return S(new(T))
	}
	*list = append(*list, *new(T))
	return S(&(*list)[len(*list)-1])
}

func (r *report) add(p packet) {
	if r.become != nil {
		continued, ok := r.become[p.stream]
		if !ok {
			return
		}
		p.stream = continued
	}
	if p.pos >= 0 {
		p.pos += r.offset
	}
	t := r.packets[p.stream]
	if t == nil {
		t = &track{}
		if len(r.packets) < maxStreams {
			r.packets[p.stream] = t
		}
	}
	r.place(t, p)
	r.lastEnd = max(r.lastEnd, p.pos+int64(p.size))
	if r.read++; r.read%reportEvery == 0 {
		r.progress(r.read)
	}
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
	bytes       int64   // before the latest packet; -1 if unknown
	held        bool    // a packet is pending
	pending     packet  // begins another clock if the next packet confirms it
	entries     []entry
	entryEvery  float64    // seconds
	entered     *entry     // the first key frame of the part that is read
	keyFrames   []keyFrame // the first ones
	sizes       transcode.Sizes
	maxGap      float64
	maxGOP      float64
	gaps        gaps
	cues        cues
	pauses      []trackPause

	firstShown float64 // the first packet's

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
	t.encrypted = t.encrypted || p.encrypted
	if p.discarded {
		return moment{}, false
	}
	m = moment{at: t.at(p), key: p.key}
	if t.count == 0 {
		t.firstShown = m.at
	}
	t.count++
	t.sizes.Add(m.at-t.firstShown, p.size)
	t.cues.add(m.at, p.size, t.clock)
	t.extend(m, p.duration)
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
	if m.at-t.shown.at > pauseSeconds && len(t.stretches) > 0 {
		t.pause(t.stretches[len(t.stretches)-1].clock, t.shown.at, m.at)
	}
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
