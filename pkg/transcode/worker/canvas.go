package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"pibootd/pkg/transcode"
)

// Subtitles of DVB (ETSI EN 300 743) are for a picture of 720x576, or of the size in their
// display definition, which may differ from that of the video. ffmpeg does not use it.
const (
	dvbWidth, dvbHeight = 720, 576
	dvbSync             = 0x0f
	dvbDisplay          = 0x14 // type of the segment with the display definition
)

// maxCanvases bounds for how many streams of a source the size is looked for.
const maxCanvases = 8

// canvases adds to p for which size of picture its DVB subtitles are.
func (w *Worker) canvases(ctx context.Context, source string, p *transcode.Probe, pulse *pulse) error {
	left := maxCanvases
	for i := range p.Subtitles {
		s := &p.Subtitles[i]
		if s.Codec != "dvb_subtitle" {
			continue
		}
		s.Width, s.Height = dvbWidth, dvbHeight
		if left--; left < 0 {
			continue
		}
		args := append(inputArgs(source, "", position{}), "-map", fmt.Sprintf("0:s:%d", s.Stream), "-c", "copy", "-frames:s", "1", "-f", "data", "pipe:1")
		ffmpeg := child{
			name: w.ffmpeg(), args: withoutProgress(args), env: w.mediaStore().env(), pulse: pulse, stall: w.stall(),
			stdout: func(r io.Reader) error {
				s.Width, s.Height = dvbCanvas(r)
				_, err := io.Copy(io.Discard, r)
				return err
			},
		}
		if stderr, err := ffmpeg.run(ctx); err != nil {
			return fmt.Errorf("looking at subtitles: %w", explained(err, stderr))
		}
	}
	return nil
}

// withoutProgress removes the option that writes progress to standard output.
func withoutProgress(args []string) []string {
	var rest []string
	for i := 0; i < len(args); i++ {
		if args[i] == "-progress" {
			i++
			continue
		}
		rest = append(rest, args[i])
	}
	return rest
}

// dvbCanvas returns the size of the picture that the segments of DVB subtitles are for,
// from their display definition (EN 300 743 §7.2.1).
func dvbCanvas(r io.Reader) (width, height int) {
	var head [6]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil || head[0] != dvbSync {
			return dvbWidth, dvbHeight
		}
		body := make([]byte, binary.BigEndian.Uint16(head[4:]))
		if _, err := io.ReadFull(r, body); err != nil {
			return dvbWidth, dvbHeight
		}
		if head[1] == dvbDisplay && len(body) >= 5 {
			return int(binary.BigEndian.Uint16(body[1:])) + 1, int(binary.BigEndian.Uint16(body[3:])) + 1
		}
	}
}
