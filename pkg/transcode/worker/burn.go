package worker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pibootd/internal/durable"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// LiftArgs returns ffmpeg's arguments that take the subtitles of u out of source, into a
// file in its working directory. charset is that of a source that is text; "" is UTF-8,
// or what its first bytes say. ASS keeps its styles and the fonts that belong to it.
func LiftArgs(u transcode.LiftUnit, source, charset string) []string {
	args := subtitleArgs(source, charset)
	args = append(args, "-map", fmt.Sprintf("0:s:%d", u.Stream))
	if u.Codec == "ass" || u.Codec == "ssa" {
		args = append(args, "-map", "0:t?", "-c", "copy")
	} else {
		args = append(args, "-c:s", "ass")
	}
	return append(args, "-map_chapters", "-1", "-output_ts_offset", seconds(u.Later-u.SourceStart),
		"-f", "matroska", "-y", transcode.LiftedName)
}

// lift makes the file of u's subtitles in dir.
func (w *Worker) lift(ctx context.Context, u transcode.Unit, source, dir string, p *pulse) ([]string, error) {
	charset := ""
	if u.Lift.File {
		var err error
		if charset, err = w.charset(ctx, u.Source); err != nil {
			return nil, err
		}
	}
	written := func() int { // ffmpeg counts no frames of subtitles
		info, err := os.Stat(filepath.Join(dir, transcode.LiftedName))
		if err != nil {
			return 0
		}
		return int(info.Size())
	}
	if spans := u.Lift.Spans; len(spans) > 0 {
		straight, stderr, err := w.straighten(ctx, spans, source, dir, p)
		if err != nil {
			return stderr, err
		}
		defer os.Remove(straight)
		source = straight
	}
	stderr, err := w.transcode(ctx, LiftArgs(*u.Lift, source, charset), dir, p, written)
	if u.Lift.File && misread(err, stderr) {
		err = fmt.Errorf("%w: the subtitles of %s cannot be read (%s)", errSource, filepath.Base(u.Source), complaint(stderr))
	}
	return stderr, err
}

// liftProof looks at lifted subtitles in dir, and makes them durable.
func liftProof(dir string) (transcode.Result, error) {
	file, _, err := inspect(filepath.Join(dir, transcode.LiftedName), func(io.Reader) (mediafile.SegmentInfo, error) {
		return mediafile.SegmentInfo{}, nil
	})
	if err != nil {
		return transcode.Result{}, err
	}
	return transcode.Result{Segments: []transcode.Segment{file}, Encoder: "ass"}, durable.SyncDir(dir)
}

// fetchLifted copies the text that u draws into dir, where ffmpeg's filter reads it.
func (w *Worker) fetchLifted(ctx context.Context, u transcode.VideoUnit, dir string, p *pulse) (err error) {
	if u.Burn == nil || u.Burn.File == "" {
		return nil
	}
	in, err := w.mediaStore().open(ctx, u.Burn.File)
	if err != nil {
		return fmt.Errorf("reading subtitles: %w", err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, transcode.LiftedName))
	if err != nil {
		return fmt.Errorf("reading subtitles: %w", err)
	}
	n, err := io.Copy(out, &moving{r: io.LimitReader(in, transcode.MaxLiftedBytes+1), pulse: p})
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("reading subtitles: %w", err)
	}
	if n > transcode.MaxLiftedBytes {
		return fmt.Errorf("reading subtitles: more than %d bytes", transcode.MaxLiftedBytes)
	}
	p.touch(time.Now())
	return nil
}

// dropLifted removes what fetchLifted has made.
func dropLifted(u transcode.VideoUnit, dir string) error {
	if u.Burn == nil || u.Burn.File == "" {
		return nil
	}
	return os.Remove(filepath.Join(dir, transcode.LiftedName))
}

// HDR has no white: these shares of its signal are the 203 cd/m² that graphics have in
// it (ITU-R BT.2408 §2.2).
const (
	whitePQ  = 0.58
	whiteHLG = 0.75
)

// burnWhite returns the share of the signal that is white in the picture of u.
func burnWhite(u transcode.VideoUnit) float64 {
	kept := u.Rendition.VideoRange
	if u.Custom && !u.ToneMap {
		kept = u.Color.VideoRange()
	}
	switch kept {
	case transcode.RangePQ:
		return whitePQ
	case transcode.RangeHLG:
		return whiteHLG
	}
	return 1
}

// burnText returns the filters that draw text into the picture of u, at the times that
// it has in its file. options are more of the filter's own.
func burnText(u transcode.VideoUnit, options string) string {
	return fmt.Sprintf("setpts=PTS+%[1]d,subtitles=%[2]s%[3]s,setpts=PTS-%[1]d", u.Burn.Later, transcode.LiftedName, options)
}

// burnLayers returns the filters that lay subtitles over the picture of u, of which
// before gives the picture and after takes it. Pictures are a stream of their own.
func burnLayers(u transcode.VideoUnit, before, after, to string) string {
	width, height := burnSize(u)
	// After the last picture, overlay would go on with text alone.
	end := fmt.Sprintf(":end_pts=%d", u.EndFrame)
	before = strings.Replace(before, end, "", 1)
	var b bytes.Buffer
	label, parts := videoSource(u)
	fmt.Fprintf(&b, "%s[%s]%s[picture];", parts, label, before)
	switch {
	case u.Burn.Map != "" && len(u.Parts) > 0:
		b.WriteString(partTexts(u))
	case u.Burn.Map != "":
		fmt.Fprintf(&b, "[%s]setpts=%s,%s", u.Burn.Map, timeline(u.Spans, u.SourceStart, u.Untimed), textSize(u))
	default:
		rate := u.Grid.Rate.String()
		fmt.Fprintf(&b, "color=black@0:s=%dx%d:r=%s,format=rgba,setpts=PTS+%d,%s", width, height, rate, u.FirstFrame, burnText(u, ":alpha=1"))
	}
	if white := burnWhite(u); white < 1 {
		fmt.Fprintf(&b, ",format=rgba,lutrgb=r=val*%[1]g:g=val*%[1]g:b=val*%[1]g", white)
	}
	fmt.Fprintf(&b, "[text];[picture][text]overlay=x=(W-w)/2:y=(H-h)/2:format=%s,trim=%s", burnFormat(u), end[1:])
	if after != "" {
		b.WriteString("," + after)
	}
	fmt.Fprintf(&b, "[%s]", to)
	return b.String()
}

// textSize returns the filter that gives pictures of text the size of the picture of u.
func textSize(u transcode.VideoUnit) string {
	width, height := burnSize(u)
	size := fmt.Sprintf("scale=%d:%d", width, height)
	if u.Burn.Fit {
		size += ":force_original_aspect_ratio=decrease"
	}
	return size
}

// partTexts returns the filters that show the pictures of text of the parts of u one after the
// other. Nothing is shown on into the next part: one without text begins with an empty picture.
func partTexts(u transcode.VideoUnit) string {
	var b strings.Builder
	labels, size := "", textSize(u)+",format=rgba"
	width, height := burnSize(u)
	if u.Burn.Fit {
		size += fmt.Sprintf(",pad=%d:%d:-1:-1:black@0", width, height)
	}
	for i, part := range u.Parts {
		until := ""
		if i+1 < len(u.Parts) {
			until = ":end=" + seconds(u.Parts[i+1].Seconds)
		}
		if part.Text != "" {
			fmt.Fprintf(&b, "[%s]setpts=%s,", inputMap(i, part.Text), timeline(part.Spans, 0, false))
		} else {
			fmt.Fprintf(&b, "color=black@0:s=%dx%d:d=0.04,format=rgba,setpts=PTS+%s/TB,", width, height, seconds(part.Seconds))
		}
		fmt.Fprintf(&b, "trim=start=%s%s,%s,setsar=1[text%d];", seconds(part.Seconds-0.001), until, size, i)
		labels += fmt.Sprintf("[text%d]", i)
	}
	return b.String() + fmt.Sprintf("%sinterleave=nb_inputs=%d", labels, len(u.Parts))
}

// burnSize returns the size of the picture that subtitles are drawn into.
func burnSize(u transcode.VideoUnit) (width, height int) {
	return cmp.Or(u.Burn.Width, u.Rendition.Width), cmp.Or(u.Burn.Height, u.Rendition.Height)
}

// burnFormat returns the format in which subtitles are laid over the picture.
func burnFormat(u transcode.VideoUnit) string {
	switch {
	case u.Burn.Format != "":
		return u.Burn.Format
	case u.Rendition.TenBit:
		return "yuv420p10"
	}
	return "yuv420"
}
