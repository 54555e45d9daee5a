package worker

import (
	"bufio"
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// hwDecoder is the decoder of the boards up to the Raspberry Pi 4.
const hwDecoder = "h264_v4l2m2m"

// encode runs ffmpeg for u. A hardware decoder that fails is replaced by
// ffmpeg's own once: what it cannot do is known too badly to be foreseen.
func (w *Worker) encode(ctx context.Context, u transcode.Unit, source, dir string, p *pulse) ([]string, error) {
	if decoder := w.decoderFor(u); decoder != "" {
		stderr, err := w.transcode(ctx, VideoArgs(*u.Video, source, decoder), dir, p)
		if err == nil || ctx.Err() != nil {
			return stderr, err
		}
		w.log().Warn("hardware decoder failed", "unit", u.ID, "err", err)
		p.restart(time.Now())
		if err := freshDir(dir); err != nil {
			return stderr, err
		}
	}
	if u.Audio != nil {
		return w.transcode(ctx, AudioArgs(*u.Audio, source), dir, p)
	}
	return w.transcode(ctx, VideoArgs(*u.Video, source, ""), dir, p)
}

// decoderFor returns the hardware decoder for u; "" is none.
func (w *Worker) decoderFor(u transcode.Unit) string {
	if u.Video == nil || u.Video.SourceCodec != "h264" || u.Video.Deinterlaced {
		return ""
	}
	for _, d := range w.decoders {
		if d == hwDecoder {
			return d
		}
	}
	return ""
}

func (w *Worker) transcode(ctx context.Context, args []string, dir string, p *pulse) ([]string, error) {
	ffmpeg := child{
		name: w.ffmpeg(), args: args, dir: dir, pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error { return readProgress(r, p) },
	}
	return ffmpeg.run(ctx)
}

// readProgress reads ffmpeg's -progress, whose lines are key=value and whose
// blocks end with the key progress. Of audio, which has no frames there, the
// time tells how many are done.
func readProgress(r io.Reader, p *pulse) error {
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
		case "out_time_us":
			if frames == 0 {
				frames = audioFrames(value)
			}
		case "progress":
			p.advance(frames, fps, time.Now())
			frames = 0
		}
	}
	return lines.Err()
}

// audioFrames returns how many audio frames end by this time on the output,
// which begins at StartPTS.
func audioFrames(microseconds string) int {
	us, err := strconv.ParseInt(microseconds, 10, 64)
	if err != nil {
		return 0
	}
	done := float64(us)/1e6 - startSeconds
	return int(max(done, 0) * transcode.AudioSampleRate / transcode.AudioFrameSamples)
}
