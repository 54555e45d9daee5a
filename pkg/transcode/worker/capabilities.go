package worker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// Found is what this machine's ffmpeg turned out to do.
type found struct {
	version  string
	encoders []string
	decoders []string
}

// Devices of the boards' video codec, bcm2835-codec.
const (
	decoderDevice = "/dev/video10"
	encoderDevice = "/dev/video11"
)

// trialLimit bounds one trial. An emulated board needs a minute only to load
// ffmpeg's libraries for the first time.
const trialLimit = 3 * time.Minute

// trialSource is small: an emulated board encodes a dozen frames a second.
const trialSource = "testsrc2=size=128x96:rate=5:duration=1"

// capabilities tries what ffmpeg could use: its own lists name what it was
// built with, not what works here.
func (w *Worker) capabilities(ctx context.Context) (found, error) {
	version, err := w.ffmpegVersion(ctx)
	if err != nil {
		return found{}, fmt.Errorf("looking for ffmpeg: %w", err)
	}
	f := found{version: version}
	candidates := []string{transcode.EncoderX264}
	if exists(encoderDevice) {
		candidates = append(candidates, "h264_v4l2m2m")
	}
	for _, encoder := range candidates {
		err := w.trial(ctx, "-f", "lavfi", "-i", trialSource, "-c:v", encoder, "-f", "null", "-")
		if err != nil {
			w.log().Warn("encoder not usable", "encoder", encoder, "err", err)
			continue
		}
		f.encoders = append(f.encoders, encoder)
	}
	if w.Boot.HWDecode && exists(decoderDevice) {
		if err := w.tryDecoder(ctx); err != nil {
			w.log().Warn("hardware decoder not usable", "decoder", hwDecoder, "err", err)
		} else {
			f.decoders = append(f.decoders, hwDecoder)
		}
	}
	return f, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// tryDecoder decodes a clip that is made for the purpose.
func (w *Worker) tryDecoder(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "pibootd-trial-")
	if err != nil {
		return fmt.Errorf("making a test clip: %w", err)
	}
	defer os.RemoveAll(dir)
	clip := filepath.Join(dir, "clip.mp4")
	if err := w.trial(ctx, "-f", "lavfi", "-i", trialSource, "-c:v", transcode.EncoderX264, "-pix_fmt", "yuv420p", clip); err != nil {
		return fmt.Errorf("making a test clip: %w", err)
	}
	return w.trial(ctx, "-c:v", hwDecoder, "-i", clip, "-f", "null", "-")
}

func (w *Worker) trial(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	ffmpeg := child{
		name: w.ffmpeg(), args: append([]string{"-hide_banner", "-nostdin", "-loglevel", "error"}, args...),
		stdout: func(io.Reader) error { return nil },
	}
	stderr, err := ffmpeg.run(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", err, lastOf(stderr))
	}
	return nil
}

// ffmpegVersion returns the third word of "ffmpeg version 5.1.9 Copyright…".
func (w *Worker) ffmpegVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	version := ""
	ffmpeg := child{name: w.ffmpeg(), args: []string{"-version"}, stdout: func(r io.Reader) error {
		line, err := bufio.NewReader(io.LimitReader(r, 1000)).ReadString('\n')
		if words := strings.Fields(line); len(words) >= 3 && words[0] == "ffmpeg" {
			version = cut(words[2])
			return nil
		}
		return fmt.Errorf("%.100q (%v); want \"ffmpeg version …\"", line, err)
	}}
	_, err := ffmpeg.run(ctx)
	return version, err
}
