package transcode

import (
	"math"
	"slices"
)

// What a whole video needs follows from the pieces that were tried, and from how large the
// source's own packets are all over it: where the source needed many bytes, an encoding is worse
// and larger, by a power of them that the pieces show.

// A sample is what one size needs at one CRF in each of some pieces.
type sample struct {
	rendition Rendition
	pieces    []samplePiece
}

// A samplePiece is a piece of a sample.
type samplePiece struct {
	at      int     // its first frame
	hard    float64 // see hardness
	loss    float64 // 1 - SSIM
	rateBPS float64
}

// leastLoss is a loss that nobody sees.
const leastLoss = 1e-6

// piecesOf returns the samples of a codec, first the one that was tried with most pieces.
func piecesOf(g Grid, hard []float64, tried []TriedRendition) []sample {
	var list []sample
	for _, t := range tried {
		r := t.Rendition
		i := slices.IndexFunc(list, func(s sample) bool {
			return s.rendition.Width == r.Width && s.rendition.Height == r.Height && s.rendition.CRF == r.CRF
		})
		if i < 0 {
			list, i = append(list, sample{rendition: r}), len(list)
		}
		list[i].pieces = append(list[i].pieces, t.pieces(g, hard)...)
	}
	return list
}

// pieces returns the pieces of t. A worker that knows no pieces has made one of all.
func (t TriedRendition) pieces(g Grid, hard []float64) []samplePiece {
	trial, length := t.Trial, float64(t.Trial.Frames)/float64(max(t.Trial.Keys, 1))
	if len(trial.Pieces) == 0 {
		n := int64(max(trial.Keys, 1))
		trial.Pieces = []TriedPiece{{KeyBytes: trial.KeyBytes / n, RestBytes: trial.RestBytes / n, NearSSIM: trial.SSIM, SSIM: trial.SSIM}}
		hard = nil
	}
	// Frames near a key frame count as they do in a segment, which has one.
	near := min(NearFrames, length)
	far := max(float64(g.SegmentFrames)-near, 0)
	var list []samplePiece
	for i, p := range trial.Pieces {
		one := samplePiece{loss: 1 - (p.NearSSIM*near+p.SSIM*far)/(near+far)}
		if i < len(t.At) {
			one.at = t.At[i]
		}
		if n := one.at / pieceFrames; n < len(hard) {
			one.hard = hard[n]
		}
		perFrame := float64(p.RestBytes) / max(length-1, 1)
		one.rateBPS = 8 * (float64(p.KeyBytes) + perFrame*float64(g.SegmentFrames-1)) / g.Seconds(g.SegmentFrames)
		one.loss, one.rateBPS = max(one.loss, leastLoss), max(one.rateBPS, 1)
		list = append(list, one)
	}
	return list
}

// An estimate is what a whole video needs in the size and at the CRF of one sample.
type estimate struct {
	logLoss, logRate float64
	margin           float64 // how much better than the estimate is sought, in points, as it may be wrong
}

// Margins in points: the least is for what pieces do not show of longer segments, whose quality may
// fall from the key frame on.
const (
	minMargin = 1
	maxMargin = 4
)

// wholeVideo estimates what all pieces of a video need from some.
func wholeVideo(hard []float64, s sample) estimate {
	var e estimate
	e.logLoss, e.margin = overall(hard, s.pieces, func(p samplePiece) float64 { return math.Log(p.loss) })
	e.logRate, _ = overall(hard, s.pieces, func(p samplePiece) float64 { return math.Log(p.rateBPS) })
	e.margin = min(max(50/math.Ln10*e.margin, minMargin), maxMargin)
	return e
}

// The power of the source's bytes is between 0 and steepest. The few pieces of a short video
// move it away from usualPower as far as they differ in hardness.
const (
	usualPower = 0.9
	steepest   = 1.6
	priorSpan  = 0.1
)

// overall returns the logarithm of a mean over all of a video, some pieces of which are known,
// and the standard error of that. Pieces count as much as they add to the mean.
func overall(hard []float64, pieces []samplePiece, value func(samplePiece) float64) (mean, deviation float64) {
	n, most := float64(len(pieces)), math.Inf(-1)
	for _, p := range pieces {
		most = max(most, value(p))
	}
	known, x, y := 0.0, 0.0, 0.0
	for _, p := range pieces {
		w := math.Exp(value(p) - most)
		known, x, y = known+w, x+w*p.hard, y+w*value(p)
	}
	x, y = x/known, y/known
	xx, xy := priorSpan, priorSpan*usualPower
	for _, p := range pieces {
		w := n * math.Exp(value(p)-most) / known
		xx, xy = xx+w*(p.hard-x)*(p.hard-x), xy+w*(p.hard-x)*(value(p)-y)
	}
	power := min(max(xy/xx, 0), steepest)
	said, squares := 0.0, 0.0
	for _, p := range pieces {
		said += math.Exp(power * (p.hard - x))
	}
	for _, p := range pieces {
		rest := math.Exp(value(p)-most)/known - math.Exp(power*(p.hard-x))/said
		squares += rest * rest
	}
	mean = most + math.Log(known/said) + math.Log(powerMean(hard, x, power))
	return mean, math.Sqrt(squares * n / max(n-2, 1))
}

// powerMean returns the mean of a power of what the source needed, beside where it is hard as x.
func powerMean(hard []float64, x, power float64) float64 {
	if len(hard) == 0 {
		return 1
	}
	sum := 0.0
	for _, h := range hard {
		sum += math.Exp(power*(h-x)) / float64(len(hard))
	}
	return sum
}

// point returns the point of a sample's curve: it differs from the estimate as the sample does
// from base, in the pieces that both have.
func (e estimate) point(s, base sample) curvePoint {
	var loss, rate, baseLoss, baseRate, peak float64
	for _, p := range s.pieces {
		peak = max(peak, p.rateBPS)
		i := slices.IndexFunc(base.pieces, func(b samplePiece) bool { return b.at == p.at })
		if i < 0 {
			continue
		}
		b := base.pieces[i]
		loss, rate, baseLoss, baseRate = loss+p.loss, rate+p.rateBPS, baseLoss+b.loss, baseRate+b.rateBPS
	}
	if baseRate == 0 { // no piece of both: not what a plan asks for
		loss, rate, baseLoss, baseRate = 1, 1, 1, 1
	}
	quality := Quality(1-math.Exp(e.logLoss)*loss/baseLoss) - e.margin
	return curvePoint{crf: float64(s.rendition.CRF), logRate: e.logRate + math.Log(rate/baseRate), peakBPS: peak, quality: quality}
}
