package transcode

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestGridRate(t *testing.T) {
	tests := []struct{ source, want Rational }{
		{Rational{30, 1}, Rational{30, 1}},
		{Rational{30000, 1001}, Rational{30000, 1001}},
		{Rational{2997, 100}, Rational{30000, 1001}},
		{Rational{23976, 1000}, Rational{24000, 1001}},
		{Rational{24, 1}, Rational{24, 1}},
		{Rational{25, 1}, Rational{25, 1}},
		{Rational{50, 1}, Rational{50, 1}},
		{Rational{19001, 317}, Rational{60000, 1001}},
		{Rational{120, 1}, Rational{60, 1}},
		{Rational{15, 1}, Rational{15, 1}},
		{Rational{25, 2}, Rational{25, 2}},
		{Rational{12, 1}, Rational{12, 1}},
		{Rational{10, 1}, Rational{10, 1}},
		{Rational{15, 2}, Rational{15, 2}},
		{Rational{1, 3}, Rational{1, 1}},
		{Rational{2, 5}, Rational{6, 5}},
		{Rational{20, 1}, Rational{20, 1}},
		{Rational{18010, 1000}, Rational{18, 1}},
		{Rational{48, 1}, Rational{48, 1}},
		{Rational{47953, 1000}, Rational{48000, 1001}},
		{Rational{100, 1}, Rational{50, 1}},
		{Rational{120000, 1001}, Rational{60000, 1001}},
		{Rational{240, 1}, Rational{60, 1}},
		{Rational{144, 1}, Rational{48, 1}},
		{Rational{1000, 1}, Rational{1000, 17}},
	}
	for _, tt := range tests {
		if got := gridRate(tt.source, DefaultMaxFPS); got != tt.want {
			t.Errorf("gridRate(%v) = %v; want %v", tt.source, got, tt.want)
		}
	}
	for most, want := range map[float64]Rational{120: {120, 1}, 60: {60, 1}, 59.94: {40, 1}, 50: {40, 1}, 30: {30, 1}, 25: {24, 1}, 1: {1, 1}} {
		if got := gridRate(Rational{120, 1}, most); got != want {
			t.Errorf("gridRate(120, %v) = %v; want %v", most, got, want)
		}
	}
}

func TestGridSegments(t *testing.T) {
	tests := []struct{ frames, segments, lastFirst, lastEnd int }{
		{1, 1, 0, 1},
		{120, 1, 0, 120},
		{149, 1, 0, 149}, // 29 frames are too few for a segment of their own
		{150, 2, 120, 150},
		{240, 2, 120, 240},
		{269, 2, 120, 269},
		{270, 3, 240, 270},
	}
	for _, tt := range tests {
		g := Grid{Rate: Rational{30, 1}, SegmentFrames: 120, Frames: tt.frames}
		n := g.Segments()
		first, end := g.Segment(n - 1)
		if n != tt.segments || first != tt.lastFirst || end != tt.lastEnd {
			t.Errorf("%d frames: %d segments, the last [%d,%d); want %d, [%d,%d)", tt.frames, n, first, end, tt.segments, tt.lastFirst, tt.lastEnd)
		}
	}
}

// Browsers play what is planned of short sources with sound, and files keep their length.
func TestShortStreams(t *testing.T) {
	for _, tt := range []struct {
		rate    int
		seconds float64
		silent  bool
		output  Output
		want    Grid
		sound   float64
	}{
		{25, 0.04, false, Output{}, Grid{Rational{25, 1}, 100, 10}, 0.4},
		{25, 0.2, false, Output{Container: ContainerCMAF}, Grid{Rational{25, 1}, 100, 10}, 0.4},
		{25, 0.2, false, Output{Format: FormatMP4}, Grid{Rational{25, 1}, 100, 5}, 0.2},
		{25, 0.2, true, Output{}, Grid{Rational{25, 1}, 100, 5}, 0},
		{25, 0.2, false, Output{Audio: AudioNone}, Grid{Rational{25, 1}, 100, 5}, 0},
		{1, 3, false, Output{}, Grid{Rational{3, 1}, 12, 9}, 3},
		{1, 3, false, Output{MaxFPS: 1}, Grid{Rational{1, 1}, 4, 3}, 3},
		{5, 0.4, false, Output{}, Grid{Rational{20, 1}, 80, 8}, 0.4},
		{60, 0.1, false, Output{}, Grid{Rational{60, 1}, 240, 24}, 0.4},
		{25, 10, false, Output{}, Grid{Rational{25, 1}, 100, 250}, 10},
	} {
		p := Probe{Seconds: tt.seconds, Video: &VideoStream{Codec: "h264", Width: 320, Height: 180, Rate: Rational{tt.rate, 1}}}
		if !tt.silent {
			p.Audio = &AudioStream{Codec: "aac", Channels: 2}
		}
		plan, err := NewPlan(Request{Source: "a.mp4", Output: tt.output}, p, 1)
		if err != nil {
			t.Fatal(err)
		}
		sound := 0.0
		if plan.Audio != nil {
			sound = plan.Audio.Seconds
		}
		longer := plan.Grid.Seconds(plan.Grid.Frames) > tt.seconds+0.001
		if plan.Grid != tt.want || sound != tt.sound || strings.Contains(plan.Note, "stands still until 0.4 s") != longer {
			t.Errorf("%.2f s at %d frames/s, %+v: %+v, %.2f s of sound, note %q; want %+v, %.2f s", tt.seconds, tt.rate, tt.output, plan.Grid, sound, plan.Note, tt.want, tt.sound)
		}
	}
}

// No unit has so few frames that its encoder does not delay them.
func TestUnitsHaveFramesEnough(t *testing.T) {
	for segment := 1; segment <= 40; segment++ {
		for frames := 4; frames < 300; frames++ {
			g := Grid{Rate: Rational{1, 1}, SegmentFrames: segment, Frames: frames}
			most, least := chunkSegments(g, [][]Rendition{{{Width: 320, Height: 180}}}, 1)
			for _, cuts := range [][]int{cut(g.Segments(), most, least, 1), cutBegin(cut(g.Segments(), most, least, 5), g.fewestSegments())} {
				for i, end := range cuts[1:] {
					first, _ := g.Segment(cuts[i])
					if _, last := g.Segment(end - 1); last-first < reordered {
						t.Fatalf("%+v: units begin with the segments %v, one has %d frames; want %d at least", g, cuts, last-first, reordered)
					}
				}
			}
		}
	}
}

func TestGridPTS(t *testing.T) {
	g := Grid{Rate: Rational{24000, 1001}}
	for frame, want := range map[int]int64{0: 900000, 1: 903754, 96: 1260360, 24000: 900000 + 1001*90000} {
		if got := g.PTS(frame); got != want {
			t.Errorf("PTS(%d) = %d; want %d", frame, got, want)
		}
	}
}

func TestNewPlan(t *testing.T) {
	film := source(320, 180, Rational{24000, 1001}, 150)
	film.Start, film.Video.MaxGOPSeconds, film.Video.MaxGapSeconds = 1.445, 10, 0.05
	film.Video.Interlaced = true
	mute := source(160, 90, Rational{30, 1}, 4.9)
	mute.Audio = nil
	stills := source(160, 90, Rational{30, 1}, 100)
	stills.Video.MaxGapSeconds, stills.Audio.Channels = 40, 6
	tests := []struct {
		name    string
		request Request
		probe   Probe
		want    string
	}{
		{"film", Request{Source: "in/film.ts"}, film, `24000/1001 96 3596 audio 2ch 96000 150
audio 4.004 start 1.445
v-0000 0-480 seek 0.000 start 1.445 with 90p deinterlaced
v-0001 480-960 seek 9.020 start 1.445 with 90p deinterlaced
v-0002 960-1344 seek 29.040 start 1.445 with 90p deinterlaced
v-0003 1344-1632 seek 45.056 start 1.445 with 90p deinterlaced
v-0004 1632-1920 seek 57.068 start 1.445 with 90p deinterlaced
v-0005 1920-2208 seek 69.080 start 1.445 with 90p deinterlaced
v-0006 2208-2496 seek 81.092 start 1.445 with 90p deinterlaced
v-0007 2496-2784 seek 93.104 start 1.445 with 90p deinterlaced
v-0008 2784-3072 seek 105.116 start 1.445 with 90p deinterlaced
v-0009 3072-3360 seek 117.128 start 1.445 with 90p deinterlaced
v-0010 3360-3596 seek 129.140 start 1.445 with 90p deinterlaced
`},
		{"short and mute", Request{}, mute, "30/1 120 147 mute\nv-90p-0000 0-147 seek 0.000 start 0.000\n"},
		{"long segments", Request{SegmentSeconds: 20}, mute, "30/1 600 147 mute\nv-90p-0000 0-147 seek 0.000 start 0.000\n"},
		{"still pictures", Request{SegmentSeconds: 10}, stills, `30/1 300 3000 audio 2ch 96000 100
audio 10.000 start 0.000
audio-6ch 10.000 start 0.000
v-90p-0000 0-1500 seek 0.000 start 0.000
v-90p-0001 1500-3000 seek 9.000 start 0.000
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan, err := NewPlan(tt.request, tt.probe, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := planText(t, tt.request, plan); got != tt.want {
				t.Errorf("NewPlan =\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// planText writes a plan down in short, and checks what all units must have.
func planText(t *testing.T, r Request, p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %d %d ", p.Grid.Rate, p.Grid.SegmentFrames, p.Grid.Frames)
	if a := p.Audio; a != nil {
		fmt.Fprintf(&b, "audio %dch %d %.0f\n", a.Channels, a.BitrateBPS, a.Seconds)
	} else {
		fmt.Fprintln(&b, "mute")
	}
	for _, u := range p.Units {
		if u.Source != r.Source {
			t.Errorf("unit %s reads %q; want %q", u.ID, u.Source, r.Source)
		}
		if a := u.Audio; a != nil {
			fmt.Fprintf(&b, "%s %.3f start %.3f\n", u.ID, a.SegmentSeconds, a.SourceStart)
			continue
		}
		v := u.Video
		fmt.Fprintf(&b, "%s %d-%d seek %.3f start %.3f", u.ID, v.FirstFrame, v.EndFrame, v.SeekSeconds, v.SourceStart)
		for _, r := range v.Others {
			fmt.Fprintf(&b, " with %s", r.Name)
		}
		if v.Deinterlaced {
			b.WriteString(" deinterlaced")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestNewPlanRefuses(t *testing.T) {
	change := func(f func(*Probe)) Probe {
		p := source(320, 180, Rational{30, 1}, 60)
		f(&p)
		return p
	}
	tests := []struct {
		name    string
		seconds float64
		probe   Probe
		want    string
	}{
		{"no video", 0, Probe{}, `planning "a.mp4": it has neither video nor sound`},
		{"no length", 0, change(func(p *Probe) { p.Seconds, p.Video.EndSeconds = 0, 0 }), `planning "a.mp4": its video is 0.0 s long; want more than 0 and at most 86400`},
		{"endless", 0, change(func(p *Probe) { p.Video.EndSeconds = 1e5 }), `planning "a.mp4": its video is 100000.0 s long; want more than 0 and at most 86400`},
		{"not a length", 0, change(func(p *Probe) { p.Seconds, p.Video.EndSeconds = math.NaN(), 0 }), `planning "a.mp4": its video is NaN s long; want more than 0 and at most 86400`},
		{"silent audio", 0, change(func(p *Probe) { p.Seconds, p.Audio.EndSeconds = 0, 0 }), `planning "a.mp4": its audio is 0.0 s long; want more than 0 and at most 86400`},
		{"huge", 0, change(func(p *Probe) { p.Video.Width = 1 << 20 }), `planning "a.mp4": its picture is 1048576x180; want 16 to 8192 on each side`},
		{"flat", 0, change(func(p *Probe) { p.Video.Height = 1 }), `planning "a.mp4": its picture is 320x1; want 16 to 8192 on each side`},
		{"no rate", 0, change(func(p *Probe) { p.Video.Rate = Rational{0, 0} }), `planning "a.mp4": its frame rate is 0/0; want more than 0 and at most 1000`},
		{"lost in time", 0, change(func(p *Probe) { p.Start = -1e9 }), `planning "a.mp4": its first time stamp is -1e+09 s; want 1e+06 at most`},
		{"short segments", 0.1, change(func(*Probe) {}), `planning "a.mp4": segments of 0.1 s; want 0.5 to 30, or 0 for the default`},
		{"long segments", 60, change(func(*Probe) {}), `planning "a.mp4": segments of 60 s; want 0.5 to 30, or 0 for the default`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewPlan(Request{Source: "a.mp4", SegmentSeconds: tt.seconds}, tt.probe, 0)
			if err == nil || err.Error() != tt.want {
				t.Errorf("NewPlan = %v\n want %s", err, tt.want)
			}
		})
	}
}

// Whatever can be planned covers every frame once, in units of bounded length.
func FuzzNewPlan(f *testing.F) {
	f.Add(60.0, 30, 1, 4.0, 1.0, 2.0, 3)
	f.Add(86400.0, 60000, 1001, 1.0, 0.0, 0.0, 200)
	f.Add(0.01, 24000, 1001, 20.0, 1e9, -5.0, 0)
	f.Fuzz(func(t *testing.T, seconds float64, num, den int, segment, gop, start float64, workers int) {
		p := source(320, 180, Rational{num, den}, seconds)
		p.Start, p.Video.MaxGOPSeconds = start, gop
		plan, err := NewPlan(Request{SegmentSeconds: segment}, p, workers)
		if err != nil {
			return
		}
		next := make(map[string]int)
		for _, u := range plan.Units {
			if u.Video == nil {
				continue
			}
			v := u.Video
			if v.FirstFrame != next[v.Rendition.Name] || v.EndFrame <= v.FirstFrame || v.FirstFrame%v.Grid.SegmentFrames != 0 {
				t.Errorf("unit %s has frames [%d,%d) after %d", u.ID, v.FirstFrame, v.EndFrame, next[v.Rendition.Name])
			}
			if length := v.Grid.Seconds(v.EndFrame - v.FirstFrame); length > maxChunkSeconds+maxSegmentSeconds {
				t.Errorf("unit %s lasts %v s", u.ID, length)
			}
			if at := v.Grid.Seconds(v.FirstFrame); v.SeekSeconds < 0 || v.FirstFrame > 0 && v.SeekSeconds > max(at-minPreroll, 0) {
				t.Errorf("unit %s at %v s is read from %v s", u.ID, at, v.SeekSeconds)
			}
			for _, r := range append([]Rendition{v.Rendition}, v.Others...) {
				next[r.Name] = v.EndFrame
			}
		}
		for _, r := range plan.Renditions {
			if next[r.Name] != plan.Grid.Frames {
				t.Errorf("units of %s end at frame %d; want %d", r.Name, next[r.Name], plan.Grid.Frames)
			}
		}
	})
}

// Units become shorter towards the end, none is longer than allowed, and with
// many workers already the first is shorter than with few.
func TestCut(t *testing.T) {
	tests := map[string]struct {
		segments, most, least, workers int
		want                           []int
	}{
		"two workers":                   {60, 6, 2, 2, []int{0, 6, 12, 18, 24, 30, 36, 42, 47, 51, 54, 56, 58, 60}},
		"many for the length":           {60, 6, 2, 16, []int{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60}},
		"a remainder is not on its own": {7, 6, 2, 1, []int{0, 4, 7}},
	}
	for name, test := range tests {
		if got := cut(test.segments, test.most, test.least, test.workers); !slices.Equal(got, test.want) {
			t.Errorf("%s: cut = %v; want %v", name, got, test.want)
		}
	}
	if few, many := cut(1800, 6, 2, 15), cut(1800, 20, 2, 64); few[1] != 6 || many[1] != 10 {
		t.Errorf("first units of a film: %d and %d segments; want 6 and 10", few[1], many[1])
	}
}

// What is asked of a picture does not matter to a source that has none.
func TestPlanOfSound(t *testing.T) {
	t.Parallel()
	p := Probe{Format: "mp3", Seconds: 5, Audio: &AudioStream{Codec: "mp3", Channels: 2, SampleRate: 44100, EndSeconds: 5}, Cover: 1}
	for _, o := range []Output{
		{}, {Rungs: []Rung{{Lines: 720}}}, {Options: []string{"-vf", "hflip"}}, {Codec: CodecAV1, MoreCodecs: []Codec{CodecH264}}, {Ladder: PresetAuthor},
	} {
		plan, err := NewPlan(Request{Source: "a.mp3", Output: o}, p, 0)
		if err != nil || len(plan.Units) != 2 || plan.Units[0].Audio == nil || plan.Units[1].Cover == nil {
			t.Errorf("%+v: plan %+v, %v; want a unit of sound and one of the cover", o, plan, err)
		}
	}
}

// A reader with an index goes back to a key frame by itself, and need not go further.
func TestPreroll(t *testing.T) {
	film := source(320, 180, Rational{25, 1}, 150)
	film.Video.MaxGOPSeconds, film.Video.MaxGapSeconds = 10, 0.5
	for format, want := range map[string]float64{"mov,mp4,m4a,3gp,3g2,mj2": 1.5, "matroska,webm": 1.5, "mpegts": 11, "avi": 11} {
		film.Format = format
		if got := film.PrerollSeconds(); got != want {
			t.Errorf("a unit of %s reads from %v s before its first frame; want %v", format, got, want)
		}
	}
	film.Format, film.Damaged = "matroska,webm", true
	if got := film.PrerollSeconds(); got != 11 {
		t.Errorf("a unit of a damaged source reads from %v s before; want 11", got)
	}
	film.Damaged, film.Spans = false, []Span{{}, {At: 75}}
	if got := film.PrerollSeconds(); got != 11 {
		t.Errorf("a unit of a source in two spans reads from %v s before; want 11", got)
	}
}
