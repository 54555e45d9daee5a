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

// captions adds to p which closed captions its video has. ffprobe tells only whether there
// are some in its first frames. If these have none yet, they are taken for the first
// channel.
func (w *Worker) captions(ctx context.Context, source string, r *report, p *transcode.Probe, pulse *pulse) error {
	film := r.film()
	if film == nil || p.Video == nil || film.Captions == 0 && !(r.isMPEG() && slices.Contains(captioned, film.CodecName)) {
		return nil
	}
	args := append(inputArgs(source, "", position{}), "-map", p.Video.Map, "-c", "copy", "-t", strconv.Itoa(captionSeconds), "-f", "data", "pipe:1")
	var names []string
	var readErr error
	ffmpeg := child{
		name: w.ffmpeg(), args: withoutProgress(args), env: w.mediaStore().env(), pulse: pulse, stall: w.stall(),
		stdout: func(out io.Reader) error {
			names, readErr = mediafile.ReadCaptions(&moving{r: out, pulse: pulse})
			return readErr
		},
	}
	if stderr, err := ffmpeg.run(ctx); err != nil {
		return fmt.Errorf("looking at closed captions: %w", explained(err, stderr))
	}
	if p.Video.Captions = names; len(names) == 0 && film.Captions > 0 {
		p.Video.Captions = []string{"CC1"}
	}
	return nil
}
