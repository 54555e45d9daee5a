package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// peekPackets is how many packets of a source are decoded where their headers leave
// doubt.
const peekPackets = 16

// A shownFrame is a decoded frame, as ffprobe describes it.
type shownFrame struct {
	At         string     `json:"best_effort_timestamp_time"`
	Interlaced int        `json:"interlaced_frame"`
	SideData   []sideData `json:"side_data_list"`
}

func (f shownFrame) interlaced() bool { return f.Interlaced != 0 }

// mayBeInterlaced are the codecs whose frames can be made of fields without a word
// of it in the header.
var mayBeInterlaced = []string{"dvvideo", "mpeg2video", "mpeg1video", "mpeg4", "h264", "vc1", "mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo"}

// peek decodes the beginning of the film if its packets leave doubt about when its
// frames are shown, or what they are made of, and corrects p.
func (w *Worker) peek(ctx context.Context, source string, r *report, p *transcode.Probe, pulse *pulse) error {
	film := r.film()
	if film == nil || p.Video == nil {
		return nil
	}
	track := r.packets[film.Index]
	late := track.unstamped > 0 && track.timed
	unclear := !p.Video.Interlaced && film.FieldOrder != "progressive" && slices.Contains(mayBeInterlaced, film.CodecName)
	// Most containers leave to the frames what display the film was graded on.
	bright := p.Video.Color.VideoRange() != "" && p.Video.Color.Mastering == ""
	if late || unclear || bright {
		frames, err := w.firstFrames(ctx, source, film, pulse)
		if err != nil {
			return err
		}
		for _, f := range frames[:min(len(frames), 1)] {
			if bright {
				addLight(p.Video.Color, f.SideData)
			}
		}
		if late && len(frames) > 0 {
			p.Video.DelaySeconds = min(max(number(frames[0].At)-track.first, 0), 2)
		}
		if slices.ContainsFunc(frames, shownFrame.interlaced) {
			p.Video.Interlaced, p.Video.Fields = true, transcode.FieldsFlagged
		}
	}
	if len(p.Parts) > 0 {
		return w.peekParts(ctx, r, p, pulse)
	}
	rate := p.Video.Rate.Float()
	if p.Video.Interlaced && rate > 29.9 && rate < 30.1 {
		telecined, err := w.telecined(ctx, source, *p.Video, pulse)
		if telecined {
			p.Video.Fields = transcode.FieldsFilm
		}
		return err
	}
	return nil
}

// firstFrames decodes the first frames of a stream.
func (w *Worker) firstFrames(ctx context.Context, source string, s *stream, p *pulse) ([]shownFrame, error) {
	var decoded struct {
		Frames []shownFrame `json:"frames"`
	}
	args := []string{
		"-hide_banner", "-loglevel", "error", "-select_streams", strconv.Itoa(s.Index), "-read_intervals", "%+#" + strconv.Itoa(peekPackets),
		"-show_frames", "-show_entries", "frame=best_effort_timestamp_time,interlaced_frame:frame_side_data", "-of", "json", "-correct_ts_overflow", "0",
	}
	ffprobe := child{
		name: w.ffprobe(), args: append(args, sourceArgs(source)...), env: w.mediaStore().env(), pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error { return json.NewDecoder(r).Decode(&decoded) },
	}
	if stderr, err := ffprobe.run(ctx); err != nil {
		return nil, fmt.Errorf("decoding the first frames: %w", explained(err, stderr))
	}
	p.touch(time.Now())
	return decoded.Frames, nil
}

// telecineSeconds is how much of an interlaced source is decoded to see whether it is
// a film that was brought to 29.97 frames per second: every second frame and a half
// of it repeats a field.
const telecineSeconds = 12

// repeated matches what ffmpeg's idet filter counts.
var repeated = regexp.MustCompile(`Repeated Fields: Neither: *([0-9]+) Top: *([0-9]+) Bottom: *([0-9]+)`)

// telecined decodes some of an interlaced source and reports whether it is a film with
// repeated fields.
func (w *Worker) telecined(ctx context.Context, source string, v transcode.VideoStream, p *pulse) (bool, error) {
	args := []string{"-hide_banner", "-nostdin", "-nostats", "-loglevel", "info", "-progress", "pipe:1"}
	args = append(args, sourceArgs(source)...)
	args = append(args, "-map", v.Map, "-t", strconv.Itoa(telecineSeconds), "-vf", "idet", "-f", "null", "-")
	ffmpeg := child{
		name: w.ffmpeg(), args: args, env: w.mediaStore().env(), pulse: p, stall: w.stall(),
		stdout: func(r io.Reader) error { return readProgress(r, p, nil) },
	}
	stderr, err := ffmpeg.run(ctx)
	if err != nil {
		return false, fmt.Errorf("looking for repeated fields: %w", explained(err, stderr))
	}
	count := repeated.FindStringSubmatch(strings.Join(stderr, "\n"))
	if count == nil {
		return false, nil
	}
	neither, top, bottom := number(count[1]), number(count[2]), number(count[3])
	all := neither + top + bottom
	between := func(share float64) bool { return share > 0.12*all && share < 0.28*all }
	return all >= 20 && between(top) && between(bottom), nil
}
