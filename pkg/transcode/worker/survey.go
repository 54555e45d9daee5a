package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
)

// survey makes the first of two passes over u.
func (w *Worker) survey(ctx context.Context, u transcode.VideoUnit, source, dir string, p *pulse) ([]string, error) {
	constant := func(r transcode.Rendition) transcode.Rendition {
		r.CRF, r.MaxrateBPS, r.BufferBits = r.SurveyCRF(u.Grid.Rate), 0, 0
		return r
	}
	renditions := []transcode.Rendition{constant(u.Rendition)}
	for _, r := range u.Others {
		renditions = append(renditions, constant(r))
	}
	u.Pass, u.Rendition, u.Others = 1, renditions[0], renditions[1:]
	return w.video(ctx, u, source, "", dir, p)
}

// surveyProof reads what the encoders say of a first pass.
func surveyProof(u transcode.VideoUnit, dir string) (transcode.Result, error) {
	result := transcode.Result{Encoder: encoderOf(u)}
	for i, r := range append([]transcode.Rendition{u.Rendition}, u.Others...) {
		survey, err := readStats(filepath.Join(dir, statsName(encoderOf(u), r, i)), encoderOf(u))
		if err != nil {
			return transcode.Result{}, err
		}
		survey.CRF = r.SurveyCRF(u.Grid.Rate)
		if i == 0 {
			result.Survey = &survey
		} else {
			result.Others = append(result.Others, transcode.Result{Survey: &survey})
		}
	}
	return result, removePassLogs(dir)
}

// statsName returns the name of the statistics that a first pass leaves of a rendition,
// the number of which ffmpeg appends for x264.
func statsName(encoder string, r transcode.Rendition, number int) string {
	if encoder == transcode.EncoderX265 {
		return passLog + r.Name
	}
	return fmt.Sprintf("%s%s-%d.log", passLog, r.Name, number)
}

func removePassLogs(dir string) error {
	logs, err := filepath.Glob(filepath.Join(dir, passLog+"*"))
	for _, log := range logs {
		err = errors.Join(err, os.Remove(log))
	}
	return err
}

func readStats(file, encoder string) (transcode.Survey, error) {
	f, err := os.Open(file)
	if err != nil {
		return transcode.Survey{}, fmt.Errorf("reading statistics: %w", err)
	}
	defer f.Close()
	s, err := parseStats(f, encoder)
	if err != nil {
		return transcode.Survey{}, fmt.Errorf("reading statistics %s: %w", filepath.Base(file), err)
	}
	return s, nil
}

// parseStats sums up the statistics of x264 or x265: of each frame the quantizer, and
// the bits of coefficients, motion vectors and the rest.
func parseStats(r io.Reader, encoder string) (transcode.Survey, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	var s transcode.Survey
	frames, even := 0, true // whether the encoder aims at one quantizer for all frames
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#options:") {
			even = !strings.Contains(line, " mbtree=0") && !strings.Contains(line, " no-cutree")
		}
		if !strings.HasPrefix(line, "in:") {
			continue
		}
		frames++
		if err := addStats(&s, line, encoder); err != nil {
			return s, fmt.Errorf("frame %d: %w", frames, err)
		}
	}
	if err := lines.Err(); err != nil {
		return s, err
	}
	if frames == 0 {
		return s, errors.New("no frames")
	}
	s.Step /= float64(frames)
	if !even {
		// The step grows with the complexity of frames to the power of 1-qcomp.
		grown := math.Pow(max((s.Texture+s.Motion)/float64(frames), 1), 0.4)
		s.Texture, s.Motion, s.Step = s.Texture/math.Pow(grown, 1.1), s.Motion/math.Sqrt(grown), 0
	}
	return s, nil
}

// Factors between the steps of key frames and B-frames and those of the frames that they
// belong to. With its tree of macroblocks, x264 has none for B-frames.
const (
	keyFactor = 1.4
	x265BStep = 1.3
)

func addStats(s *transcode.Survey, line, encoder string) error {
	values := map[string]string{}
	for _, word := range strings.Fields(line) {
		key, value, _ := strings.Cut(word, ":")
		values[key] = value
	}
	var numbers [4]float64
	for i, key := range []string{"q", "tex", "mv", "misc"} {
		n, err := strconv.ParseFloat(values[key], 64)
		if err != nil || !(n >= -100 && n <= 1e12) {
			return fmt.Errorf("%s is %.20q; want a number", key, values[key])
		}
		numbers[i] = n
	}
	step := 0.85 * math.Exp2((numbers[0]-12)/6)
	switch kind := values["type"]; {
	case kind == "I" || kind == "i":
		step *= keyFactor
	case strings.EqualFold(kind, "b") && encoder == transcode.EncoderX265:
		step /= x265BStep
	}
	s.Texture += numbers[1] * math.Pow(step, 1.1)
	s.Motion += numbers[2] * math.Sqrt(max(step, 1))
	s.Rest += numbers[3]
	s.Step += step
	return nil
}
