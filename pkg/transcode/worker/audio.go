package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"pibootd/pkg/transcode"
)

// audio encodes a unit of audio. Where the sample rate or the channels of a source
// change, as from a stereo program to a film in 5.1, ffmpeg starts its filters again,
// which then fill the time from zero on: such a source is encoded by evenAudio.
func (w *Worker) audio(ctx context.Context, unit transcode.Unit, source, dir string, p *pulse) ([]string, error) {
	u := *unit.Audio
	playing := newPlaying(u)
	encoder := child{
		name: w.ffmpeg(), args: AudioArgs(u, source), env: w.mediaStore().env(), dir: dir, pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error { return readProgress(r, p, audioProgress(u, dir)) }, line: playing.line, grows: growing(u.Container, dir),
	}
	stderr, err := encoder.run(ctx)
	if u.Rendition.Encoder == transcode.EncoderCopy { // nothing is decoded
		return stderr, err
	}
	p.held = playing.end()
	if err != nil || !slices.ContainsFunc(stderr, wentBack) {
		return stderr, err
	}
	w.log().Info("audio changes midway", "unit", unit.ID)
	p.restart(time.Now())
	if err := freshDir(dir, unit); err != nil {
		return stderr, err
	}
	return w.evenAudio(ctx, u, source, dir, p)
}

// wentBack reports whether ffmpeg (5.1 or 7.1) says on a line that time went backward.
func wentBack(line string) bool {
	return strings.Contains(line, "Non-monoton") || strings.Contains(line, "backward in time")
}

// evenStart is when the samples between two ffmpegs begin, in seconds: NUT has no time
// below zero, and sound can begin before the video.
const evenStart = 10

// evenAudio encodes u by two ffmpegs. The first makes samples of one rate and number of
// channels, and the second encodes them.
func (w *Worker) evenAudio(ctx context.Context, u transcode.AudioUnit, source, dir string, p *pulse) ([]string, error) {
	samples, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("encoding audio: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var decoded []string
	var decodeErr error
	var decoding sync.WaitGroup
	decoding.Go(func() {
		decoder := child{
			name: w.ffmpeg(), args: sampleArgs(u, source), env: w.mediaStore().env(), dir: dir, pulse: p, stall: w.stall(),
			stdout: func(r io.Reader) error { return copyUntilGone(in, r) },
		}
		decoded, decodeErr = decoder.run(ctx)
		decodeErr = errors.Join(decodeErr, in.Close())
	})
	even := u
	even.Spans, even.Parts, even.SourceStart, even.Rendition.Stream = nil, nil, evenStart, 0
	playing := newPlaying(u)
	encoder := child{
		name: w.ffmpeg(), args: AudioArgs(even, fromPipe), dir: dir, pulse: p, stall: w.stall(), stdin: samples,
		stdout: func(r io.Reader) error { return readProgress(r, p, audioProgress(u, dir)) }, line: playing.line, grows: growing(u.Container, dir),
	}
	stderr, err := encoder.run(ctx)
	p.held = playing.end()
	_ = samples.Close() // nothing was written to it
	if err != nil {
		cancel()
	}
	decoding.Wait()
	cancel()
	if err == nil && !errors.Is(decodeErr, errGone) { // what comes after the planned end is not wanted
		return decoded, decodeErr
	}
	return stderr, err
}

// sampleArgs returns ffmpeg's arguments that write u's samples to standard output, of
// one rate and number of channels, in time of the video from evenStart on.
func sampleArgs(u transcode.AudioUnit, source string) []string {
	args := []string{"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-copyts", "-max_error_rate", "1"}
	args = soundArgs(u, source, args, false, fmt.Sprintf("asetpts=PTS+%d/TB", evenStart))
	return append(args,
		"-vn", "-sn", "-dn", "-map_chapters", "-1", "-map_metadata", "-1",
		"-ac", strconv.Itoa(u.Rendition.Channels), "-ar", strconv.Itoa(u.Rendition.Rate()), "-c:a", "pcm_f32le", "-f", "nut", "pipe:1")
}

// copyUntilGone copies until the reader at the other end of the pipe has ended.
func copyUntilGone(to io.Writer, from io.Reader) error {
	_, err := io.Copy(to, from)
	if errors.Is(err, syscall.EPIPE) {
		return errGone
	}
	return err
}
