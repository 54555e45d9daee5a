package worker

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// captionSeconds is how much of a video is read to find out which captions it has.
const captionSeconds = 120

// captioned are the codecs of broadcasts, whose captions may begin later than ffprobe
// looks.
var captioned = []string{"mpeg2video", "h264", "hevc"}

// glanceSeconds is how much is read of other containers to find out whether it has any.
const glanceSeconds = 2

// captions adds to p which closed captions its video has. ffprobe tells only whether there
// are some in its first frames, and nothing where it need not decode them, as in MP4. If what
// is read has none yet, they are taken for the first channel.
func (w *Worker) captions(ctx context.Context, source string, r *report, p *transcode.Probe, pulse *pulse) error {
	film := r.film()
	if film == nil || p.Video == nil || film.Captions == 0 && !slices.Contains(captioned, film.CodecName) {
		return nil
	}
	some := film.Captions > 0
	if !some && !r.isMPEG() {
		var err error
		if _, some, err = w.readCaptions(ctx, source, p.Video.Map, glanceSeconds, pulse); err != nil || !some {
			return err
		}
	}
	names, _, err := w.readCaptions(ctx, source, p.Video.Map, captionSeconds, pulse)
	if p.Video.Captions = names; err == nil && len(names) == 0 && film.Captions > 0 {
		p.Video.Captions = []string{"CC1"}
	}
	return err
}

// readCaptions reads the captions in the beginning of a stream.
func (w *Worker) readCaptions(ctx context.Context, source, stream string, seconds int, pulse *pulse) (names []string, some bool, err error) {
	args := append(inputArgs(source, "", position{}), "-map", stream, "-c", "copy", "-t", strconv.Itoa(seconds), "-f", "data", "pipe:1")
	var readErr error
	ffmpeg := child{
		name: w.ffmpeg(), args: withoutProgress(args), env: w.mediaStore().env(), pulse: pulse, stall: w.stall(),
		stdout: func(out io.Reader) error {
			names, some, readErr = mediafile.ReadCaptions(&moving{r: out, pulse: pulse})
			return readErr
		},
	}
	if stderr, err := ffmpeg.run(ctx); err != nil {
		return nil, false, fmt.Errorf("looking at closed captions: %w", explained(err, stderr))
	}
	return names, some, nil
}
