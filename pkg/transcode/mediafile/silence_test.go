package mediafile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Silence is a track that our own reader and ffmpeg take for what it is: as long as it should
// be, at its place, with nothing to hear.
func TestSilence(t *testing.T) {
	init, err := InspectInit(bytes.NewReader(SilenceInit()))
	if err != nil || init.Codecs != "mp4a.40.2" || init.SampleRate != 48000 {
		t.Fatalf("%+v, %v; want AAC of 48 kHz", init, err)
	}
	data := SilentFragment(480000, 94)
	f, err := InspectFragment(init, data)
	if err != nil || f.Begin != 10*TicksPerSecond || f.End != f.Begin+94*1024*90/48 || f.Frames != 94 || !f.Key {
		t.Fatalf("%+v, %v; want 94 frames from 10 s on", f, err)
	}
	file := filepath.Join(t.TempDir(), "silence.mp4")
	if err := os.WriteFile(file, append(SilenceInit(), append(data, SilentFragment(480000+94*1024, 47)...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ffmpeg", "-hide_banner", "-nostdin", "-xerror", "-i", file, "-af", "volumedetect", "-f", "null", "-").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "n_samples: 288768") || !strings.Contains(string(out), "max_volume: -91.0 dB") {
		t.Errorf("ffmpeg: %v\n%s\nwant 141 frames of stereo, all silent", err, out)
	}
}
