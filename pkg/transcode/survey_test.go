package transcode

import (
	"fmt"
	"math"
	"testing"
)

// surveyedUnits returns units of 10 s with two renditions, and what surveys say of them:
// how many bits each unit needs at a step of 1, in kb/s.
func surveyedUnits(needs ...float64) ([]Unit, map[string]Result) {
	grid := Grid{Rate: Rational{25, 1}, SegmentFrames: 50, Frames: 250 * len(needs)}
	var units []Unit
	results := map[string]Result{}
	for i, kbps := range needs {
		video := VideoUnit{
			Rendition: Rendition{Name: "a", BitrateBPS: 1_000_000, MaxrateBPS: 2_000_000, TwoPass: true},
			Others:    []Rendition{{Name: "b", BitrateBPS: 300_000, MaxrateBPS: 600_000, TwoPass: true}},
			Grid:      grid, FirstFrame: 250 * i, EndFrame: 250 * (i + 1),
		}
		units = append(units, Unit{ID: fmt.Sprintf("v-%04d", i), Kind: KindVideo, Video: &video})
		half := Survey{Texture: kbps * 5000, Motion: kbps * 100, Rest: kbps * 10}
		results[fmt.Sprintf("s-%04d", i)] = Result{
			Survey: &Survey{Texture: kbps * 10_000, Motion: kbps * 100, Rest: kbps * 10}, Others: []Result{{Survey: &half}},
		}
	}
	return units, results
}

// Units share the bits of the film by what they need, within the limit of each rendition.
func TestBudget(t *testing.T) {
	for _, tt := range []struct {
		name  string
		needs []float64
		want  []int // kb/s of the first rendition
	}{
		{"all alike", []float64{5000, 5000, 5000}, []int{1000, 1000, 1000}},
		{"one needs half", []float64{5000, 2500, 5000}, []int{1200, 600, 1200}},
		{"one needs too much", []float64{100, 100, 100_000}, []int{500, 500, 2000}},
		{"one needs nothing", []float64{0, 3000, 3000}, []int{4, 1498, 1498}},
		{"nothing is known", []float64{0, 0}, []int{4, 4}},
	} {
		units, results := surveyedUnits(tt.needs...)
		for i, u := range Budget(units, results) {
			if got := u.Video.Rendition.BudgetBPS / 1000; math.Abs(float64(got-tt.want[i])) > 1 {
				t.Errorf("%s: unit %d has %d kb/s; want %d", tt.name, i, got, tt.want[i])
			}
			if other := u.Video.Others[0].BudgetBPS; tt.name == "all alike" && math.Abs(float64(other-300_000)) > 1000 {
				t.Errorf("%s: unit %d has %d b/s of the other rendition; want 300000", tt.name, i, other)
			}
		}
	}
}

// A unit that encoders refuse a bitrate has the quality of the film: of twice the step, that of
// six quantizers more. None is better than that of the survey.
func TestBudgetQuality(t *testing.T) {
	for _, tt := range []struct {
		step, of float64
		want     int
	}{{8, 8, surveyCRF}, {16, 8, surveyCRF + 6}, {4, 8, surveyCRF}, {1e9, 8, maxCRF}, {8, 0, 0}} {
		if got := (Survey{Step: tt.of, CRF: surveyCRF}).crf(tt.step); got != tt.want {
			t.Errorf("a step of %g, where the survey has %g: CRF %d; want %d", tt.step, tt.of, got, tt.want)
		}
	}
	units, results := surveyedUnits(1000, 3000)
	for _, r := range results {
		r.Survey.Step, r.Survey.CRF = 10, surveyCRF
	}
	budgets := Budget(units, results)
	if a, b := budgets[0].Video.Rendition.BudgetCRF, budgets[1].Video.Rendition.BudgetCRF; a == 0 || a != b {
		t.Errorf("units have CRF %d and %d; want the same", a, b)
	}
}

// A first pass has about the quality that the bitrate makes.
func TestSurveyCRF(t *testing.T) {
	for _, tt := range []struct{ width, height, bps, want int }{
		{320, 180, 250_000, 28}, {320, 180, 500_000, 22}, {320, 180, 20_000_000, 16}, {1920, 1080, 5_000_000, 28}, {1920, 1080, 15_000_000, 24}, {0, 0, 0, 28},
	} {
		r := Rendition{Width: tt.width, Height: tt.height, BitrateBPS: tt.bps}
		if got := r.SurveyCRF(Rational{25, 1}); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

// A unit in which next to nothing happens is encoded once, all renditions of it by quality.
func TestEasyUnits(t *testing.T) {
	units, results := surveyedUnits(10, 3000)
	for id, r := range results {
		r.Survey.Step, r.Survey.CRF, r.Others[0].Survey.Step, r.Others[0].Survey.CRF = 10, surveyCRF, 10, surveyCRF
		results[id] = r
	}
	units = Budget(units, results)
	if !units[0].Video.Easy() || units[1].Video.Easy() {
		t.Errorf("easy: %t, %t; want the first only", units[0].Video.Easy(), units[1].Video.Easy())
	}
	one := units[0].Video.OnePass()
	if one.Rendition.CRF != one.Rendition.BudgetCRF || one.Others[0].CRF != one.Others[0].BudgetCRF || units[0].Video.Others[0].CRF != 0 {
		t.Errorf("in one pass: %+v, of %+v; want qualities in the copy only", one, units[0].Video)
	}
	units[0].Video.Others[0].Constant = true
	if units[0].Video.Easy() {
		t.Error("a constant bitrate is easy; want its bits")
	}
}

// A film of one unit needs no survey, and what is not encoded in two passes neither.
func TestAddSurveys(t *testing.T) {
	units, _ := surveyedUnits(1, 2, 3)
	audio := Unit{ID: "audio", Kind: KindAudio, Audio: &AudioUnit{}}
	got := AddSurveys(append([]Unit{audio}, units...))
	if len(got) != 7 || got[0].ID != "audio" || got[1].ID != "s-0000" || got[3].Kind != KindSurvey || got[4].ID != "v-0000" || !got[4].Surveyed || got[1].Surveyed {
		t.Errorf("AddSurveys = %+v", got)
	}
	one, _ := surveyedUnits(1)
	if got := AddSurveys(one); len(got) != 1 || got[0].Surveyed {
		t.Errorf("one unit: %+v", got)
	}
	units, _ = surveyedUnits(1, 2)
	units[0].Video.Rendition.TwoPass = false
	if got := AddSurveys(units); len(got) != 2 {
		t.Errorf("one pass: %d units; want 2", len(got))
	}
}

func TestCheckSurvey(t *testing.T) {
	units, results := surveyedUnits(1, 2)
	u, good := units[0], results["s-0000"]
	u.Kind = KindSurvey
	if err := Check(u, good); err != nil {
		t.Error(err)
	}
	for name, r := range map[string]Result{
		"none":          {},
		"one too few":   {Survey: good.Survey},
		"not a number":  {Survey: &Survey{Texture: math.NaN()}, Others: good.Others},
		"less than 0":   {Survey: &Survey{Rest: -1}, Others: good.Others},
		"with segments": {Survey: good.Survey, Others: good.Others, Segments: []Segment{{Name: "a"}}},
	} {
		if err := Check(u, r); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
