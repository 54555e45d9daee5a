package worker

import (
	"cmp"
	"math"
	"slices"

	"pibootd/pkg/transcode"
)

// gaps counts the times between successive frames, so that the rate of what moves
// can be told from pauses, lost frames and the rounding of time stamps.
type gaps struct {
	count    map[int]int     // by length, in units of gapUnit
	seconds  map[int]float64 // all of them together
	total    int
	last     float64
	pulldown int // successive pairs of two and three fields of 29.97 frames per second
}

const (
	gapUnit    = 1e-4 // seconds
	maxGapKeys = 4096 // different lengths that are counted
	// maxNominal is the highest nominal rate that is looked for, in frames per second.
	maxNominal = 240
	// regular is the share of frames that must lie on the raster of a nominal rate.
	regular = 0.9
	// field is how long a field of 29.97 frames per second lasts, in seconds.
	field = 1001. / 60000
)

func (g *gaps) add(seconds float64) {
	if seconds <= 0 {
		return
	}
	if g.count == nil {
		g.count, g.seconds = map[int]int{}, map[int]float64{}
	}
	key := int(math.Round(min(seconds, 1e5) / gapUnit))
	if _, known := g.count[key]; !known && len(g.count) >= maxGapKeys {
		return
	}
	g.count[key]++
	g.seconds[key] += seconds
	g.total++
	if math.Abs(seconds+g.last-5*field) < 0.003 && math.Abs(math.Abs(seconds-g.last)-field) < 0.003 {
		g.pulldown++
	}
	g.last = seconds
}

// nominal returns the rate at which frames follow on each other while the picture
// moves, in frames per second; 0 if there are too few frames to tell.
func (g *gaps) nominal() float64 {
	if g.total == 0 {
		return 0
	}
	// A film on NTSC video: frames are shown for two and three fields in turn.
	if float64(g.pulldown) > regular*float64(g.total-1) && g.total > 4 {
		return 24000. / 1001
	}
	for rate := 1; rate <= maxNominal; rate++ {
		if mean := g.onRaster(1 / float64(rate)); mean > 0 {
			return 1 / mean
		}
	}
	return nearestUsual(1 / g.quantile(0.25))
}

// nearestUsual returns the usual rate that is nearest, for a camera that has no rate
// of its own.
func nearestUsual(rate float64) float64 {
	usual := []float64{1, 2, 5, 10, 12, 15, 24, 25, 30, 50, 60, 120}
	return slices.MinFunc(usual, func(a, b float64) int {
		return cmp.Compare(math.Abs(math.Log(a/rate)), math.Abs(math.Log(b/rate)))
	})
}

// onRaster returns the mean period if nearly all gaps are whole multiples of about
// this period, and some of them are single; else 0.
func (g *gaps) onRaster(period float64) float64 {
	fit, single, periods, seconds := 0, 0, 0, 0.0
	for key, n := range g.count {
		gap := g.seconds[key] / float64(n)
		k := math.Round(gap / period)
		if k < 1 || math.Abs(gap-k*period) > 0.12*period+0.0011 {
			continue
		}
		fit += n
		if k == 1 {
			single += n
		}
		if k <= 10 { // a pause says nothing about the period
			periods, seconds = periods+n*int(k), seconds+float64(n)*gap
		}
	}
	if float64(fit) < regular*float64(g.total) || float64(single) < float64(g.total)/10 || periods == 0 {
		return 0
	}
	return seconds / float64(periods)
}

// quantile returns the length that this share of gaps does not exceed.
func (g *gaps) quantile(share float64) float64 {
	keys := make([]int, 0, len(g.count))
	for key := range g.count {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	left := int(share * float64(g.total))
	for _, key := range keys {
		if left -= g.count[key]; left < 0 {
			return max(float64(key), 1) * gapUnit
		}
	}
	return 1
}

// rate returns the nominal frame rate: one of those that the container says, if the
// frames agree with it, for only these are exact.
func (t *track) rate(said ...transcode.Rational) transcode.Rational {
	nominal := t.gaps.nominal()
	for _, r := range said {
		if f := r.Float(); f > 0 && (nominal == 0 || math.Abs(f-nominal) < nominal/200) {
			return r
		}
	}
	return transcode.Rational{Num: int(math.Round(min(nominal, 1e6) * 1000)), Den: 1000}
}
