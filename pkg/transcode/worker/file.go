package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
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
// from video on standard input and audio on file descriptor 3. Nothing is encoded
// again.
func JoinArgs(u transcode.JoinUnit) []string {
	args := []string{
		"-hide_banner", "-nostats", "-loglevel", "warning", "-progress", "pipe:1", "-stats_period", "1",
		"-copyts", "-thread_queue_size", joinQueue, "-protocol_whitelist", "pipe", "-f", "mov", "-i", "pipe:0",
	}
	if len(u.Audio) > 0 {
		args = append(args, "-thread_queue_size", joinQueue, "-protocol_whitelist", "pipe", "-f", "mov", "-i", "pipe:3", "-map", "1:a:0")
	}
	args = append(args, "-map", "0:v:0", "-c", "copy", "-map_metadata", "-1",
		"-output_ts_offset", strconv.Itoa(-startSeconds))
	args = append(args, u.Options...)
	return append(args, fileArgs(u.Format)...)
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
	feed := func(parts []transcode.Part) (*os.File, error) {
		out, in, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("joining: %w", err)
		}
		feeding.Go(func() {
			err := errors.Join(w.feed(ctx, in, parts), in.Close())
			if err != nil && !errors.Is(err, errGone) {
				cancel(fmt.Errorf("joining: %w", err))
			}
		})
		return out, nil
	}
	video, err := feed(u.Video)
	if err != nil {
		return nil, err
	}
	defer video.Close()
	ffmpeg.stdin = video
	if len(u.Audio) > 0 {
		audio, err := feed(u.Audio)
		if err != nil {
			return nil, err
		}
		defer audio.Close()
		ffmpeg.extra = audio
	}
	return ffmpeg.run(ctx)
}

// errGone reports that ffmpeg has ended. Its own error has the cause.
var errGone = errors.New("the reader is gone")

// feed writes an initialization section and the segments of all parts to out.
func (w *Worker) feed(ctx context.Context, out io.Writer, parts []transcode.Part) error {
	for i, part := range parts {
		if i == 0 {
			if err := w.feedFile(ctx, out, path.Join(part.Dir, transcode.InitName)); err != nil {
				return err
			}
		}
		for n := part.First; n < part.End; n++ {
			if err := w.feedFile(ctx, out, path.Join(part.Dir, transcode.ContainerCMAF.SegmentName(n))); err != nil {
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
	_, err = io.Copy(out, f)
	if errors.Is(err, syscall.EPIPE) {
		return errGone
	}
	return err
}

// WholeArgs returns the ffmpeg arguments that make one file from a source in the
// working directory. pass is 1 or 2 of two passes, or 0 for a single pass.
func WholeArgs(u transcode.WholeUnit, source string, pass int) []string {
	args := []string{
		"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-progress", "pipe:1", "-stats_period", "1",
	}
	args = append(args, sourceArgs(source)...)
	if !mapped(u.Options) {
		args = append(args, "-map", "0:V:0", "-map", "0:a:0?")
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
	report, stderr, err := w.examine(ctx, filepath.Join(dir, name), p)
	if err != nil {
		return transcode.Result{}, fmt.Errorf("looking at %s: %w: %s", name, err, lastOf(stderr))
	}
	video, audio := report.first("video"), report.first("audio")
	if video == nil {
		return transcode.Result{}, fmt.Errorf("looking at %s: it has no video", name)
	}
	proof := &transcode.File{Name: name, SizeBytes: file.SizeBytes, SHA256: file.SHA256, Video: report.trackOf(video)}
	if audio != nil {
		track := report.trackOf(audio)
		proof.Audio = &track
	}
	return transcode.Result{File: proof, Encoder: "copy"}, durable.SyncDir(dir)
}

// trackOf returns the measurements of a stream.
func (r *report) trackOf(s *stream) transcode.Track {
	t := r.packets[s.Index]
	return transcode.Track{
		Codec: cut(s.CodecName), Frames: t.count, StartSeconds: t.first, EndSeconds: t.end, MaxGapSeconds: t.maxGap,
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
