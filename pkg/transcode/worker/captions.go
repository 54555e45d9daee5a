package worker

import (
	"bytes"
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

const (
	// glanceSeconds is how much is read of a container without the places of its packets to find
	// out whether its video has any.
	glanceSeconds = 2
	// maxKeyFrames is how many key frames are looked at in the others.
	maxKeyFrames = 8
	// captionHead bounds how far into a frame its messages are: they come before its slices.
	captionHead = 64 << 10
	// blockHeader is more than a block of Matroska, or a tag of FLV, has before its frame.
	blockHeader = 64
)

// placed are the containers in which a frame is in one piece, at the place that ffprobe says.
var placed = []string{"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "avi"}

// A keyFrame is where a key frame is in the source.
type keyFrame struct {
	bytes int64 // before it
	size  int
}

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
		if some, err = w.hasCaptions(ctx, source, r, p, pulse); err != nil || !some {
			return err
		}
	}
	var names []string
	var err error
	if !r.late { // then there is no picture yet in what is read
		names, _, err = w.readCaptions(ctx, source, p.Video.Map, captionSeconds, pulse)
	}
	if p.Video.Captions = names; err == nil && len(names) == 0 && film.Captions > 0 {
		p.Video.Captions = []string{"CC1"}
	}
	return err
}

// hasCaptions reports whether the first key frames of the film have a message with captions.
// They are read directly: another run of ffmpeg costs more than all else after ffprobe.
func (w *Worker) hasCaptions(ctx context.Context, source string, r *report, p *transcode.Probe, pulse *pulse) (bool, error) {
	frames := r.packets[r.film().Index].keyFrames
	if len(frames) == 0 || !slices.Contains(placed, r.format.FormatName) {
		_, some, err := w.readCaptions(ctx, source, p.Video.Map, glanceSeconds, pulse)
		return some, err
	}
	from := w.bytesOf(source, p.SizeBytes)
	for _, f := range frames {
		head := make([]byte, min(max(f.size, 0)+blockHeader, captionHead))
		n, err := from.readAt(ctx, head, f.bytes)
		if err != nil {
			return false, fmt.Errorf("looking for closed captions in a key frame: %w", err)
		}
		if _, some, err := mediafile.ReadCaptions(bytes.NewReader(head[:n])); err != nil || some {
			return some, err
		}
	}
	return false, nil
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
