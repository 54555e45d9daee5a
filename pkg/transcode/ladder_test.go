package transcode

import (
	"fmt"
	"strings"
	"testing"
)

// source returns a probe of a video of this size, with sound.
func source(width, height int, rate Rational, seconds float64) Probe {
	return Probe{
		Seconds: seconds,
		Video:   &VideoStream{Codec: "h264", Width: width, Height: height, Rate: rate, EndSeconds: seconds},
		Audio:   &AudioStream{Codec: "aac", Channels: 2, SampleRate: 44100, EndSeconds: seconds},
	}
}

func TestLadder(t *testing.T) {
	fps30 := Rational{30, 1}
	tests := []struct {
		name          string
		width, height int
		rate          Rational
		bitrateBPS    int
		want          string
	}{
		{"full HD", 1920, 1080, fps30, 0, "1080p 1920x1080 6000k, 720p 1280x720 3000k, 540p 960x540 2000k, 432p 768x432 1100k, 360p 640x360 365k, 234p 416x234 145k"},
		{"tiny board", 320, 180, fps30, 0, "180p 320x180 97k, 90p 160x90 34k"},
		{"small file", 1280, 720, fps30, 400_000, "720p 1280x720 400k, 540p 960x540 259k, 432p 768x432 185k, 360p 640x360 141k, 234p 416x234 74k"},
		{"odd size", 641, 361, fps30, 0, "360p 640x360 365k, 234p 414x234 144k"},
		{"portrait", 1080, 1920, fps30, 0, "1080p 1080x1920 6000k, 720p 720x1280 3000k, 540p 540x960 2000k, 432p 432x768 1100k, 360p 360x640 365k, 234p 234x416 145k"},
		{"ultra HD", 3840, 2160, fps30, 0, "2160p 3840x2160 16970k, 1080p 1920x1080 6000k, 720p 1280x720 3000k, 540p 960x540 2000k, 432p 768x432 1100k, 360p 640x360 365k, 234p 416x234 145k"},
		{"faster", 640, 360, Rational{60, 1}, 0, "360p 640x360 516k, 234p 416x234 205k"},
		{"postage stamp", 160, 120, fps30, 0, "120p 160x120 42k"},
		{"just two", 162, 122, fps30, 0, "122p 162x122 43k, 60p 80x60 32k"},
		{"no picture", 0, 0, fps30, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := source(tt.width, tt.height, tt.rate, 60)
			p.Video.BitrateBPS = tt.bitrateBPS
			var got []string
			for _, r := range Ladder(Output{}, p) {
				got = append(got, fmt.Sprintf("%s %dx%d %dk", r.Name, r.Width, r.Height, r.BitrateBPS/1000))
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("Ladder = %s\n want %s", s, tt.want)
			}
		})
	}
}

func TestLadderWithoutVideo(t *testing.T) {
	if got := Ladder(Output{}, Probe{}); got != nil {
		t.Errorf("Ladder = %v; want nil", got)
	}
}

// No rendition may be larger than the source, have more bits or an odd side.
func TestLadderAskedFor(t *testing.T) {
	rungs := func(list ...Rung) Output { return Output{Rungs: list} }
	tests := []struct {
		name       string
		output     Output
		bitrateBPS int
		want       string
	}{
		{"author", Output{Ladder: PresetAuthor}, 1_500_500, "720p-1500000 1280x720 1500k, 720p-750000 1280x720 750k, 720p-200000 1280x720 200k"},
		{"author, small", Output{Ladder: PresetAuthor}, 300_000, "720p-300000 1280x720 300k, 720p-200000 1280x720 200k"},
		{"author, tiny", Output{Ladder: PresetAuthor}, 150_000, "720p 1280x720 150k"},
		{"author, unknown", Output{Ladder: PresetAuthor}, 0, "720p-3000000 1280x720 3000k, 720p-1500000 1280x720 1500k, 720p-200000 1280x720 200k"},
		{"rungs", rungs(Rung{Lines: 180}, Rung{Lines: 720, BitrateBPS: 5_000_000}), 0, "720p 1280x720 5000k, 180p 320x180 97k"},
		{"two of one size", rungs(Rung{Lines: 360, BitrateBPS: 500_000}, Rung{Lines: 360, BitrateBPS: 900_000}), 0, "360p-900000 640x360 900k, 360p-500000 640x360 500k"},
		{"above the source", rungs(Rung{Lines: 2160}, Rung{Lines: 360}), 0, "360p 640x360 365k"},
		{"all above the source", rungs(Rung{Lines: 2160}, Rung{Lines: 1080}), 0, "720p 1280x720 3000k"},
		{"file", Output{Format: FormatMP4}, 0, "720p 1280x720 3000k"},
		{"H.265", Output{Codec: CodecH265, Rungs: []Rung{{Lines: 720}}}, 0, "720p 1280x720 1800k"},
	}
	for _, tt := range tests {
		p := source(1280, 720, Rational{30, 1}, 60)
		p.Video.BitrateBPS = tt.bitrateBPS
		var got []string
		for _, r := range Ladder(tt.output, p) {
			got = append(got, fmt.Sprintf("%s %dx%d %dk", r.Name, r.Width, r.Height, r.BitrateBPS/1000))
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s: Ladder = %s\n want %s", tt.name, s, tt.want)
		}
	}
}

func FuzzLadder(f *testing.F) {
	f.Add(320, 180, 30, 1, 500_000)
	f.Add(8192, 16, 1, 1000, 0)
	f.Fuzz(func(t *testing.T, width, height, num, den, bitrate int) {
		p := source(width, height, Rational{num, den}, 60)
		p.Video.BitrateBPS = bitrate
		if plannable(p) != nil {
			return
		}
		names := make(map[string]bool)
		for _, r := range Ladder(Output{}, p) {
			if r.Width > width || r.Height > height || r.Width%2+r.Height%2 != 0 || r.Width < 2 || r.Height < 2 {
				t.Errorf("%dx%d has rendition %+v", width, height, r)
			}
			if bitrate > minBitrateBPS && r.BitrateBPS > bitrate {
				t.Errorf("%d b/s has rendition %+v", bitrate, r)
			}
			if names[r.Name] {
				t.Errorf("two renditions of %dx%d are called %s", width, height, r.Name)
			}
			names[r.Name] = true
		}
	})
}
