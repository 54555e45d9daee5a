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
)

// errSource marks a fault of the source: no other worker would fare better.
var errSource = errors.New("bad source")

// probeArgs make ffprobe tell of every packet, every stream and the container
// at one go: on a small board the start of a second one costs seconds.
func probeArgs(source string) []string {
	args := []string{
		"-hide_banner", "-loglevel", "error", "-show_streams", "-show_format",
		"-show_entries", "packet=stream_index,pts_time,dts_time,duration_time,flags:packet_side_data=side_data_type",
		"-of", "json",
	}
	return append(args, sourceArgs(source)...)
}

// probe asks ffprobe what source is. Errors that match errSource are the
// source's own fault, said for the user.
func (w *Worker) probe(ctx context.Context, source string, p *pulse) (transcode.Probe, []string, error) {
	if !isURL(source) {
		if err := readable(source); err != nil {
			return transcode.Probe{}, nil, err
		}
	}
	report, stderr, err := w.examine(ctx, source, p)
	if refused(err, stderr) {
		return transcode.Probe{}, stderr, fmt.Errorf("%w: not a video that ffmpeg can read: %s", errSource, complaint(stderr))
	}
	if err != nil {
		return transcode.Probe{}, stderr, err
	}
	result, err := report.probe()
	return result, stderr, err
}

// examine asks ffprobe for all there is to say of a file.
func (w *Worker) examine(ctx context.Context, file string, p *pulse) (*report, []string, error) {
	var report *report
	var parseErr error
	ffprobe := child{
		name: w.ffprobe(), args: probeArgs(file), env: w.mediaStore().env(), pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error {
			report, parseErr = readReport(r, func(packets int) { p.advance(packets, 0, time.Now()) })
			return nil // ffprobe's own end says more than a text cut short
		},
	}
	stderr, err := ffprobe.run(ctx)
	return report, stderr, errors.Join(err, parseErr)
}

// refused tells whether ffprobe failed for the source's sake: it exits with 1
// then. Another code, a signal or a share that cannot be read is this worker's
// own trouble.
func refused(err error, stderr []string) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		return false
	}
	last := lastOf(stderr)
	return !slices.ContainsFunc(unreadable, func(trouble string) bool { return strings.Contains(last, trouble) })
}

// unreadable is what ffmpeg says where the way to a source is at fault: of a
// mount, and of a reader.
var unreadable = []string{"Input/output error", "Stale file handle", "Server returned 5"}

// readable makes sure that what ffprobe may complain of is the source itself
// and not the way to it.
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

// complaint is what ffprobe said of a source that it could not read, without the
// path that the source has on this machine.
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

// explained adds to the error of an ffmpeg that has given up what it said of that.
func explained(err error, stderr []string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		return err
	}
	why := lastOf(stderr)
	for _, line := range slices.Backward(stderr) {
		if telling.MatchString(line) {
			why = line
			break
		}
	}
	return fmt.Errorf("%w: %s", err, speaker.ReplaceAllString(why, ""))
}

// telling matches lines in which ffmpeg says what is wrong; after them come
// some about what it leaves.
var telling = regexp.MustCompile(`(?i)error|unknown|invalid|unable|cannot|can't|could not|not found|no such|unrecognized|failed|denied|no space`)

// speaker is who says a line, as "[libx264 @ 0x5589d2a04c00] ".
var speaker = regexp.MustCompile(`^\[[^\]]* @ 0x[0-9a-f]+\] `)

// lastOf returns the last line that ffmpeg said, without where it said it.
func lastOf(stderr []string) string {
	for _, line := range slices.Backward(stderr) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return "it does not say why"
}

// scripts are containers that only name other files: a source must be its own.
var scripts = []string{"hls", "concat", "dash", "imf"}

// probe makes sense of a report.
func (r *report) probe() (transcode.Probe, error) {
	p := transcode.Probe{
		Format:     cut(r.format.FormatName),
		Seconds:    number(r.format.Duration),
		Start:      number(r.format.StartTime),
		SizeBytes:  int64(number(r.format.Size)),
		BitrateBPS: whole(r.format.BitRate),
	}
	if slices.Contains(scripts, r.format.FormatName) {
		return p, fmt.Errorf("%w: it is a playlist (%s); want the video itself", errSource, p.Format)
	}
	if err := r.truncated(p); err != nil {
		return p, err
	}
	if v := r.first("video"); v != nil {
		if r.packets[v.Index].encrypted {
			return p, fmt.Errorf("%w: it is encrypted; want it without copy protection", errSource)
		}
		p.Video = v.video(r.packets[v.Index], p.Start)
		p.HWDecodable = hwDecodable(*p.Video)
	}
	if a := r.first("audio"); a != nil {
		p.Audio = a.audio(r.packets[a.Index], p.Start)
	}
	if _, err := transcode.NewPlan(transcode.Request{}, p, 0); err != nil {
		return p, fmt.Errorf("%w: %w", errSource, errors.Unwrap(err))
	}
	return p, nil
}

// first returns the first stream of a kind that has packets. Cover art is no
// video: ffmpeg's 0:V:0 passes it over as well.
func (r *report) first(kind string) *stream {
	for i := range r.streams {
		s := &r.streams[i]
		if s.CodecType == kind && s.Disposition.AttachedPic == 0 && r.packets[s.Index] != nil {
			return s
		}
	}
	return nil
}

// truncated compares where the packets end with where the container says that
// they do. A little is forgiven: containers round, and some only estimate.
func (r *report) truncated(p transcode.Probe) error {
	end := 0.0
	for _, t := range r.packets {
		end = max(end, t.end-p.Start)
	}
	if missing := p.Seconds - end; missing > 2+p.Seconds/20 {
		return fmt.Errorf("%w: it ends after %.1f of %.1f s; it is truncated, or was still being copied", errSource, end, p.Seconds)
	}
	return nil
}

// video describes a video stream from what its packets were found to be.
func (s *stream) video(t *track, start float64) *transcode.VideoStream {
	v := &transcode.VideoStream{
		Codec:         cut(s.CodecName),
		PixelFormat:   cut(s.PixFmt),
		Rate:          t.rate(rational(s.AvgFrameRate)),
		BitrateBPS:    whole(s.BitRate),
		Interlaced:    slices.Contains([]string{"tt", "bb", "tb", "bt"}, s.FieldOrder),
		Frames:        t.count,
		MaxGapSeconds: t.maxGap,
		MaxGOPSeconds: t.maxGOP,
	}
	v.Width, v.Height = s.shownSize()
	end := t.end
	if t.lastSeconds == 0 && v.Rate.Float() > 0 {
		end += 1 / v.Rate.Float() // the container gives no durations
	}
	v.EndSeconds = max(end-start, 0)
	return v
}

func (s *stream) audio(t *track, start float64) *transcode.AudioStream {
	return &transcode.AudioStream{
		Codec:      cut(s.CodecName),
		Channels:   s.Channels,
		SampleRate: whole(s.SampleRate),
		BitrateBPS: whole(s.BitRate),
		EndSeconds: max(t.end-start, 0),
	}
}

// shownSize returns the picture's size with square pixels, turned as it is shown.
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

// hwDecodable tells whether a Pi's H.264 decoder takes v: level 4.0, 4:2:0.
func hwDecodable(v transcode.VideoStream) bool {
	return v.Codec == "h264" && (v.PixelFormat == "yuv420p" || v.PixelFormat == "yuvj420p") &&
		!v.Interlaced && max(v.Width, v.Height) <= 1920 && v.Width*v.Height <= 1920*1088
}

// number reads a decimal number of ffprobe's; 0 where it gives none, as N/A.
func number(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e15 {
		return 0
	}
	return f
}

func whole(s string) int { return int(min(max(number(s), 0), math.MaxInt32)) }

// rational reads a fraction such as 30000/1001; 0/0 is what ffprobe gives for
// an unknown one.
func rational(s string) transcode.Rational {
	num, den, _ := strings.Cut(s, "/")
	return transcode.Rational{Num: whole(num), Den: whole(den)}
}

// cut bounds a name that came from the source.
func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), 100)], "")
}
