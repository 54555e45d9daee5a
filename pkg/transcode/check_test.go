package transcode

import (
	"math"
	"strings"
	"testing"
	"time"
)

var testSum = strings.Repeat("ab", 32)

// goodResult returns the result that u asks for, with segments of this size.
func goodResult(u Unit, sizeBytes int64) Result {
	if u.Audio != nil {
		return goodAudio(*u.Audio, sizeBytes)
	}
	r := Result{Encoder: "libx264", Codecs: "avc1.4d400d", FPS: 12, Took: time.Minute}
	first, end := u.Video.Segments()
	g := u.Video.Grid
	for i := first; i < end; i++ {
		from, to := g.Segment(i)
		r.Segments = append(r.Segments, Segment{
			Name: u.Container().SegmentName(i), SizeBytes: sizeBytes, SHA256: testSum, Frames: to - from,
			FirstPTS: g.PTS(from), LastPTS: g.PTS(to - 1), Key: true, Seconds: g.Seconds(to - from),
		})
	}
	return r
}

func goodAudio(a AudioUnit, sizeBytes int64) Result {
	r := Result{Encoder: "aac", Codecs: AudioCodecs}
	left := int(math.Ceil(a.Rendition.Seconds*AudioSampleRate/AudioFrameSamples)) + 1 // one of priming
	per := int(a.SegmentSeconds * AudioSampleRate / AudioFrameSamples)
	pts := int64(StartPTS - AudioRendition{}.ticks(1))
	for ; left > 0; left -= per {
		n := min(left, per)
		r.Segments = append(r.Segments, Segment{
			Name: a.Container.SegmentName(len(r.Segments)), SizeBytes: sizeBytes, SHA256: testSum, Frames: n,
			FirstPTS: pts, LastPTS: pts + int64(n-1)*AudioRendition{}.ticks(1), Key: true, Seconds: AudioSeconds(n),
		})
		pts += int64(n) * AudioRendition{}.ticks(1)
	}
	return r
}

// testPlan is of 65 s of film: two units for each of two renditions, and audio.
func testPlan(t testing.TB) Plan {
	t.Helper()
	return halved(t, Request{}, source(320, 180, Rational{24000, 1001}, 65))
}

// halved is a plan of two units for each rendition, and audio, if it can be cut.
func halved(t testing.TB, r Request, probe Probe) Plan {
	t.Helper()
	p, err := NewPlan(r, probe, 0)
	if err != nil {
		t.Fatal(err)
	}
	if p.Note != "" {
		return p // it cannot be cut
	}
	o, err := ParseOptions(r.Format, r.Options)
	if err != nil {
		t.Fatal(err)
	}
	var units []Unit
	segments := p.Grid.Segments()
	for _, rendition := range p.Renditions {
		units = append(units, videoUnits(r, probe, p.Grid, [][]Rendition{{rendition}}, o, []int{0, segments / 2, segments})...)
	}
	p.Units = append(units, unit(t, p, AudioName))
	return p
}

func unit(t testing.TB, p Plan, id string) Unit {
	t.Helper()
	for _, u := range p.Units {
		if u.ID == id {
			return u
		}
	}
	t.Fatalf("no unit %s in %v", id, p.Units)
	return Unit{}
}

func TestCheckAccepts(t *testing.T) {
	p := testPlan(t)
	for _, u := range p.Units {
		r := goodResult(u, 1000)
		if err := Check(u, r); err != nil {
			t.Error(err)
		}
		for i := range r.Segments { // a muxer may round the other way
			r.Segments[i].FirstPTS++
			r.Segments[i].LastPTS++
		}
		if err := Check(u, r); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	p := testPlan(t)
	tests := []struct {
		name, unit string
		spoil      func(*Result)
		want       string
	}{
		{"nothing", "v-180p-0001", func(r *Result) { *r = Result{} }, `codec ""; want avc1.PPCCLL`},
		{"one segment less", "v-180p-0001", func(r *Result) { r.Segments = r.Segments[1:] }, "7 segments; want 8"},
		{"a segment too many", "v-180p-0001", func(r *Result) { r.Segments = append(r.Segments, r.Segments[0]) }, "9 segments; want 8"},
		{"another's name", "v-180p-0001", func(r *Result) { r.Segments[0].Name = "00000.ts" }, `segment named "00000.ts"; want 00008.ts`},
		{"a way out", "v-180p-0001", func(r *Result) { r.Segments[1].Name = "../../00009.ts" }, `segment named "../../00009.ts"; want 00009.ts`},
		{"empty file", "v-180p-0000", func(r *Result) { r.Segments[0].SizeBytes = 0 }, "00000.ts: 0 bytes; want 1 to 1073741824"},
		{"negative size", "v-180p-0000", func(r *Result) { r.Segments[0].SizeBytes = -1 }, "00000.ts: -1 bytes; want 1 to 1073741824"},
		{"no hash", "v-180p-0000", func(r *Result) { r.Segments[0].SHA256 = "x" }, `00000.ts: "x" is not a SHA-256; want 64 hex digits`},
		{"frame lost", "v-180p-0001", func(r *Result) { r.Segments[2].Frames-- }, "00010.ts: 95 frames; want 96"},
		{"frame early", "v-180p-0001", func(r *Result) { r.Segments[2].FirstPTS -= 3754 }, "00010.ts: frames from 4499846 to 4860206 (90 kHz); want 4503600 to 4860206"},
		{"frame late", "v-180p-0001", func(r *Result) { r.Segments[2].LastPTS += 3754 }, "00010.ts: frames from 4503600 to 4863960 (90 kHz); want 4503600 to 4860206"},
		{"far away", "v-180p-0001", func(r *Result) { r.Segments[2].FirstPTS = math.MinInt64 }, "00010.ts: frames from -9223372036854775808 to 4860206 (90 kHz); want 4503600 to 4860206"},
		{"no key", "v-180p-0001", func(r *Result) { r.Segments[7].Key = false }, "00015.ts: it does not begin with a key frame"},
		{"length", "v-180p-0001", func(r *Result) { r.Segments[0].Seconds = math.NaN() }, "00008.ts: NaN s; want 4.004"},
		{"codec", "v-180p-0001", func(r *Result) { r.Codecs = "avc1.4d400d\n#EXT" }, `codec "avc1.4d400d\n#EXT"; want avc1.PPCCLL`},
		{"encoder", "v-180p-0001", func(r *Result) { r.Encoder = strings.Repeat("x", 1000) }, "12 frames/s in 1m0s by \"" + strings.Repeat("x", 50) + "\"; want plausible numbers and a short name"},
		{"rate", "v-180p-0001", func(r *Result) { r.FPS = math.Inf(1) }, `+Inf frames/s in 1m0s by "libx264"; want plausible numbers and a short name`},
		{"no audio", "audio", func(r *Result) { r.Segments = nil }, "0 segments; want 1 to 18"},
		{"audio in crumbs", "audio", func(r *Result) { r.Segments = make([]Segment, 100) }, "100 segments; want 1 to 18"},
		{"audio too short", "audio", func(r *Result) { r.Segments = r.Segments[:16] }, "63.829 s of audio; want 65.000"},
		{"audio gap", "audio", func(r *Result) { r.Segments[1].FirstPTS += 1920; r.Segments[1].LastPTS += 1920 }, "00001.ts: frames from 1259040 to 1616160 (90 kHz); want 1257120 to 1616160"},
		{"audio frame lost", "audio", func(r *Result) { r.Segments[1].Frames--; r.Segments[1].Seconds -= 1024. / 48000 }, "00001.ts: frames from 1257120 to 1614240 (90 kHz); want 1257120 to 1612320"},
		{"late audio", "audio", func(r *Result) {
			for i := range r.Segments {
				r.Segments[i].FirstPTS += 9000
				r.Segments[i].LastPTS += 9000
			}
		}, "audio begins 0.079 s after the video's grid; want within 0.05"},
		{"audio codec", "audio", func(r *Result) { r.Codecs = "mp4a.40.5" }, `codec "mp4a.40.5"; want mp4a.40.2`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := unit(t, p, tt.unit)
			r := goodResult(u, 1000)
			tt.spoil(&r)
			want := "result of " + tt.unit + ": " + tt.want
			if err := Check(u, r); err == nil || err.Error() != want {
				t.Errorf("Check = %v\n want %s", err, want)
			}
		})
	}
}

func TestCheckProbe(t *testing.T) {
	u := Unit{ID: "probe", Kind: KindProbe}
	good := source(320, 180, Rational{30, 1}, 60)
	if err := Check(u, Result{Probe: &good}); err != nil {
		t.Error(err)
	}
	tests := []struct {
		name  string
		spoil func(*Probe)
	}{
		{"format", func(p *Probe) { p.Format = strings.Repeat("x", 1000) }},
		{"not UTF-8", func(p *Probe) { p.FFmpeg = "\xff" }},
		{"length", func(p *Probe) { p.Seconds = math.NaN() }},
		{"start", func(p *Probe) { p.Start = math.Inf(-1) }},
		{"size", func(p *Probe) { p.SizeBytes = -1 }},
		{"width", func(p *Probe) { p.Video.Width = -320 }},
		{"frames", func(p *Probe) { p.Video.Frames = math.MaxInt32 }},
		{"gap", func(p *Probe) { p.Video.MaxGapSeconds = math.Inf(1) }},
		{"codec", func(p *Probe) { p.Video.Codec = strings.Repeat("x", 1000) }},
		{"channels", func(p *Probe) { p.Audio.Channels = 1 << 20 }},
		{"audio end", func(p *Probe) { p.Audio.EndSeconds = -1 }},
	}
	for _, tt := range tests {
		p := source(320, 180, Rational{30, 1}, 60)
		tt.spoil(&p)
		if Check(u, Result{Probe: &p}) == nil {
			t.Errorf("%s: Check accepts %+v", tt.name, p)
		}
	}
	if Check(u, Result{}) == nil {
		t.Error("Check accepts no probe at all")
	}
	if Check(Unit{Kind: "bake"}, Result{}) == nil {
		t.Error("Check accepts a unit of unknown kind")
	}
}
