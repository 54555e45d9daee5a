package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/transcode"
)

// encode runs ffmpeg for u. A hardware decoder that fails is replaced by
// ffmpeg's own once: what it cannot do is known too badly to be foreseen.
func (w *Worker) encode(ctx context.Context, u transcode.Unit, source, dir string, p *pulse) ([]string, error) {
	if decoder := w.decoderFor(u); decoder != "" && !u.Video.Rendition.TwoPass && u.Kind != transcode.KindTrial {
		stderr, err := w.video(ctx, *u.Video, source, decoder, dir, p)
		if err == nil || ctx.Err() != nil {
			return stderr, err
		}
		w.log().Warn("hardware decoder failed", "unit", u.ID, "err", err)
		p.restart(time.Now())
		if err := freshDir(dir, u); err != nil {
			return stderr, err
		}
	}
	switch {
	case u.Audio != nil:
		return w.audio(ctx, u, source, dir, p)
	case u.Text != nil:
		return w.text(ctx, u, source, dir, p)
	case u.Lift != nil:
		return w.lift(ctx, u, source, dir, p)
	case u.Cover != nil:
		return w.transcode(ctx, CoverArgs(*u.Cover, source), dir, p, nil)
	case u.Join != nil:
		return w.join(ctx, *u.Join, dir, p)
	case u.Whole != nil:
		return w.whole(ctx, *u.Whole, source, dir, p)
	case u.Kind == transcode.KindTrial:
		return w.try(ctx, u, source, dir, p)
	case u.Kind == transcode.KindSurvey:
		return w.survey(ctx, *u.Video, source, dir, p)
	}
	if u.Video.Rendition.TwoPass {
		return w.twoPasses(ctx, *u.Video, source, dir, p)
	}
	return w.video(ctx, *u.Video, source, "", dir, p)
}

// video encodes a unit of video. What it decoded is in the pulse then.
func (w *Worker) video(ctx context.Context, u transcode.VideoUnit, source, decoder, dir string, p *pulse) ([]string, error) {
	if err := w.fetchLifted(ctx, u, dir, p); err != nil {
		return nil, err
	}
	shown := newShowing(u)
	ffmpeg := child{
		name: w.ffmpeg(), args: w.videoArgs(u, source, decoder), env: w.mediaStore().env(), dir: dir, pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error { return readProgress(r, p, nil) }, line: shown.line, grows: growing(u.Container, dir),
	}
	stderr, err := ffmpeg.run(ctx)
	if u.Encoder != transcode.EncoderCopy { // then nothing is shown
		p.held = shown.end()
	}
	if err == nil {
		err = dropLifted(u, dir)
	}
	return stderr, err
}

// twoPasses encodes u twice, the second time with the statistics of the first. Of a unit
// in which next to nothing happens, that makes a picture much worse than the rest of the film,
// or encoders refuse it; one pass of a quality makes as little of it.
func (w *Worker) twoPasses(ctx context.Context, u transcode.VideoUnit, source, dir string, p *pulse) ([]string, error) {
	if u.Easy() {
		return w.video(ctx, u.OnePass(), source, "", dir, p)
	}
	for u.Pass = 1; u.Pass <= 2; u.Pass++ {
		p.restart(time.Now())
		stderr, err := w.video(ctx, u, source, "", dir, p)
		if tooLow := func(line string) bool { return strings.Contains(line, "bitrate is too low") }; err != nil && slices.ContainsFunc(stderr, tooLow) {
			p.restart(time.Now())
			stderr, err = w.video(ctx, u.OnePass(), source, "", dir, p)
			return stderr, errors.Join(err, removePassLogs(dir))
		}
		if err != nil {
			return stderr, fmt.Errorf("pass %d of 2: %w", u.Pass, err)
		}
	}
	return nil, removePassLogs(dir)
}

// videoArgs are VideoArgs for this machine's memory.
func (w *Worker) videoArgs(u transcode.VideoUnit, source, decoder string) []string {
	return VideoArgs(u, source, decoder, w.encoderThreads(u))
}

// smallThreads is how many threads each of several encoders gets where memory
// is short: each thread holds frames. Two for each keep four cores busy.
const smallThreads = 2

// encoderThreads returns how many threads each encoder of u is to have; 0 is
// its own choice, where that takes less than half of this machine's memory.
func (w *Worker) encoderThreads(u transcode.VideoUnit) int {
	if len(u.Others) == 0 || u.MemoryBytes(transcode.MemoryPerPixel) < w.memoryBytes()/2 {
		return 0
	}
	return smallThreads
}

// memoryBytes returns how much memory this machine has.
func (w *Worker) memoryBytes() int64 {
	var info unix.Sysinfo_t
	if w.memory > 0 {
		return w.memory
	}
	if err := unix.Sysinfo(&info); err != nil {
		return math.MaxInt64 // it does not say: it is taken for a big one
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// decoderFor returns the hardware decoder for u; "" is none. They lose closed captions.
func (w *Worker) decoderFor(u transcode.Unit) string {
	if u.Video == nil || u.Video.Encoder == transcode.EncoderCopy || u.Video.SourceCodec != "h264" || u.Video.Deinterlaced || u.Video.Captions || len(w.decoders) == 0 {
		return ""
	}
	return w.decoders[0]
}

// transcode runs ffmpeg in dir. done tells how many frames there are where
// ffmpeg itself does not count them; it may be nil.
func (w *Worker) transcode(ctx context.Context, args []string, dir string, p *pulse, done func() int) ([]string, error) {
	ffmpeg := child{
		name: w.ffmpeg(), args: args, env: w.mediaStore().env(), dir: dir, pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error { return readProgress(r, p, done) },
	}
	return ffmpeg.run(ctx)
}

// readProgress reads ffmpeg's -progress, whose lines are key=value and whose
// blocks end with the key progress.
func readProgress(r io.Reader, p *pulse, done func() int) error {
	var frames int
	var fps float64
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		value = strings.TrimSpace(value)
		switch key {
		case "frame":
			frames = whole(value)
		case "fps":
			fps = number(value)
		case "progress":
			if done != nil {
				frames = done()
			}
			p.advance(frames, fps, time.Now())
		}
	}
	return lines.Err()
}

// audioProgress returns a count of the frames in the segments begun so far:
// ffmpeg tells neither frames nor time of audio that goes into segments.
func audioProgress(u transcode.AudioUnit, dir string) func() int {
	if u.Container == transcode.ContainerNUT {
		return nil
	}
	begun := u.First
	return func() int {
		for exists(filepath.Join(dir, u.Container.SegmentName(begun))) {
			begun++
		}
		return u.Rendition.Frames(float64(begun-u.First) * u.SegmentSeconds)
	}
}
