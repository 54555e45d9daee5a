package worker

import (
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"pibootd/internal/durable"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// nutArgs are the end of the arguments: all of a track, in one file of NUT, which has any
// codec, and exact times.
func nutArgs() []string {
	return []string{"-f", "nut", "-y", transcode.ContainerNUT.SegmentName(0)}
}

// copyArgs returns ffmpeg's arguments that copy a stream of source to one file: what is
// shown from a time on, for so long.
func copyArgs(source, stream string, from, seconds float64, options []string) []string {
	args := []string{"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-progress", "pipe:1", "-stats_period", "1"}
	if from > 0 {
		args = append(args, "-ss", strconv.FormatFloat(from, 'f', 6, 64))
	}
	args = append(append(args, "-t", strconv.FormatFloat(seconds, 'f', 6, 64)), sourceArgs(source)...)
	args = append(args, "-map", stream, "-c", "copy", "-sn", "-dn", "-map_chapters", "-1", "-output_ts_offset", strconv.Itoa(startSeconds))
	return append(append(append(args, noMetadata()...), options...), nutArgs()...)
}

// choosesKeys reports whether u says where its encoder makes key frames. One that makes all
// of a file, and is not of those that make units, does as it would alone.
func choosesKeys(u transcode.VideoUnit) bool {
	units := slices.Contains([]string{transcode.EncoderX264, transcode.EncoderX265}, encoderOf(u))
	return u.Container != transcode.ContainerNUT || units && !u.Free && !slices.Contains(u.Options, "-force_key_frames")
}

// nutProof looks at the one file that u has made in dir, and makes it durable.
func (w *Worker) nutProof(ctx context.Context, u transcode.Unit, dir string, p *pulse) (transcode.Result, error) {
	name := transcode.ContainerNUT.SegmentName(0)
	segment, _, err := inspect(filepath.Join(dir, name), func(r io.Reader) (mediafile.SegmentInfo, error) {
		_, err := io.Copy(io.Discard, &moving{r: r, pulse: p})
		return mediafile.SegmentInfo{}, err
	})
	if err != nil {
		return transcode.Result{}, err
	}
	report := newReport(p)
	if stderr, err := w.examine(ctx, filepath.Join(dir, name), report, p); err != nil {
		return transcode.Result{}, fmt.Errorf("looking at %s: %w: %s", name, err, lastOf(stderr))
	}
	report.finish()
	kind, encoder := "audio", ""
	if u.Video != nil {
		kind, encoder = "video", encoderOf(*u.Video)
	} else {
		encoder = u.Audio.Rendition.EncoderName()
	}
	s := report.first(kind)
	if s == nil {
		return transcode.Result{}, fmt.Errorf("looking at %s: it has no %s", name, kind)
	}
	t := report.packets[s.Index]
	segment.Frames, segment.Seconds, segment.Key = t.count, max(t.end-t.first, 0), true
	segment.FirstPTS, segment.LastPTS = int64(math.Round(t.first*90000)), int64(math.Round(t.end*90000))
	return transcode.Result{Segments: []transcode.Segment{segment}, Encoder: encoder}, durable.SyncDir(dir)
}

// growing returns the file that grows while a unit of this container is made; "" if there are
// several.
func growing(c transcode.Container, dir string) string {
	if c != transcode.ContainerNUT {
		return ""
	}
	return filepath.Join(dir, transcode.ContainerNUT.SegmentName(0))
}
