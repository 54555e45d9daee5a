package worker

import (
	"encoding/binary"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"testing"

	"pibootd/pkg/transcode"
)

// Portions of audio that were encoded apart follow on each other without a gap, a click or
// a sample out of place: at their seams, too, they sound as what one run has made.
func TestAudioPortions(t *testing.T) {
	source := makeSource(t, "a.mkv", "-f lavfi -i aevalsrc=0.4*sin(2*PI*(300+20*sin(t))*t)+0.2*sin(2*PI*1500*t):s=44100:d=41.3 -c:a flac")
	for _, output := range []transcode.Output{{}, {Container: transcode.ContainerCMAF}, {Container: transcode.ContainerCMAF, Audio: "opus"}, {Audio: "ac3"}} {
		t.Run(fmt.Sprint(output.Container, output.Audio), func(t *testing.T) {
			t.Parallel()
			whole := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: output}, 0)
			output.Progressive = true
			portions := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: output}, 0)
			if n, m := len(whole.plan.Units), len(portions.plan.Units); n != 1 || m != 2 {
				t.Fatalf("%d and %d units; want 1 and 2", n, m)
			}
			want, got := whole.samples(), portions.samples()
			if len(got) != len(want) {
				t.Fatalf("%d samples; want %d", len(got), len(want))
			}
			ratios := likeness(want, got)
			const seam = 16 * transcode.AudioSampleRate / likeSamples
			if at := slices.Min(ratios[seam-8 : seam+8]); at < 15 {
				t.Errorf("where a portion follows on another, they differ from the whole by %.1f dB; want less than -15", -at)
			}
			slices.Sort(ratios)
			if half := ratios[len(ratios)/2]; half < 20 { // in single windows, encoders put noise for noise
				t.Errorf("the portions differ from the whole by %.1f dB in half of all places; want less than -20", -half)
			}
		})
	}
}

const likeSamples = 1024 // samples

// likeness returns by how many dB the sound of each window is louder than its difference.
func likeness(want, got []float64) []float64 {
	var ratios []float64
	for i := 0; i+likeSamples <= len(got); i += likeSamples {
		signal, noise := 0.0, 1e-9
		for k := i; k < i+likeSamples; k++ {
			signal += want[k] * want[k]
			noise += (got[k] - want[k]) * (got[k] - want[k])
		}
		ratios = append(ratios, 10*math.Log10(signal/noise))
	}
	return ratios
}

// samples decodes the default audio of a stream.
func (j *job) samples() []float64 {
	j.Helper()
	cmd := exec.CommandContext(j.Context(), "ffmpeg", "-v", "error", "-i", "audio/"+transcode.MediaName, "-ac", "1", "-ar", "48000", "-f", "f32le", "-")
	cmd.Dir = j.dir
	out, err := cmd.Output()
	if err != nil {
		j.Fatal(err)
	}
	samples := make([]float64, len(out)/4)
	for i := range samples {
		samples[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(out[4*i:])))
	}
	return samples
}
