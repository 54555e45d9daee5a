package worker

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pibootd/pkg/transcode"
)

// found is what this machine's ffmpeg can do, as trials have shown.
type found struct {
	version  string
	encoders []string
	decoders []string
}

// A decoder is a hardware decoder of H.264. Without its device it is not tried.
type decoder struct{ name, device string }

// hardwareDecoders returns the decoders of the boards up to the Raspberry Pi 4, the
// better one first: by the kernel's driver bcm2835-codec, and by the older firmware
// interface, which 32-bit systems of a Raspberry Pi 3 have.
func hardwareDecoders() []decoder {
	return []decoder{{"h264_v4l2m2m", "/dev/video10"}, {"h264_mmal", "/dev/vchiq"}}
}

// trialLimit bounds one trial. An emulated board needs a minute just to load
// ffmpeg's libraries for the first time.
const trialLimit = 3 * time.Minute

// trialSource is small: an emulated board encodes a dozen frames a second.
const trialSource = "testsrc2=size=128x96:rate=5:duration=1"

// capabilities tries what every unit needs, because ffmpeg's own lists name what it
// was built with and not what works here.
func (w *Worker) capabilities(ctx context.Context) (found, error) {
	version, err := w.trial(ctx, encoderTrial(transcode.EncoderX264)...)
	if version == "" {
		return found{}, fmt.Errorf("looking for ffmpeg: %w", cmp.Or(err, errNoBanner))
	}
	f := found{version: version}
	if err != nil {
		w.log().Warn("encoder not usable", "encoder", transcode.EncoderX264, "err", err)
		return f, nil
	}
	f.encoders = append(f.encoders, transcode.EncoderX264)
	if w.Boot.HWDecode {
		f.decoders = w.tryDecoders(ctx)
	}
	return f, nil
}

// tryMore tries the encoders that few units need and reports those that work. It
// runs beside the first units, because an emulated board needs a minute to load
// libx265 alone.
func (s *session) tryMore(ctx context.Context) {
	named, err := s.listEncoders(ctx)
	if err != nil {
		s.log().Warn("encoders not listed", "err", err)
	}
	if s.drawsText(ctx) {
		named = append(named, transcode.Libass)
	}
	s.updateHello(func(h *transcode.Hello) { h.Named = named })
	for _, encoder := range append([]string{transcode.EncoderX265, transcode.EncoderAV1}, s.hardwareEncoders()...) {
		_, err := s.trial(ctx, encoderTrial(encoder)...)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log().Warn("encoder not usable", "encoder", encoder, "err", err)
			continue
		}
		s.log().Info("encoder usable", "encoder", encoder)
		s.updateHello(func(h *transcode.Hello) { h.Encoders = append(slices.Clone(h.Encoders), encoder) })
	}
}

// listEncoders returns those of transcode.NamedEncoders that ffmpeg was built with.
// What is software works where it is there.
func (w *Worker) listEncoders(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	known, found := transcode.NamedEncoders(), []string(nil)
	ffmpeg := child{name: w.ffmpeg(), args: []string{"-hide_banner", "-nostdin", "-encoders"}, stdout: func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if words := strings.Fields(lines.Text()); len(words) > 1 && slices.Contains(known, words[1]) && !slices.Contains(found, words[1]) {
				found = append(found, words[1])
			}
		}
		return lines.Err()
	}}
	_, err := ffmpeg.run(ctx)
	return found, err
}

// drawsText reports whether ffmpeg was built with libass.
func (w *Worker) drawsText(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	found := false
	ffmpeg := child{name: w.ffmpeg(), args: []string{"-hide_banner", "-nostdin", "-filters"}, stdout: func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			words := strings.Fields(lines.Text())
			found = found || len(words) > 1 && words[1] == "subtitles"
		}
		return lines.Err()
	}}
	if _, err := ffmpeg.run(ctx); err != nil {
		w.log().Warn("filters not listed", "err", err)
	}
	return found
}

// errNoBanner reports that the program called ffmpeg is something else.
var errNoBanner = errors.New("what is called ffmpeg does not say \"ffmpeg version …\"")

// hardwareEncoders returns the encoders whose device exists.
func (w *Worker) hardwareEncoders() []string {
	var list []string
	for _, e := range slices.Concat(transcode.Encoders(transcode.CodecH264), transcode.Encoders(transcode.CodecH265)) {
		if device := encoderDevice(e); device != "" && w.has(device) {
			list = append(list, e)
		}
	}
	return list
}

// encoderDevice returns the path whose existence shows that a hardware encoder is
// there, usually its device; "" if encoder is not a hardware encoder.
func encoderDevice(encoder string) string {
	switch {
	case encoder == "h264_v4l2m2m":
		return "/dev/video11" // bcm2835-codec
	case encoder == "h264_omx":
		return "/dev/vchiq"
	case strings.HasSuffix(encoder, "_videotoolbox"):
		return "/System/Library/Frameworks/VideoToolbox.framework" // on macOS
	case strings.HasSuffix(encoder, "_nvenc"):
		return "/dev/nvidia0"
	case strings.HasSuffix(encoder, "_vaapi"), strings.HasSuffix(encoder, "_qsv"):
		return renderDevice
	}
	return ""
}

// encoderTrial returns the ffmpeg arguments that try an encoder on a test picture.
func encoderTrial(encoder string) []string {
	// -fps_mode is the newest option that units need.
	return append(deviceArgs(encoder), "-f", "lavfi", "-i", trialSource,
		"-map", "0:v", "-vf", join(pixelFormat(encoder), uploadFilter(encoder)), "-fps_mode", "passthrough", "-c:v", encoder, "-f", "null", "-")
}

// has reports whether this machine has a device.
func (w *Worker) has(device string) bool {
	if w.devices != nil {
		return slices.Contains(w.devices, device)
	}
	return exists(device)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// tryDecoders returns the hardware decoders that work here.
func (w *Worker) tryDecoders(ctx context.Context) []string {
	var usable []string
	for _, d := range hardwareDecoders() {
		if !w.has(d.device) {
			continue
		}
		if err := w.tryDecoder(ctx, d.name); err != nil {
			w.log().Warn("hardware decoder not usable", "decoder", d.name, "err", err)
			continue
		}
		usable = append(usable, d.name)
	}
	return usable
}

// tryDecoder decodes a clip that it encodes first.
func (w *Worker) tryDecoder(ctx context.Context, name string) error {
	dir, err := os.MkdirTemp("", "pibootd-trial-")
	if err != nil {
		return fmt.Errorf("making a test clip: %w", err)
	}
	defer os.RemoveAll(dir)
	clip := filepath.Join(dir, "clip.mp4")
	if _, err := w.trial(ctx, "-f", "lavfi", "-i", trialSource, "-c:v", transcode.EncoderX264, "-pix_fmt", "yuv420p", clip); err != nil {
		return fmt.Errorf("making a test clip: %w", err)
	}
	_, err = w.trial(ctx, "-c:v", name, "-i", clip, "-f", "null", "-")
	return err
}

// maxTrials bounds how often a trial is repeated whose ffmpeg was killed.
const maxTrials = 5

// trial runs ffmpeg and returns its version, which is the first thing that it
// prints; "" if it does not get that far. A killed trial is repeated, because it
// shows nothing about ffmpeg: otherwise a board that was short of memory for a
// moment would stay out of service.
func (w *Worker) trial(ctx context.Context, args ...string) (version string, err error) {
	for range maxTrials {
		if version, err = w.tryOnce(ctx, args); !wasKilled(err) || ctx.Err() != nil {
			break
		}
		w.log().Warn("ffmpeg was killed, trying again", "err", err)
	}
	return version, err
}

// wasKilled reports whether another process ended a child by SIGKILL.
func wasKilled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func (w *Worker) tryOnce(ctx context.Context, args []string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	banner := ""
	ffmpeg := child{
		name: w.ffmpeg(), args: append([]string{"-nostdin", "-nostats"}, args...), first: &banner,
		stdout: func(io.Reader) error { return nil },
	}
	stderr, err := ffmpeg.run(ctx)
	if words := strings.Fields(banner); len(words) >= 3 && words[0] == "ffmpeg" && words[1] == "version" {
		version = cut(words[2])
	}
	if err != nil {
		return version, fmt.Errorf("%w: %s", err, lastOf(stderr))
	}
	return version, nil
}
