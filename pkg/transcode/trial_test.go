package transcode

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// madeUp is a video of which each size needs so many bits: double the bits are six points
// more, up to what the size can show at best.
type madeUp struct {
	bpsAtCRF20 map[int]float64 // by height
	quality    map[int]float64 // at CRF 20
	slope      map[int]float64 // points of quality for each step of CRF
}

// try returns what the trials of a plan show of it.
func (m madeUp) try(t *testing.T, plan Plan) []TriedRendition {
	t.Helper()
	var all []TriedRendition
	for _, u := range plan.Units {
		if u.Kind != KindTrial {
			t.Fatalf("unit %s is of kind %s; want trials alone", u.ID, u.Kind)
		}
		r := Result{Trial: &Trial{}}
		r.Others = make([]Result, len(u.Video.Others))
		for i, p := range Pieces(u, r) {
			v := p.Unit.Video
			bps := m.bpsAtCRF20[v.Rendition.Height] * math.Exp2(float64(20-v.Rendition.CRF)/6)
			quality := m.quality[v.Rendition.Height] - m.slope[v.Rendition.Height]*float64(v.Rendition.CRF-20)
			keys := u.TriedPieces(i)
			n := keys * (v.EndFrame - v.FirstFrame)
			perFrame := bps / 8 / v.Grid.Rate.Float()
			trial := Trial{Frames: n, Keys: keys, KeyBytes: int64(perFrame*float64(keys)) + 1, RestBytes: int64(perFrame * float64(n-keys)), SSIM: 1 - math.Pow(10, -quality/50)}
			if i == 0 {
				r.Trial = &trial
			} else {
				r.Others[i-1].Trial = &trial
			}
		}
		if err := Check(u, r); err != nil {
			t.Error(err)
		}
		all = append(all, TriedRenditions(u, r)...)
	}
	return all
}

var plainFilm = Probe{Format: "matroska", Seconds: 600, Video: &VideoStream{
	Codec: "h264", Width: 1280, Height: 720, Rate: Rational{25, 1}, PixelFormat: "yuv420p", MaxGOPSeconds: 2, EndSeconds: 600, BitrateBPS: 8_000_000,
}}

// The renditions of a video follow from its trials: what is easy gets few bits, and each of the
// others the size in which it looks best.
func TestQualityPlan(t *testing.T) {
	sizes := func(top, slope float64) madeUp {
		m := madeUp{map[int]float64{}, map[int]float64{}, map[int]float64{}}
		for _, lines := range []int{720, 540, 432, 360, 234} {
			share := float64(lines) / 720
			m.bpsAtCRF20[lines], m.quality[lines], m.slope[lines] = 4e6*math.Pow(share, 1.5), top-60*(1-share), slope*share
		}
		return m
	}
	cheap := sizes(95.02, 3)
	for lines := range cheap.bpsAtCRF20 {
		cheap.bpsAtCRF20[lines] /= 10
	}
	for _, tt := range []struct {
		name    string
		of      madeUp
		request Output
		want    string // sizes and CRF
		top     int    // kb/s
	}{
		{"as hard as usual", sizes(95.02, 3), Output{Quality: 80}, "720p@24.6 540p@26.9 432p@30 234p-290000@28.1 234p-145000@34.1 ", 2351},
		{"easy", cheap, Output{Quality: 80}, "720p@24.6 ", 235},
		{"a file", sizes(95.02, 3), Output{Quality: 80, Format: FormatMP4}, "720p@24.6 ", 2351},
		{"sizes to choose from", sizes(95.02, 3), Output{Quality: 70, Rungs: []Rung{{Lines: 540}, {Lines: 234}}}, "540p-1636000@24 540p-818000@30 234p", 1636},
		{"more than can be had", sizes(60, 3), Output{Quality: 99}, "720p-8979000@13 ", 8979},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Request{Source: "a.mkv", Name: "a", Output: tt.request}
			plan, err := NewPlan(r, plainFilm, 4)
			if err != nil {
				t.Fatal(err)
			}
			if frames := triedFrames(plan); frames > 600*25/20 || len(plan.Renditions) > 0 {
				t.Errorf("%d frames are tried of %d renditions; want a twentieth at most, and no renditions", frames, len(plan.Renditions))
			}
			plan, err = Division{Workers: 4, Tried: tt.of.try(t, plan)}.Plan(r, plainFilm)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for i, rung := range plan.Renditions {
				got += fmt.Sprintf("%s@%g ", rung.Name, rung.ExactCRF)
				if i > 0 && rung.BitrateBPS > plan.Renditions[i-1].BitrateBPS*52/100 || rung.MaxrateBPS < 2*rung.BitrateBPS {
					t.Errorf("rung %+v after one of %d b/s; want half of it, with a bound of double", rung, plan.Renditions[max(i-1, 0)].BitrateBPS)
				}
			}
			if rung := plan.Renditions[0]; !strings.HasPrefix(got, tt.want) || math.Abs(float64(rung.BitrateBPS/1000-tt.top)) > 0.02*float64(tt.top) {
				t.Errorf("rungs are %s, the first has %d kb/s; want %s with %d", got, rung.BitrateBPS/1000, tt.want, tt.top)
			}
			if tt.request.IsFile() != (len(plan.Renditions) == 1) && tt.name != "easy" {
				t.Errorf("%d renditions; want one for a file alone", len(plan.Renditions))
			}
			if slices.ContainsFunc(plan.Units, func(u Unit) bool { return u.Kind == KindTrial }) {
				t.Error("the plan has trials again")
			}
		})
	}
}

func triedFrames(p Plan) int {
	n := 0
	for _, u := range p.Units {
		n += u.Frames()
	}
	return n
}

// Pieces are tried all over a video, of any length, and each codec has trials of its own.
func TestTrials(t *testing.T) {
	for _, tt := range []struct {
		seconds float64
		output  Output
		want    int
	}{
		{0.2, Output{Quality: 80}, 1}, {5, Output{Quality: 80}, 1}, {60, Output{Quality: 80}, 1}, {300, Output{Quality: 80}, 3}, {7200, Output{Quality: 80}, maxPieces / unitPieces},
		{300, Output{Quality: 80, Codec: CodecAV1, MoreCodecs: []Codec{CodecH264}}, 6},
	} {
		p, v := plainFilm, *plainFilm.Video
		p.Video, p.Seconds, v.EndSeconds = &v, tt.seconds, tt.seconds
		plan, err := NewPlan(Request{Source: "a.mkv", Name: "a", Output: tt.output}, p, 4)
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.Units) != tt.want {
			t.Errorf("%g s: %d trials; want %d", tt.seconds, len(plan.Units), tt.want)
		}
		ids := map[string]bool{}
		for _, u := range plan.Units {
			ids[u.ID] = true
			for _, v := range u.videos() {
				if v.EndFrame > plan.Grid.Frames || v.EndFrame <= v.FirstFrame || v.FirstFrame%v.Grid.SegmentFrames != 0 {
					t.Errorf("%g s: %s tries frames %d to %d of %d", tt.seconds, u.ID, v.FirstFrame, v.EndFrame, plan.Grid.Frames)
				}
			}
		}
		if len(ids) != len(plan.Units) {
			t.Errorf("%g s: trials share their names: %v", tt.seconds, ids)
		}
	}
}

// A quality excludes what says the bitrates, and trials of another worker's making are refused.
func TestCheckQuality(t *testing.T) {
	for _, tt := range []struct {
		output Output
		want   string
	}{
		{Output{Quality: 80}, ""},
		{Output{Quality: 80, Rungs: []Rung{{Lines: 360}}, Codec: CodecAV1, MoreCodecs: []Codec{CodecH265}, Progressive: true}, ""},
		{Output{Quality: 80, Options: []string{"-tune", "film"}}, ""},
		{Output{Quality: 101}, "quality 101; want 1 to 100, or 0 for the usual bitrates"},
		{Output{Quality: -1}, "quality -1; want 1 to 100, or 0 for the usual bitrates"},
		{Output{Quality: 80, CRF: 20}, "a quality beside a CRF, a constant bitrate or two passes; want one of them"},
		{Output{Quality: 80, TwoPass: true}, "a quality beside a CRF, a constant bitrate or two passes; want one of them"},
		{Output{Quality: 80, Constant: true}, "a quality beside a CRF, a constant bitrate or two passes; want one of them"},
		{Output{Quality: 80, Ladder: PresetAuthor}, "a quality beside the ladder author, which has bitrates; want one of them"},
		{Output{Quality: 80, Rungs: []Rung{{Lines: 360, BitrateBPS: 1e6}}}, "a quality beside rungs with a bitrate or a shape; want rungs of lines alone, e.g. 720, among which it chooses"},
		{Output{Quality: 80, Encoder: "h264_v4l2m2m"}, "a quality by h264_v4l2m2m; want one of libx264, libx265 and libsvtav1"},
		{Output{Quality: 80, Format: FormatMP4, Options: []string{"-c:v", "copy"}}, "ffmpeg options beside a quality; want one or the other"},
	} {
		err := tt.output.check()
		if got := fmt.Sprint(err); err == nil && tt.want != "" || err != nil && got != tt.want {
			t.Errorf("%+v: %v; want %q", tt.output, err, tt.want)
		}
	}
	unit := Unit{ID: "t", Kind: KindTrial, Video: &VideoUnit{EndFrame: 25}}
	good := Trial{Frames: 25, Keys: 1, KeyBytes: 1000, SSIM: 0.9}
	if err := Check(unit, Result{Trial: &good}); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Trial){
		func(t *Trial) { t.Frames = 24 }, func(t *Trial) { t.Keys = 2 }, func(t *Trial) { t.KeyBytes = 0 }, func(t *Trial) { t.RestBytes = -1 },
		func(t *Trial) { t.SSIM = math.NaN() }, func(t *Trial) { t.SSIM = 1.1 }, func(t *Trial) { t.RestBytes = math.MaxInt64 },
		func(t *Trial) { t.Pieces = make([]TriedPiece, 2) }, func(t *Trial) { t.Pieces = []TriedPiece{{SSIM: math.NaN()}} },
		func(t *Trial) { t.Pieces = []TriedPiece{{NearSSIM: 2}} }, func(t *Trial) { t.Pieces = []TriedPiece{{KeyBytes: -1}} },
	} {
		bad := good
		change(&bad)
		if Check(unit, Result{Trial: &bad}) == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if Check(unit, Result{}) == nil || Check(unit, Result{Trial: &good, Others: []Result{{Trial: &good}}}) == nil {
		t.Error("a trial without its numbers, or of more renditions, is accepted")
	}
}
