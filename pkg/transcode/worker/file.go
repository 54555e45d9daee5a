package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"pibootd/internal/durable"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// joinQueue is the number of packets that are read ahead of each input. With two
// inputs, ffmpeg sleeps for 10 ms whenever a pipe has nothing to read: with its
// default of 8 packets that adds minutes to a film.
const joinQueue = "512"

// JoinArgs returns the ffmpeg arguments that make one file in the working directory
// from video on standard input and the audio tracks on file descriptors from 3 on.
// Nothing is encoded again.
func JoinArgs(u transcode.JoinUnit) []string {
	args := []string{"-hide_banner", "-nostats", "-loglevel", "warning", "-progress", "pipe:1", "-stats_period", "1", "-copyts"}
	args = append(args, pipeArgs(0, u.Video)...)
	audio := u.AudioTracks()
	for i, track := range audio {
		args = append(args, pipeArgs(firstExtra+i, track.Parts)...)
	}
	for i, text := range u.Subtitles {
		args = append(args, textPipeArgs(firstExtra+len(audio)+i, text.File)...)
	}
	described := firstExtra + len(audio) + len(u.Subtitles)
	args = append(args, "-protocol_whitelist", "pipe", "-f", "ffmetadata", "-i", fmt.Sprintf("pipe:%d", described), "-map", "0:v:0")
	for i := range len(audio) + len(u.Subtitles) {
		args = append(args, "-map", strconv.Itoa(i+1))
	}
	args = append(args, "-c", "copy", "-map_metadata", strconv.Itoa(described-firstExtra+1), "-map_chapters", strconv.Itoa(described-firstExtra+1), "-output_ts_offset", strconv.Itoa(-startSeconds))
	if u.Format == transcode.FormatMP4 && len(u.Subtitles) > 0 {
		args = append(args, "-c:s", "mov_text")
	}
	for i, text := range u.Subtitles {
		args = append(args, trackArgs(u.Format, fmt.Sprintf("s:%d", i), text.Info, text.Info.Default)...)
	}
	for i, track := range audio {
		args = append(args, trackArgs(u.Format, fmt.Sprintf("a:%d", i), track.Info, i == 0)...)
	}
	args = append(args, u.Options...)
	return append(args, fileArgs(u.Format)...)
}

// firstExtra is the file descriptor of the first of child.extra.
const firstExtra = 3

// pipeArgs have ffmpeg read parts from a file descriptor.
func pipeArgs(fd int, parts []transcode.Part) []string {
	format := "mov"
	if len(parts) > 0 && parts[0].Container == transcode.ContainerNUT {
		format = "nut"
	}
	return []string{"-thread_queue_size", joinQueue, "-protocol_whitelist", "pipe", "-f", format, "-i", fmt.Sprintf("pipe:%d", fd)}
}

// textPipeArgs have ffmpeg read subtitles from a file descriptor, which begin when the
// video does.
func textPipeArgs(fd int, file string) []string {
	return []string{
		"-itsoffset", strconv.Itoa(startSeconds), "-protocol_whitelist", "pipe",
		"-f", strings.TrimPrefix(path.Ext(file), "."), "-i", fmt.Sprintf("pipe:%d", fd),
	}
}

// trackArgs say of an output's stream what the source says of it.
func trackArgs(f transcode.Format, stream string, info transcode.TrackInfo, standard bool) []string {
	flags := "0"
	for _, flag := range []struct {
		set  bool
		name string
	}{
		{standard, "default"}, {info.Forced, "forced"}, {info.Commentary, "comment"},
		{info.HearingImpaired, "hearing_impaired"}, {info.VisualImpaired, "visual_impaired"},
	} {
		if flag.set {
			flags += "+" + flag.name
		}
	}
	args := []string{"-disposition:" + stream, strings.TrimPrefix(flags, "0+")}
	meta := "-metadata:s:" + stream
	if info.Language != "" {
		args = append(args, meta, "language="+transcode.LanguageCode(info.Language))
	}
	if info.Title != "" {
		args = append(args, meta, "title="+info.Title)
	}
	if info.Title != "" && f == transcode.FormatMP4 {
		args = append(args, meta, "handler_name="+info.Title) // what players show of MP4
	}
	return args
}

// fileArgs returns the last arguments of an ffmpeg that makes a file. They put the
// index of an MP4 at the front, so that it plays while it loads.
func fileArgs(f transcode.Format) []string {
	args := []string{"-f", muxerOf(f), "-y", f.OutputName()}
	if f == transcode.FormatMKV {
		return args
	}
	return append([]string{"-movflags", "+faststart"}, args...)
}

// join joins the parts of u to a file in dir.
func (w *Worker) join(ctx context.Context, u transcode.JoinUnit, dir string, p *pulse) ([]string, error) {
	ffmpeg := child{
		name: w.ffmpeg(), args: JoinArgs(u), dir: dir, pulse: p, stall: w.stall(),
		grows:  filepath.Join(dir, u.Format.OutputName()),
		stdout: func(r io.Reader) error { return readProgress(r, p, nil) },
	}
	var feeding sync.WaitGroup
	defer feeding.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	feed := func(write func(in io.Writer) error) (*os.File, error) {
		out, in, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("joining: %w", err)
		}
		feeding.Go(func() {
			err := errors.Join(write(in), in.Close())
			if err != nil && !errors.Is(err, errGone) {
				cancel(fmt.Errorf("joining: %w", err))
			}
		})
		return out, nil
	}
	for _, write := range w.joinInputs(ctx, u) {
		pipe, err := feed(write)
		if err != nil {
			return nil, err
		}
		defer pipe.Close()
		ffmpeg.extra = append(ffmpeg.extra, pipe)
	}
	ffmpeg.stdin, ffmpeg.extra = ffmpeg.extra[0], ffmpeg.extra[1:]
	return ffmpeg.run(ctx)
}

// joinInputs returns what writes each input of JoinArgs.
func (w *Worker) joinInputs(ctx context.Context, u transcode.JoinUnit) []func(io.Writer) error {
	inputs := []func(io.Writer) error{func(in io.Writer) error { return w.feed(ctx, in, u.Video) }}
	for _, track := range u.AudioTracks() {
		inputs = append(inputs, func(in io.Writer) error { return w.feed(ctx, in, track.Parts) })
	}
	for _, text := range u.Subtitles {
		inputs = append(inputs, func(in io.Writer) error { return w.feedFile(ctx, in, text.File) })
	}
	return append(inputs, func(in io.Writer) error {
		_, err := in.Write(transcode.FFMetadata(u.Tags, u.Chapters))
		if errors.Is(err, syscall.EPIPE) {
			return errGone
		}
		return err
	})
}

// errGone reports that ffmpeg has ended. Its own error has the cause.
var errGone = errors.New("the reader is gone")

// feed writes an initialization section and the segments of all parts to out.
func (w *Worker) feed(ctx context.Context, out io.Writer, parts []transcode.Part) error {
	for i, part := range parts {
		if i == 0 && part.Container != transcode.ContainerNUT {
			if err := w.feedFile(ctx, out, path.Join(part.Dir, transcode.InitName)); err != nil {
				return err
			}
		}
		for n := part.First; n < part.End; n++ {
			if err := w.feedFile(ctx, out, path.Join(part.Dir, part.SegmentName(n))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Worker) feedFile(ctx context.Context, out io.Writer, name string) error {
	f, err := w.mediaStore().open(ctx, name)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyUntilGone(out, f)
}

// WholeArgs returns the ffmpeg arguments that make one file from a source in the
// working directory. pass is 1 or 2 of two passes, or 0 for a single pass.
func WholeArgs(u transcode.WholeUnit, source string, pass int) []string {
	args := []string{
		"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-progress", "pipe:1", "-stats_period", "1",
	}
	args = append(append(args, u.Input...), sourceArgs(source)...)
	if !mapped(u.Options) {
		args = append(args, "-map", cmp.Or(u.Map, "0:V:0"))
		args = append(args, wholeAudio(u.Audio)...)
	}
	args = append(args, "-sn", "-dn")
	args = append(args, u.Options...)
	if pass > 0 {
		args = append(args, "-pass", strconv.Itoa(pass))
	}
	if pass == 1 {
		// The null muxer cannot be used here: its default encoder is not the
		// format's.
		return append(args, "-an", "-f", muxerOf(u.Format), "-y", os.DevNull)
	}
	return append(args, fileArgs(u.Format)...)
}

// wholeAudio maps the audio streams of a file that is made in one go.
func wholeAudio(streams []int) []string {
	if streams == nil {
		return []string{"-map", "0:a:0?"}
	}
	var args []string
	for _, stream := range streams {
		args = append(args, "-map", fmt.Sprintf("0:a:%d", stream))
	}
	return args
}

func muxerOf(f transcode.Format) string {
	if f == transcode.FormatMKV {
		return "matroska"
	}
	return "mp4"
}

func mapped(options []string) bool {
	for _, o := range options {
		if o == "-map" {
			return true
		}
	}
	return false
}

// passLogs matches the files that ffmpeg leaves between two passes.
const passLogs = "ffmpeg2pass-*"

// whole makes a file in dir from a source that cannot be divided.
func (w *Worker) whole(ctx context.Context, u transcode.WholeUnit, source, dir string, p *pulse) ([]string, error) {
	run := func(pass int) ([]string, error) {
		ffmpeg := child{
			name: w.ffmpeg(), args: WholeArgs(u, source, pass), env: w.mediaStore().env(), dir: dir, pulse: p, stall: w.stall(),
			grows:  filepath.Join(dir, u.Format.OutputName()),
			stdout: func(r io.Reader) error { return readProgress(r, p, nil) },
		}
		return ffmpeg.run(ctx)
	}
	if !u.TwoPass {
		return run(0)
	}
	for pass := 1; pass <= 2; pass++ {
		p.restart(time.Now())
		if stderr, err := run(pass); err != nil {
			return stderr, fmt.Errorf("pass %d of 2: %w", pass, err)
		}
	}
	logs, err := filepath.Glob(filepath.Join(dir, passLogs))
	for _, log := range logs {
		err = errors.Join(err, os.Remove(log))
	}
	return nil, err
}

// fileProof reads a finished file as a player would and syncs it.
func (w *Worker) fileProof(ctx context.Context, format transcode.Format, dir string, p *pulse) (transcode.Result, error) {
	name := format.OutputName()
	beating := inspector(func(r io.Reader) (mediafile.SegmentInfo, error) {
		_, err := io.Copy(io.Discard, &moving{r: r, pulse: p})
		return mediafile.SegmentInfo{}, err
	})
	file, _, err := inspect(filepath.Join(dir, name), beating)
	if err != nil {
		return transcode.Result{}, err
	}
	report := newReport(p)
	stderr, err := w.examine(ctx, filepath.Join(dir, name), report, p)
	report.finish()
	if err != nil {
		return transcode.Result{}, fmt.Errorf("looking at %s: %w: %s", name, err, lastOf(stderr))
	}
	video := report.first("video")
	if video == nil {
		return transcode.Result{}, fmt.Errorf("looking at %s: it has no video", name)
	}
	proof := &transcode.File{Name: name, SizeBytes: file.SizeBytes, SHA256: file.SHA256, Video: report.trackOf(video)}
	for _, s := range report.ofKind("audio") {
		if report.packets[s.Index] == nil {
			continue
		}
		if track := report.trackOf(s); proof.Audio == nil {
			proof.Audio = &track
		} else {
			proof.MoreAudio = append(proof.MoreAudio, track)
		}
	}
	for _, s := range report.ofKind("subtitle") {
		proof.Subtitles = append(proof.Subtitles, cut(s.CodecName))
	}
	return transcode.Result{File: proof, Encoder: "copy"}, durable.SyncDir(dir)
}

// trackOf returns the measurements of a stream.
func (r *report) trackOf(s *stream) transcode.Track {
	t := r.packets[s.Index]
	return transcode.Track{
		Codec: cut(s.CodecName), Frames: t.count, StartSeconds: t.first, EndSeconds: t.end, MaxGapSeconds: t.maxGap,
		Language: transcode.Language(s.Tags.get("language")),
	}
}

// A moving reader updates the pulse with every read.
type moving struct {
	r     io.Reader
	pulse *pulse
}

func (m *moving) Read(b []byte) (int, error) {
	m.pulse.touch(time.Now())
	return m.r.Read(b)
}
