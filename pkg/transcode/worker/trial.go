package worker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// A trial decodes its pieces of the source once, into a file without loss at the size of the
// largest rendition. What is tried is encoded from that, and compared with it.

// referenceName is the file that a trial encodes from.
const referenceName = "reference.nut"

// try tries all renditions of u.
func (w *Worker) try(ctx context.Context, unit transcode.Unit, source, dir string, p *pulse) ([]string, error) {
	u := *unit.Video
	if stderr, err := w.trialRun(ctx, referenceArgs(append([]transcode.VideoUnit{u}, unit.MorePieces...), source), u, dir, p); err != nil {
		return stderr, fmt.Errorf("decoding what is tried: %w", err)
	}
	renditions := append([]transcode.Rendition{u.Rendition}, u.Others...)
	next := 0
	for batch := range slices.Chunk(renditions, w.triedAtOnce(renditions)) {
		if stderr, err := w.trialRun(ctx, triedArgs(unit, batch, next), u, dir, p); err != nil {
			return stderr, err
		}
		next += len(batch)
	}
	stderr, err := w.trialRun(ctx, compareArgs(unit, renditions), u, dir, p)
	if err != nil {
		return stderr, fmt.Errorf("comparing what was tried: %w", err)
	}
	return stderr, nil
}

// trialRun runs ffmpeg in dir.
func (w *Worker) trialRun(ctx context.Context, args []string, u transcode.VideoUnit, dir string, p *pulse) ([]string, error) {
	p.restart(time.Now())
	ffmpeg := child{
		name: w.ffmpeg(), args: args, env: w.mediaStore().env(), dir: dir, pulse: p, stall: w.stall(), line: newShowing(u).line,
		stdout: func(r io.Reader) error { return readProgress(r, p, nil) }, grows: filepath.Join(dir, referenceName),
	}
	return ffmpeg.run(ctx)
}

// triedAtOnce returns how many renditions are encoded by one ffmpeg: as many of the largest as
// half of this machine's memory suffices for.
func (w *Worker) triedAtOnce(renditions []transcode.Rendition) int {
	one := transcode.VideoUnit{Rendition: renditions[0]}.MemoryBytes(transcode.MemoryPerPixelFrugal)
	return int(min(max(w.memoryBytes()/2/one, 1), int64(len(renditions))))
}

// gridTime has filters and encoders count time in frames of the grid.
func gridTime(g transcode.Grid) string { return fmt.Sprintf("%d:%d", g.Rate.Den, g.Rate.Num) }

// referenceArgs decode pieces of a source to the size of the first rendition, one after the
// other.
func referenceArgs(pieces []transcode.VideoUnit, source string) []string {
	var args []string
	var graph, joined strings.Builder
	for i, u := range pieces {
		u, inputs := readingVideo(u, source, "")
		label, parts := videoSource(u)
		if parts == "" {
			label = strconv.Itoa(i) + strings.TrimPrefix(label, "0")
		}
		before, _ := pictureFilters(u)
		args = append(args, inputs...)
		fmt.Fprintf(&graph, "%s[%s]%s[piece%d];", parts, label, join(gridFilter(u, false), before, "setpts=PTS-STARTPTS"), i)
		fmt.Fprintf(&joined, "[piece%d]", i)
	}
	fmt.Fprintf(&graph, "%sconcat=n=%d,fps=%s[all]", joined.String(), len(pieces), pieces[0].Grid.Rate)
	return append(args, "-filter_complex", graph.String(), "-map", "[all]", "-map_chapters", "-1", "-fps_mode", "passthrough", "-enc_time_base", gridTime(pieces[0].Grid),
		"-c:v", transcode.EncoderX264, "-qp", "0", "-preset", "ultrafast", "-f", "nut", "-y", referenceName)
}

// triedArgs encode the reference to renditions, the first of which has this number. Beside each
// file is a list of its packets.
func triedArgs(unit transcode.Unit, renditions []transcode.Rendition, number int) []string {
	u := *unit.Video
	args := append(readingArgs(), sourceArgs(referenceName)...)
	for i, r := range renditions {
		one := u
		one.Rendition, one.Others = r, nil
		frames := unit.TriedPieces(number+i) * u.Grid.SegmentFrames
		one.EndFrame = u.FirstFrame + frames
		args = append(args, "-map", "0:v", "-frames:v", strconv.Itoa(frames), "-vf", fmt.Sprintf("scale=%d:%d,setsar=1", r.Width, r.Height), "-fps_mode", "passthrough", "-enc_time_base", gridTime(u.Grid))
		args = append(append(args, noMetadata()...), encoderArgs(one)...)
		args = append(args, "-force_key_frames", fmt.Sprintf("expr:not(mod(n,%d))", u.Grid.SegmentFrames), "-tag:v", "0", "-threads", strconv.Itoa(smallThreads), "-f", "tee",
			fmt.Sprintf("[f=nut]%s|[f=framecrc]%s", triedName(number+i), packetsName(number+i)), "-y")
	}
	return args
}

func triedName(number int) string   { return fmt.Sprintf("tried-%d.nut", number) }
func packetsName(number int) string { return fmt.Sprintf("tried-%d.packets", number) }
func ssimName(number int) string    { return fmt.Sprintf("tried-%d.ssim", number) }

// compareArgs compare renditions, at the size of the reference, with the reference.
func compareArgs(unit transcode.Unit, renditions []transcode.Rendition) []string {
	u := *unit.Video
	args := append(readingArgs(), sourceArgs(referenceName)...)
	clock := fmt.Sprintf("settb=%d/%d,setpts=N", u.Grid.Rate.Den, u.Grid.Rate.Num)
	var graph strings.Builder
	fmt.Fprintf(&graph, "[0:v]%s,split=%d", clock, len(renditions))
	for i := range renditions {
		fmt.Fprintf(&graph, "[ref%d]", i)
	}
	for i := range renditions {
		args = append(args, sourceArgs(triedName(i))...)
		fmt.Fprintf(&graph, ";[%d:v]%s,scale=%d:%d:flags=bicubic[is%d];[ref%d]trim=end_frame=%d[was%d];[is%d][was%d]ssim=stats_file=%s",
			i+1, clock, u.Rendition.Width, u.Rendition.Height, i, i, unit.TriedPieces(i)*u.Grid.SegmentFrames, i, i, i, ssimName(i))
	}
	return append(args, "-filter_complex", graph.String(), "-f", "null", "-")
}

// trialProof reads what a trial has shown, and removes its files.
func trialProof(u transcode.VideoUnit, dir string) (transcode.Result, error) {
	length := u.EndFrame - u.FirstFrame
	result := transcode.Result{Encoder: encoderOf(u)}
	for i := range 1 + len(u.Others) {
		trial, err := readTrial(dir, i, length)
		if err != nil {
			return transcode.Result{}, err
		}
		if i == 0 {
			result.Trial = &trial
		} else {
			result.Others = append(result.Others, transcode.Result{Trial: &trial})
		}
	}
	return result, freshDir(dir, transcode.Unit{})
}

// readTrial reads the packets and the SSIM of one rendition, of whose pieces each has so many
// frames.
func readTrial(dir string, number, length int) (transcode.Trial, error) {
	var trial transcode.Trial
	err := readLines(filepath.Join(dir, packetsName(number)), func(line string) error { return addPacket(&trial, line) })
	if err == nil {
		err = addSSIM(&trial, filepath.Join(dir, ssimName(number)), length)
	}
	if err != nil {
		return transcode.Trial{}, fmt.Errorf("reading trial %d: %w", number, err)
	}
	return trial, nil
}

// addPacket reads a line of ffmpeg's framecrc: stream, dts, pts, duration, bytes, checksum and
// more. A key frame begins a piece.
func addPacket(t *transcode.Trial, line string) error {
	if strings.HasPrefix(line, "#") {
		return nil
	}
	fields := strings.Split(line, ",")
	if len(fields) < 6 {
		return fmt.Errorf("packet %.100q; want its size in the fifth of six fields", line)
	}
	size, err := strconv.ParseInt(strings.TrimSpace(fields[4]), 10, 64)
	if err != nil || size < 0 {
		return fmt.Errorf("packet of %.50q bytes; want a number", fields[4])
	}
	key := !strings.Contains(line, " F=0x") // flags, unless they are those of a key frame
	t.Frames++
	if key {
		t.Keys, t.KeyBytes, t.Pieces = t.Keys+1, t.KeyBytes+size, append(t.Pieces, transcode.TriedPiece{KeyBytes: size})
		return nil
	}
	t.RestBytes += size
	if last := len(t.Pieces) - 1; last >= 0 {
		t.Pieces[last].RestBytes += size
	}
	return nil
}

// addSSIM reads what ffmpeg's ssim says of each frame, such as n:1 Y:0.987 U:0.991.
func addSSIM(t *transcode.Trial, file string, length int) error {
	var ssims []float64
	err := readLines(file, func(line string) error {
		_, after, _ := strings.Cut(line, " Y:")
		value, _, _ := strings.Cut(after, " ")
		ssim, err := strconv.ParseFloat(value, 64)
		if err != nil || !(ssim >= -1 && ssim <= 1) {
			return fmt.Errorf("SSIM %.100q; want Y: and a number", line)
		}
		ssims = append(ssims, ssim)
		return nil
	})
	if err == nil && (len(ssims) != t.Frames || t.Frames == 0 || t.Frames != length*len(t.Pieces)) {
		err = fmt.Errorf("SSIM of %d frames in %d pieces of %d; want %d, more than none", len(ssims), len(t.Pieces), length, t.Frames)
	}
	if err != nil {
		return err
	}
	t.SSIM = mean(ssims)
	for i := range t.Pieces {
		frames := ssims[i*length : (i+1)*length]
		near := min(transcode.NearFrames, length)
		t.Pieces[i].NearSSIM, t.Pieces[i].SSIM = mean(frames[:near]), mean(frames)
		if length > near {
			t.Pieces[i].SSIM = mean(frames[near:])
		}
	}
	return nil
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, n := range list {
		sum += n
	}
	return sum / float64(max(len(list), 1))
}

func readLines(file string, line func(string) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := line(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}
