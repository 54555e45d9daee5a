package worker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"pibootd/pkg/transcode"
)

// Files that were appended to one another are read as one, but each has a header of its own
// where its chapters are, and its subtitles count from its own start.

// appended adds to p where in the source each file begins, and the chapters of all of them.
// In MPEG's containers, streams overlap where files meet, and there is no text.
func (w *Worker) appended(ctx context.Context, source string, r *report, p *transcode.Probe, pulse *pulse) error {
	if len(p.Spans) < 2 || r.isMPEG() {
		return nil
	}
	from := w.bytesOf(source, p.SizeBytes)
	axis := r.axis(r.packets[r.film().Index], p.Start, p.Untimed)
	chapters := endedBy(p.Chapters, p.Spans[1].At)
	for i, c := range r.clocks {
		span, shown := axis.ofTime[i]
		if !shown || i == 0 || c.bytes <= 0 {
			continue
		}
		header, found, err := findMatroska(ctx, from, max(c.after, 0), c.bytes)
		if err != nil {
			return err
		}
		if p.Spans[span].Bytes = header; !found {
			continue
		}
		own, err := w.chaptersFrom(ctx, source, header, pulse)
		if err != nil {
			return err
		}
		list := own.chapterList(axis, i)
		if span+1 < len(p.Spans) {
			list = endedBy(list, p.Spans[span+1].At)
		}
		chapters = append(chapters, list...)
	}
	p.Chapters = chapters[:min(len(chapters), maxChapters)]
	return nil
}

// endedBy returns chapters without what is after the end of their film.
func endedBy(list []transcode.Chapter, end float64) []transcode.Chapter {
	var kept []transcode.Chapter
	for _, c := range list {
		if c.StartSeconds < end {
			c.EndSeconds = min(c.EndSeconds, end)
			kept = append(kept, c)
		}
	}
	return kept
}

// chaptersFrom reads the chapters of a file that begins at this byte of source.
func (w *Worker) chaptersFrom(ctx context.Context, source string, begin int64, p *pulse) (*report, error) {
	var own *report
	var parseErr error
	args := []string{"-hide_banner", "-loglevel", "error", "-show_chapters", "-show_entries", "format=format_name", "-of", "default"}
	ffprobe := child{
		name: w.ffprobe(), args: append(args, partArgs(source, begin)...), env: w.mediaStore().env(), pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error {
			own, parseErr = readReport(r, func(int) {})
			return parseErr
		},
	}
	stderr, err := ffprobe.run(ctx)
	if refused(err, stderr) {
		return &report{}, nil // what looks like a header need not be one
	}
	if err != nil {
		return nil, fmt.Errorf("reading the chapters of the file at byte %d: %w", begin, explained(err, stderr))
	}
	return own, nil
}

// partArgs have ffmpeg read source from a byte on as if it began there.
func partArgs(source string, begin int64) []string {
	of, protocols := "file:"+source, "subfile,file"
	if isURL(source) {
		of, protocols = source, "subfile,http,tcp"
	}
	return []string{"-protocol_whitelist", protocols, "-i", fmt.Sprintf("subfile,,start,%d,end,0,,:%s", begin, of)}
}

// ebmlMagic begins each file of Matroska or WebM (RFC 8794 §11.2.1).
const ebmlMagic = "\x1a\x45\xdf\xa3"

const (
	// maxHeadSeek bounds how far a header is looked for: attached fonts and pictures are
	// between it and the first packet.
	maxHeadSeek = 64 << 20
	headPiece   = 1 << 20
	// ebmlHeaderBytes is more than what the first element has up to the name of its format.
	ebmlHeaderBytes = 64
)

// findMatroska returns where between two bytes the header of a file of Matroska begins;
// without one, it returns the second.
func findMatroska(ctx context.Context, from sourceBytes, after, before int64) (begin int64, found bool, err error) {
	buf := make([]byte, headPiece+ebmlHeaderBytes)
	for at := max(after, before-maxHeadSeek); at < before; at += headPiece {
		n, err := from.readAt(ctx, buf[:min(int64(len(buf)), before-at+ebmlHeaderBytes)], at)
		if err != nil {
			return 0, false, err
		}
		for i := 0; i < n; i++ {
			next := bytes.Index(buf[i:n], []byte(ebmlMagic))
			if next < 0 {
				break
			}
			i += next
			head := string(buf[i:min(i+ebmlHeaderBytes, n)])
			if strings.Contains(head, "matroska") || strings.Contains(head, "webm") {
				return at + int64(i), true, nil
			}
		}
	}
	return before, false, nil
}

// straightName is the file with the subtitles of a source at the times of the output.
const straightName = "straight.mkv"

// straighten makes a file in dir of the subtitles of a source, and of the fonts that belong
// to them, in which each span begins when it is shown.
func (w *Worker) straighten(ctx context.Context, spans []transcode.Span, source, dir string, p *pulse) (string, []string, error) {
	stderr, err := w.transcode(ctx, StraightArgs(spans, source), dir, p, nil)
	return filepath.Join(dir, straightName), stderr, err
}

// StraightArgs returns ffmpeg's arguments for straighten. Which span a packet belongs to
// follows from where it is in the source.
func StraightArgs(spans []transcode.Span, source string) []string {
	offset, end := seconds(spans[0].At-spans[0].First), "1e9"
	for i, s := range spans {
		if i > 0 {
			offset += fmt.Sprintf("+gte(POS,%d)*(%s)", s.Bytes, seconds(s.At-s.First-spans[i-1].At+spans[i-1].First))
		}
		if i+1 < len(spans) { // nothing is shown on into the next span
			end = fmt.Sprintf("min(%s,%s+gte(POS,%d)*1e9)", end, seconds(s.First+spans[i+1].At-s.At), spans[i+1].Bytes)
		}
	}
	setts := fmt.Sprintf("setts=ts='TS+(%s)/TB':duration='max(min(DURATION,(%s)/TB-TS),0)'", offset, end)
	return append(subtitleArgs(source, ""), "-map", "0:s", "-map", "0:t?", "-map_chapters", "-1", "-c", "copy", "-bsf:s", setts, "-f", "matroska", "-y", straightName)
}
