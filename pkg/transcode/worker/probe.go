package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// errSource marks a fault of the source, at which every other worker would fail
// too.
var errSource = errors.New("bad source")

// probeArgs returns the arguments with which one ffprobe lists all packets, all
// streams and the container. A second start would cost seconds on a small board.
func probeArgs(source string) []string {
	args := []string{
		"-hide_banner", "-loglevel", "error", "-show_streams", "-show_chapters",
		"-show_entries", "packet=stream_index,pts_time,dts_time,duration_time,size,pos,flags:packet_side_data=side_data_type:" +
			"format=format_name,start_time,duration,size,bit_rate:format_tags",
		"-of", "default", "-correct_ts_overflow", "0",
		"-o", "pipe:1", // which has a buffer; to standard output, each packet is a write of its own
	}
	return append(args, sourceArgs(source)...)
}

// probe describes source by ffprobe. Errors that match errSource are faults of the
// source itself and are worded for the user.
func (w *Worker) probe(ctx context.Context, source string, p *pulse) (transcode.Probe, []string, error) {
	if !isURL(source) {
		if err := readable(source); err != nil {
			return transcode.Probe{}, nil, err
		}
	}
	report, stderr, err := w.report(ctx, source, p)
	if refused(err, stderr) {
		return transcode.Probe{}, stderr, fmt.Errorf("%w: not a video that ffmpeg can read: %s", errSource, complaint(stderr))
	}
	if err != nil {
		return transcode.Probe{}, stderr, err
	}
	if report, err = w.divide(ctx, source, report, p); err != nil {
		return transcode.Probe{}, stderr, err
	}
	result, err := w.describe(ctx, source, report, stderr, p)
	return result, stderr, err
}

// describe makes a description of a report, of which ffprobe complained by stderr.
func (w *Worker) describe(ctx context.Context, source string, report *report, stderr []string, p *pulse) (transcode.Probe, error) {
	if err := w.setAside(ctx, report); err != nil {
		return transcode.Probe{}, err
	}
	if err := w.promised(ctx, source, report); err != nil {
		return transcode.Probe{}, err
	}
	result, err := report.probe()
	result.Damaged = len(stderr) > 0
	if err == nil {
		err = w.peek(ctx, source, report, &result, p)
	}
	if err == nil {
		err = w.mp4(ctx, source, report, &result)
	}
	if err == nil {
		err = w.appended(ctx, source, report, &result, p)
	}
	if err == nil {
		err = w.captions(ctx, source, report, &result, p)
	}
	if err == nil {
		err = w.canvases(ctx, source, &result, p)
	}
	return result, err
}

// report lists all packets of source.
func (w *Worker) report(ctx context.Context, source string, p *pulse) (*report, []string, error) {
	r := newReport(p)
	stderr, err := w.examine(ctx, source, r, p)
	if film := r.film(); err == nil && r.isMPEG() && film != nil && film.Width == 0 {
		// Its first key frame comes later than ffprobe looks by itself, as in a recording that begins
		// in the middle of a film.
		r = newReport(p)
		r.late = true
		stderr, err = w.examine(ctx, source, r, p, "-analyzeduration", "60000000", "-probesize", "200000000")
	}
	r.finish()
	return r, stderr, err
}

// newReport returns a report of nothing, which shows progress by p.
func newReport(p *pulse) *report {
	return &report{packets: map[int]*track{}, progress: func(packets int) { p.advance(packets, 0, time.Now()) }}
}

// examine runs ffprobe on a file and adds its whole output to a report. options are more of
// its options.
func (w *Worker) examine(ctx context.Context, file string, report *report, p *pulse, options ...string) ([]string, error) {
	var parseErr error
	ffprobe := child{
		name: w.ffprobe(), args: append(options, probeArgs(file)...), env: w.mediaStore().env(), pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error {
			parseErr = report.readFrom(newPatientReader(ctx, r))
			return nil // ffprobe's exit status says more than its truncated output
		},
	}
	stderr, err := ffprobe.run(ctx)
	return stderr, errors.Join(err, parseErr)
}

// refused reports whether ffprobe failed because of the source: its exit code is 1
// then. Another code, a signal or an unreadable share is a fault of this worker.
func refused(err error, stderr []string) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		return false
	}
	last := lastOf(stderr)
	return !slices.ContainsFunc(unreadable, func(trouble string) bool { return strings.Contains(last, trouble) })
}

// unreadable are the texts that ffmpeg prints if the path to a source fails: of a
// mount, and of an HTTP server.
var unreadable = []string{"Input/output error", "Stale file handle", "Server returned 5"}

// readable verifies that the share can be read, so that a complaint of ffprobe is
// about the source itself.
func readable(source string) error {
	f, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("opening the source: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("opening the source: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is %v; want a regular file", errSource, info.Mode().Type())
	}
	_, err = f.Read(make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it is empty", errSource)
	}
	if err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("reading the source: %w", err)
	}
	return nil
}

// complaint returns what ffprobe printed about a source that it could not read,
// without the source's path on this machine.
func complaint(stderr []string) string {
	last := lastOf(stderr)
	said := last[strings.LastIndex(last, ": ")+1:]
	for _, line := range stderr {
		if strings.Contains(line, "moov atom not found") {
			said += " (it has no index, as an MP4 file that was cut short or is still being copied)"
			break
		}
	}
	return strings.TrimSpace(said)
}

// explained adds to err, the failure of an ffmpeg, the line of its output that
// explains it.
func explained(err error, stderr []string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		return err
	}
	return fmt.Errorf("%w: %s", err, cause(stderr))
}

// cause returns the line of ffmpeg's output that has the cause of its failure.
func cause(stderr []string) string {
	var lines []string
	for _, line := range stderr {
		lines = append(lines, speaker.ReplaceAllString(line, ""))
	}
	if i := slices.IndexFunc(lines, consequence.MatchString); i > 0 {
		return lines[i-1]
	}
	for _, line := range slices.Backward(lines) {
		if telling.MatchString(line) {
			return line
		}
	}
	return lastOf(stderr)
}

// consequence matches the lines in which ffmpeg 5.1 to 7.1 report that they stop,
// which follow on the line with the cause.
var consequence = regexp.MustCompile(`^(Error (opening output file|selecting an encoder|initializing output stream|reinitializing filters|` +
	`while opening encoder|sending frames to consumers)|Conversion failed|Task finished with error|Terminating thread|Nothing was written)`)

// telling matches the lines in which ffmpeg reports what is wrong.
var telling = regexp.MustCompile(`(?i)error|unknown|invalid|unable|cannot|can't|could not|not found|no such|unrecognized|failed|denied|no space`)

// speaker matches the origin of a line, such as "[libx264 @ 0x5589d2a04c00] ".
var speaker = regexp.MustCompile(`^\[[^\]]* @ 0x[0-9a-f]+\] `)

// lastOf returns ffmpeg's last line without its origin.
func lastOf(stderr []string) string {
	for _, line := range slices.Backward(stderr) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return "it does not say why"
}

// scripts are the containers that only refer to other files. They are refused,
// because a source must be a single file.
var scripts = []string{"hls", "concat", "dash", "imf"}

// unstamped are the containers without time stamps: ffmpeg counts frames from where
// it begins to read.
var unstamped = []string{"h264", "hevc", "mpegvideo", "m4v", "mjpeg", "jpeg_pipe", "vc1", "obu", "dirac", "cavsvideo", "h261", "h263"}

// mostSeconds is the longest duration that is reported. Subtitles without an end make
// a container say more, which is not to be believed.
const mostSeconds = 1e6

// probe converts a report.
func (r *report) probe() (transcode.Probe, error) {
	p := transcode.Probe{
		Format:     cut(r.format.FormatName),
		Seconds:    min(number(r.format.Duration), mostSeconds),
		Start:      r.start(),
		SizeBytes:  int64(number(r.format.Size)),
		BitrateBPS: whole(r.format.BitRate),
	}
	if slices.Contains(scripts, r.format.FormatName) {
		return p, fmt.Errorf("%w: it is a playlist (%s); want the video itself", errSource, p.Format)
	}
	axis := axis{start: p.Start}
	if v := r.film(); v != nil {
		film := r.packets[v.Index]
		if film.encrypted {
			return p, fmt.Errorf("%w: it is encrypted; want it without copy protection", errSource)
		}
		p.Untimed = !film.timed && film.unstamped == film.count || slices.Contains(unstamped, r.format.FormatName)
		axis = r.axis(film, p.Start, p.Untimed)
		p.Spans = axis.spans
		p.Entries = axis.entries(film, p.Untimed && v.HasBFrames > 0, p.Untimed || r.isMPEG())
		p.Video = v.video(film, axis)
		p.Parts = r.sourceParts(axis)
		p.HWDecodable = hwDecodable(*p.Video) && len(p.Parts) == 0
	}
	r.addTracks(&p, axis)
	if !r.head {
		p.UnreadBytes = r.unreadBytes(p.SizeBytes)
	}
	if len(axis.spans) > 0 {
		p.Seconds = axis.end(r.packets[r.film().Index]) // the container's length is a guess
		p.BitrateBPS = int(min(float64(p.SizeBytes)*8/max(p.Seconds, 0.001), math.MaxInt32))
	} else if err := r.truncated(p); err != nil && !r.head {
		return p, err
	}
	if _, err := transcode.NewPlan(transcode.Request{}, p, 0); err != nil {
		return p, fmt.Errorf("%w: %w", errSource, errors.Unwrap(err))
	}
	return p, nil
}

// first returns the first stream of a kind that has packets. It skips cover art, as
// ffmpeg's 0:V:0 does.
func (r *report) first(kind string) *stream {
	for i := range r.streams {
		s := &r.streams[i]
		if s.CodecType == kind && s.Disposition.AttachedPic == 0 && r.packets[s.Index] != nil {
			return s
		}
	}
	return nil
}

// film returns the video stream that people watch: the longest one, without cover
// art and single pictures. Of streams of about the same length, it is the one that
// the source marks as its default, or the first.
func (r *report) film() *stream {
	var film *stream
	better := func(s *stream) bool {
		long, before := r.packets[s.Index].span(), r.packets[film.Index].span()
		if long < 0.9*before || before < 0.9*long {
			return long > before
		}
		return s.Disposition.Default > film.Disposition.Default
	}
	for i := range r.streams {
		s := &r.streams[i]
		if s.CodecType != "video" || s.Disposition.AttachedPic+s.Disposition.TimedThumbnails > 0 || r.packets[s.Index] == nil {
			continue
		}
		if film == nil || better(s) {
			film = s
		}
	}
	return film
}

// leastUnread is more than an index of a short film has.
const leastUnread = 64 << 10

// continued are the formats besides MPEG's of which nothing long follows on the packets.
var continued = []string{"matroska,webm", "flv", "asf", "avi", "wav"}

// unreadBytes returns how much follows on the last packet, if that is much of the source:
// what follows on most formats is not even an index.
func (r *report) unreadBytes(size int64) int64 {
	if left := size - r.lastEnd; r.lastEnd > 0 && left > max(size/5, leastUnread) && (r.isMPEG() || slices.Contains(continued, r.format.FormatName)) {
		return left
	}
	return 0
}

// promised has the report say how long the container claims to be where ffprobe does not: in ASF
// and AVI, it goes by the size of a file that was cut short.
func (w *Worker) promised(ctx context.Context, source string, r *report) error {
	switch r.format.FormatName {
	case "asf":
		if r.format.Duration != "" {
			return nil
		}
		head := make([]byte, mediafile.ASFHead)
		n, err := w.bytesOf(source, int64(number(r.format.Size))).readAt(ctx, head, 0)
		if err != nil {
			return fmt.Errorf("looking at how long it is: %w", err)
		}
		r.format.Duration = seconds(mediafile.ASFSeconds(head[:n]))
	case "avi":
		film := r.film()
		if film == nil || rational(film.AvgFrameRate).Float() == 0 {
			return nil
		}
		r.format.Duration = seconds(max(number(r.format.Duration), float64(film.Frames)/rational(film.AvgFrameRate).Float()))
	}
	return nil
}

// truncated reports whether the packets end earlier than the container claims. It
// tolerates a small difference, because containers round and some only estimate.
func (r *report) truncated(p transcode.Probe) error {
	end := 0.0
	for _, t := range r.packets {
		// Some containers count their length from zero and not from their start.
		end = max(end, t.end, t.end-p.Start)
	}
	if missing := p.Seconds - end; missing > 2+p.Seconds/20 {
		return fmt.Errorf("%w: it ends after %.1f of %.1f s; it is truncated, or was still being copied", errSource, end, p.Seconds)
	}
	return nil
}

// video describes a video stream by its packets.
func (s *stream) video(t *track, a axis) *transcode.VideoStream {
	v := s.picture()
	v.Rate = t.rate(rational(s.AvgFrameRate), rational(s.RFrameRate))
	v.BitrateBPS, v.Frames, v.MaxGapSeconds, v.MaxGOPSeconds, v.Pauses = whole(s.BitRate), t.count, t.maxGap, t.maxGOP, a.pauses(t)
	end := a.end(t)
	if t.lastSeconds == 0 && v.Rate.Float() > 0 {
		end += 1 / v.Rate.Float() // the container gives no durations
	}
	v.EndSeconds, v.Sizes = end, &t.sizes
	return &v
}

// picture describes what the pictures of a video stream are.
func (s *stream) picture() transcode.VideoStream {
	v := transcode.VideoStream{
		Map:         s.specifier(),
		Index:       s.Index + 1,
		Codec:       cut(s.CodecName),
		PixelFormat: cut(s.PixFmt),
		Color:       s.color(),
		Alpha:       s.Tags.get("alpha_mode") == "1",
		Interlaced:  slices.Contains([]string{"tt", "bb", "tb", "bt"}, s.FieldOrder),
	}
	v.Width, v.Height = s.shownSize()
	if quarterTurns(s) == 0 {
		v.CodedWidth, v.CodedHeight = s.Width, s.Height
	}
	return v
}

// specifier returns ffmpeg's name for s. In MPEG's containers, the numbers of streams
// depend on where reading begins, but not their IDs.
func (s *stream) specifier() string {
	if id, err := strconv.ParseUint(s.ID, 0, 32); err == nil && id >= 0x10 {
		return fmt.Sprintf("0:i:%d", id)
	}
	return fmt.Sprintf("0:%d", s.Index)
}

// shownSize returns the size of the picture as shown: with square pixels, and
// rotated.
func (s *stream) shownSize() (width, height int) {
	width, height = s.Width, s.Height
	if aspect := rational(strings.Replace(s.SampleAspectRatio, ":", "/", 1)).Float(); aspect > 0 {
		width = int(math.Round(min(float64(width)*aspect, 1<<16)))
	}
	if quarterTurns(s)%2 != 0 {
		width, height = height, width
	}
	return width, height
}

func quarterTurns(s *stream) int {
	for _, data := range s.SideData {
		if data.Rotation != 0 {
			return int(math.Round(data.Rotation / 90))
		}
	}
	return 0
}

// hwDecodable reports whether a Pi's H.264 decoder supports v: level 4.0, 4:2:0.
func hwDecodable(v transcode.VideoStream) bool {
	return v.Codec == "h264" && (v.PixelFormat == "yuv420p" || v.PixelFormat == "yuvj420p") &&
		!v.Interlaced && max(v.Width, v.Height) <= 1920 && v.Width*v.Height <= 1920*1088
}

// number parses a decimal number of ffprobe; 0 if there is none, as in N/A.
func number(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e15 {
		return 0
	}
	return f
}

func whole(s string) int { return int(min(max(number(s), 0), math.MaxInt32)) }

// rational parses a fraction such as 30000/1001. ffprobe prints 0/0 for an unknown
// one.
func rational(s string) transcode.Rational {
	num, den, _ := strings.Cut(s, "/")
	return transcode.Rational{Num: whole(num), Den: whole(den)}
}

// cut limits the length of a name that came from the source.
func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), 100)], "")
}
