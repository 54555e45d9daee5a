package transcode

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Survey is what the first of two passes says of a unit and a rendition: how many bits
// the encoder would need at any step of its quantizer.
type Survey struct {
	Texture float64 `json:"texture"` // bits of coefficients at a step of 1
	Motion  float64 `json:"motion"`  // bits of motion vectors at a step of 1 or less
	Rest    float64 `json:"rest"`    // bits of headers, whatever the step
	// Step is the mean step of the first pass, which has the quality CRF; 0: unknown.
	Step float64 `json:"step,omitempty"`
	CRF  int     `json:"crf,omitempty"`
}

// The qualities of a first pass.
const (
	surveyCRF     = 28
	bestSurveyCRF = 16
	// surveyBits is how many bits a pixel of a usual film needs for surveyCRF.
	surveyBits = 0.17
)

// SurveyCRF returns the quality of a first pass over a unit: about what the bitrate makes of a
// usual film, so that little has to be extrapolated. What is finer than a step, such as noise,
// says nothing of what it needs at a smaller one.
func (r Rendition) SurveyCRF(rate Rational) int {
	perPixel := float64(r.BitrateBPS) / max(float64(r.Width*r.Height)*rate.Float(), 1)
	// Bits double when the step, which six of quality double, is 2^(1/1.1) times smaller.
	return int(math.Round(min(max(surveyCRF-6/1.1*math.Log2(max(perPixel, 1e-6)/surveyBits), bestSurveyCRF), surveyCRF)))
}

// crf returns the quality that makes a step, but none better than that of the survey, whose
// bits are known; 0 if that is not known.
func (s Survey) crf(step float64) int {
	if s.Step <= 0 || s.CRF <= 0 {
		return 0
	}
	return int(math.Round(min(max(float64(s.CRF)+6*math.Log2(step/s.Step), float64(s.CRF)), maxCRF)))
}

// bits returns the bits at a step, as x264 and x265 estimate them.
func (s Survey) bits(step float64) float64 {
	return s.Texture/math.Pow(step, 1.1) + s.Motion/math.Sqrt(max(step, 1)) + s.Rest
}

const maxSurvey = 1e18

func (s Survey) sane() bool {
	for _, n := range []float64{s.Texture, s.Motion, s.Rest, s.Step} {
		if !sane(n, maxSurvey) {
			return false
		}
	}
	return within(s.CRF, maxCRF)
}

func checkSurvey(v VideoUnit, r Result) error {
	if len(r.Others) != len(v.Others) {
		return fmt.Errorf("%d renditions; want %d", 1+len(r.Others), 1+len(v.Others))
	}
	for _, one := range append([]Result{r}, r.Others...) {
		s := one.Survey
		if s == nil || !s.sane() || len(one.Files()) > 0 {
			return errors.New("no survey, or its numbers are out of range")
		}
	}
	return nil
}

// AddSurveys adds a unit of a first pass for each unit of video that is encoded in two
// passes, before all of them. A film of one unit needs none.
func AddSurveys(units []Unit) []Unit {
	first := slices.IndexFunc(units, func(u Unit) bool { return u.Video != nil })
	cut := func(u Unit) bool { return u.Video != nil && u.Video.FirstFrame > 0 }
	if first < 0 || !units[first].Video.Rendition.TwoPass || !slices.ContainsFunc(units, cut) {
		return units
	}
	var surveys []Unit
	for i, u := range units {
		if u.Video == nil {
			continue
		}
		video := *u.Video
		video.Pictures = nil
		surveys = append(surveys, Unit{ID: surveyOf(u.ID), Kind: KindSurvey, Source: u.Source, Video: &video})
		units[i].Surveyed = true
	}
	return slices.Insert(units, first, surveys...)
}

// surveyOf returns the ID of the survey of a unit of video.
func surveyOf(id string) string { return "s-" + strings.TrimPrefix(id, "v-") }

// Budget returns units of video with the bitrates that follow from the surveys of all of
// them: each rendition has its bitrate over the whole film, and about the same quality
// everywhere, as after two passes over all of it. results has those of the surveys.
func Budget(units []Unit, results map[string]Result) []Unit {
	shares := map[string][]share{}
	for i, u := range units {
		units[i].Video = u.Video.clone()
		for n, r := range units[i].Video.renditions() {
			shares[r.Name] = append(shares[r.Name], share{
				rendition: r, seconds: u.Video.Grid.Seconds(u.Video.EndFrame - u.Video.FirstFrame), survey: surveyAt(results[surveyOf(u.ID)], n),
			})
		}
	}
	for _, list := range shares {
		divide(list)
	}
	return units
}

// easyShare is by how much less than the film a unit needs if next to nothing happens in it:
// whatever its quality costs matters little.
const easyShare = 20

// Easy reports whether next to nothing happens in a unit of two passes. Encoders have no aim
// then: its budget is hardly more than headers.
func (u *VideoUnit) Easy() bool {
	for _, r := range u.renditions() {
		if r.BudgetCRF == 0 || r.Constant || r.BudgetBPS > r.BitrateBPS/easyShare {
			return false
		}
	}
	return true
}

// OnePass returns u without its two passes, and of the quality of its film if that is known.
func (u VideoUnit) OnePass() VideoUnit {
	u.Pass = 0
	one := u.clone()
	for _, r := range one.renditions() {
		if r.BudgetCRF > 0 && !r.Constant {
			r.CRF = r.BudgetCRF
		}
	}
	return *one
}

// clone returns a copy of u whose renditions can be changed.
func (u VideoUnit) clone() *VideoUnit {
	u.Others = slices.Clone(u.Others)
	return &u
}

// renditions returns all renditions of u.
func (u *VideoUnit) renditions() []*Rendition {
	list := []*Rendition{&u.Rendition}
	for i := range u.Others {
		list = append(list, &u.Others[i])
	}
	return list
}

func surveyAt(r Result, n int) Survey {
	if n > 0 && n <= len(r.Others) {
		r = r.Others[n-1]
	}
	if r.Survey == nil {
		return Survey{}
	}
	return *r.Survey
}

// A share is the part of a rendition that one unit makes.
type share struct {
	rendition *Rendition
	seconds   float64
	survey    Survey
}

// bits returns how many bits the unit gets at a step of the quantizer: at most what the
// rendition's limit allows.
func (s share) bits(step float64) float64 {
	return min(max(s.survey.bits(step), minAskedBPS*s.seconds), float64(max(s.rendition.MaxrateBPS, s.rendition.BitrateBPS))*s.seconds)
}

// divide divides the bits of a rendition among its units, by the one step at which they
// need all of them.
func divide(list []share) {
	wanted := 0.0
	for _, s := range list {
		wanted += float64(s.rendition.BitrateBPS) * s.seconds
	}
	low, high := 1e-6, 1e12 // low needs too many bits, high too few
	for range 200 {
		step, bits := math.Sqrt(low*high), 0.0
		for _, s := range list {
			bits += s.bits(step)
		}
		if bits > wanted {
			low = step
		} else {
			high = step
		}
	}
	for _, s := range list {
		s.rendition.BudgetBPS = int(math.Round(s.bits(high) / s.seconds))
		s.rendition.BudgetCRF = s.survey.crf(high)
	}
}
