package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"pibootd/internal/durable"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// TextArgs returns ffmpeg's arguments that convert the subtitles of u from source to
// one file each, in its working directory. charset is that of a source that is text;
// "" is UTF-8, or what its first bytes say.
func TextArgs(u transcode.Unit, source, charset string) []string {
	args := subtitleArgs(source, charset)
	for _, p := range transcode.Pieces(u, transcode.Result{}) {
		r := p.Unit.Text.Renditions[0]
		args = append(args,
			"-map", fmt.Sprintf("0:s:%d", r.Stream), "-map_metadata", "-1", "-c:s", textEncoder(madeOf(*p.Unit.Text)),
			"-output_ts_offset", seconds(-u.Text.SourceStart), "-f", textMuxer(madeOf(*p.Unit.Text)), "-y", filepath.Join(p.Dir, wholeText(madeOf(*p.Unit.Text))))
	}
	return args
}

// subtitleArgs returns the arguments that read the subtitles of source. charset is that of a
// source that is text; "" is UTF-8, or what its first bytes say.
func subtitleArgs(source, charset string) []string {
	args := []string{
		"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-progress", "pipe:1", "-stats_period", "1", "-copyts",
	}
	if charset != "" {
		args = append(args, "-sub_charenc", charset)
	}
	return append(args, sourceArgs(source)...)
}

// madeOf returns the format that ffmpeg makes of u's one rendition. What is left out at the
// beginning is cut off WebVTT, which other formats are made of then.
func madeOf(u transcode.TextUnit) transcode.TextFormat {
	if u.CutSeconds > 0 {
		return transcode.TextVTT
	}
	return u.Renditions[0].Format
}

func textEncoder(f transcode.TextFormat) string {
	switch f {
	case transcode.TextVTT:
		return "webvtt"
	case transcode.TextASS:
		return "ass"
	}
	return "srt"
}

// textMuxer returns ffmpeg's name of a format.
func textMuxer(f transcode.TextFormat) string {
	if f == transcode.TextVTT {
		return "webvtt"
	}
	return string(f)
}

// wholeText is the name of the file that ffmpeg makes: a segment if there is only one.
func wholeText(f transcode.TextFormat) string {
	if f == transcode.TextVTT {
		return "whole.vtt"
	}
	return f.SegmentName(0)
}

// text converts the subtitles of u to segments in dir. A file beside the source that
// cannot be read costs only its subtitles.
func (w *Worker) text(ctx context.Context, u transcode.Unit, source, dir string, p *pulse) ([]string, error) {
	pieces := transcode.Pieces(u, transcode.Result{})
	stderr, err := w.convertText(ctx, u, source, dir, p)
	if u.Text.Renditions[0].Source != "" && (errors.Is(err, errSource) || misread(err, stderr)) {
		p.unread, err = cut(readingFailed(err, stderr)), nil
		for _, piece := range pieces {
			format := madeOf(*piece.Unit.Text)
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, piece.Dir, wholeText(format)), emptyText(format), 0o644))
		}
	}
	if err != nil {
		return stderr, err
	}
	for _, piece := range pieces {
		if err := cutText(*piece.Unit.Text, filepath.Join(dir, piece.Dir)); err != nil {
			return stderr, err
		}
		p.advance(1, 0, time.Now())
	}
	return stderr, nil
}

// convertText has ffmpeg make one file of each of u's renditions.
func (w *Worker) convertText(ctx context.Context, u transcode.Unit, source, dir string, p *pulse) ([]string, error) {
	charset := ""
	if u.Text.Renditions[0].Source != "" {
		var err error
		if charset, err = w.charset(ctx, u.Source); err != nil {
			return nil, err
		}
	}
	written := func() int { // ffmpeg counts no frames of subtitles
		var size int64
		for _, piece := range transcode.Pieces(u, transcode.Result{}) {
			if info, err := os.Stat(filepath.Join(dir, piece.Dir, wholeText(madeOf(*piece.Unit.Text)))); err == nil {
				size += info.Size()
			}
		}
		return int(size)
	}
	if spans := u.Text.Spans; len(spans) > 0 {
		straight, stderr, err := w.straighten(ctx, spans, source, dir, p)
		if err != nil {
			return stderr, err
		}
		defer os.Remove(straight)
		source = straight
	}
	return w.transcode(ctx, TextArgs(u, source, charset), dir, p, written)
}

// misread reports whether ffmpeg ended because it could not read what its source has.
func misread(err error, stderr []string) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Exited() && strings.Contains(strings.Join(stderr, "\n"), "Invalid data found")
}

// readingFailed says why a file of subtitles could not be read.
func readingFailed(err error, stderr []string) string {
	if len(stderr) > 0 {
		return complaint(stderr)
	}
	return err.Error()
}

// emptyText is a file without subtitles.
func emptyText(f transcode.TextFormat) []byte {
	switch f {
	case transcode.TextVTT:
		return []byte("WEBVTT\n")
	case transcode.TextASS:
		return []byte("[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n")
	}
	return []byte("\n")
}

// oldCharset is what text that is not Unicode is taken for: the character set of
// Western Europe on Windows, which ISO 8859-1 is a part of.
const oldCharset = "WINDOWS-1252"

// charset returns the character set of a file of subtitles; "" if ffmpeg finds it out
// itself.
func (w *Worker) charset(ctx context.Context, file string) (string, error) {
	f, err := w.mediaStore().open(ctx, file)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", file, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mediafile.MaxTextBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading %s: %w", file, err)
	case len(text) > mediafile.MaxTextBytes:
		return "", fmt.Errorf("%w: %s has more than %d bytes; want subtitles", errSource, file, mediafile.MaxTextBytes)
	case utf8.Valid(text), bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return "", nil
	}
	return oldCharset, nil
}

// cutText cuts what ffmpeg has made in dir into the segments of u's one rendition.
func cutText(u transcode.TextUnit, dir string) error {
	format := u.Renditions[0].Format
	name := filepath.Join(dir, wholeText(madeOf(u)))
	if madeOf(u) != transcode.TextVTT {
		return notEmpty(name)
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("cutting subtitles: %w", err)
	}
	whole, err := mediafile.ReadWebVTT(f)
	if err := errors.Join(err, f.Close(), os.Remove(name)); err != nil {
		return fmt.Errorf("cutting subtitles: %w", err)
	}
	whole = whole.From(duration(u.CutSeconds))
	if format != transcode.TextVTT {
		return os.WriteFile(filepath.Join(dir, format.SegmentName(0)), whole.SubRip(duration(u.Seconds)), 0o644)
	}
	for i := range u.Segments() {
		start, end := u.Segment(i)
		part := mediafile.TextTrack{MPEGTS: transcode.StartPTS, Cues: whole.Between(duration(start), duration(end))}
		if err := os.WriteFile(filepath.Join(dir, format.SegmentName(i)), part.WebVTT(), 0o644); err != nil {
			return fmt.Errorf("cutting subtitles: %w", err)
		}
	}
	return nil
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// notEmpty puts a line into a file without any: subtitles that say nothing.
func notEmpty(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("converting subtitles: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		_, err = f.WriteString("\n")
	}
	return errors.Join(err, f.Close())
}

// textProof looks at the segments of u's one rendition in dir, and makes them durable.
func textProof(u transcode.TextUnit, dir string, p *pulse) (transcode.Result, error) {
	result := transcode.Result{Encoder: textEncoder(u.Renditions[0].Format)}
	cues := 0
	look := func(r io.Reader) (mediafile.SegmentInfo, error) {
		if u.Renditions[0].Format != transcode.TextVTT {
			return mediafile.SegmentInfo{}, nil
		}
		track, err := mediafile.ReadWebVTT(r)
		cues = len(track.Cues)
		return mediafile.SegmentInfo{}, err
	}
	for i := range u.Segments() {
		segment, _, err := inspect(filepath.Join(dir, u.Renditions[0].Format.SegmentName(i)), look)
		if err != nil {
			return transcode.Result{}, err
		}
		start, end := u.Segment(i)
		segment.Frames, segment.Seconds, segment.Key = cues, end-start, true
		result.Segments = append(result.Segments, segment)
		p.touch(time.Now())
	}
	return result, durable.SyncDir(dir)
}
