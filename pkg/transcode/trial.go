package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// With Output.Quality, short trials show what a video needs before it is planned: pieces of
// it, spread over the whole, are encoded at several qualities of the encoder (CRF) in several
// sizes, and compared with what they were made of. The renditions follow from that.

// Quality returns the quality of a video with this SSIM of its luma, between 0 and 1: five times
// the decibels that ffmpeg's filter ssim prints. 50 is an SSIM of 0.9, 100 one of 0.99.
func Quality(ssim float64) float64 { return -50 * math.Log10(max(1-ssim, 1e-6)) }

// MaxQuality is the highest quality that a request may have.
const MaxQuality = 100

// A Trial is what a short encoding of pieces of the source needed, and how near it came.
type Trial struct {
	Frames    int     `json:"frames"`
	Keys      int     `json:"keys"`       // key frames among them, one for each piece
	KeyBytes  int64   `json:"key_bytes"`  // of the key frames
	RestBytes int64   `json:"rest_bytes"` // of the other frames
	SSIM      float64 `json:"ssim"`       // mean of its frames' luma, at the size of the largest rendition
	// Pieces are the numbers of each piece; nil of a worker that does not know them.
	Pieces []TriedPiece `json:"pieces,omitempty"`
}

// A TriedPiece is what one piece of a trial needed.
type TriedPiece struct {
	KeyBytes  int64   `json:"key_bytes"`
	RestBytes int64   `json:"rest_bytes"`
	NearSSIM  float64 `json:"near_ssim"` // mean of the first NearFrames, which are as good as the key frame makes them
	SSIM      float64 `json:"ssim"`      // mean of all others; of all if there are no others
}

// NearFrames is how many frames a key frame makes much better or worse than those far from it.
const NearFrames = 5

// A TriedRendition is a rendition of a trial, at one CRF, and what came of it. At are the first
// frames of the pieces that it was tried with.
type TriedRendition struct {
	Rendition Rendition
	Trial     Trial
	At        []int
}

// TriedRenditions returns what a trial has shown.
func TriedRenditions(u Unit, r Result) []TriedRendition {
	var all []TriedRendition
	for i, p := range Pieces(u, r) {
		t := TriedRendition{Rendition: p.Unit.Video.Rendition, Trial: *p.Result.Trial}
		for _, v := range u.videos()[:u.TriedPieces(i)] {
			t.At = append(t.At, v.FirstFrame)
		}
		all = append(all, t)
	}
	return all
}

// TriedPieces returns how many pieces the rendition with this number is tried with.
func (u *Unit) TriedPieces(rendition int) int {
	if all := 1 + len(u.MorePieces); rendition == 0 || u.FullPieces == 0 {
		return all
	}
	return u.FullPieces
}

// checkTrial looks at the trials of a unit.
func checkTrial(u Unit, r Result) error {
	if len(r.Others) != len(u.Video.Others) {
		return fmt.Errorf("%d renditions; want %d", 1+len(r.Others), 1+len(u.Video.Others))
	}
	length := u.Video.EndFrame - u.Video.FirstFrame
	for i, one := range append([]Result{r}, r.Others...) {
		t, pieces := one.Trial, u.TriedPieces(i)
		if t == nil || len(one.Files()) > 0 || t.KeyBytes <= 0 || t.RestBytes < 0 || t.KeyBytes > maxSegmentBytes || t.RestBytes > maxSegmentBytes || !(math.Abs(t.SSIM) <= 1) {
			return errors.New("no trial, or its numbers are out of range")
		}
		if t.Frames != pieces*length || t.Keys != pieces || t.Pieces != nil && len(t.Pieces) != pieces {
			return fmt.Errorf("%d frames in %d pieces; want %d in %d", t.Frames, t.Keys, pieces*length, pieces)
		}
		if slices.ContainsFunc(t.Pieces, TriedPiece.wrong) {
			return errors.New("numbers of a piece are out of range")
		}
	}
	return nil
}

func (p TriedPiece) wrong() bool {
	size := func(n int64) bool { return n >= 0 && n <= maxSegmentBytes }
	return !size(p.KeyBytes) || !size(p.RestBytes) || !(math.Abs(p.SSIM) <= 1) || !(math.Abs(p.NearSSIM) <= 1)
}

const (
	// pieceSeconds is about how much of a video one piece is tried for.
	pieceSeconds = 20
	// pieceFrames is the length of a piece: as long as a key frame makes a difference, and as
	// encoders look ahead.
	pieceFrames = 20
	// fewestPieces is what a short video has, unless they are more than a fifth of it.
	fewestPieces = 6
	// maxPieces is the number of pieces that suffice for a video of any length.
	maxPieces = 48
	// unitPieces is the maximum number of pieces of a unit.
	unitPieces = 6
	// maxTriedSizes is the number of sizes that are tried.
	maxTriedSizes = 4
)

// trials returns the units that try what plan's renditions need. All pieces are tried in the
// largest size at one CRF, and a third of them in all others.
func (p Plan) trials(r Request, probe Probe, o Options, toneMap bool) []Unit {
	grid := p.Grid.pieces()
	most := unitPieces
	if len(probe.Parts) > 0 { // parts are put together already
		most = 1
	}
	all := spreadPieces(grid, hardness(grid, r, probe, o))
	var units []Unit
	for _, tried := range triedRenditions(p.Renditions, r, o) {
		for pieces := range slices.Chunk(all, most) {
			unit := videoUnits(r, probe, grid, [][]Rendition{tried}, o, []int{pieces[0], pieces[0] + 1})[0]
			unit.ID, unit.Kind = fmt.Sprintf("t-%s-%05d", tried[0].Name, pieces[0]), KindTrial
			unit.FullPieces = (len(pieces) + 2) / 3
			for _, at := range pieces[1:] {
				piece := videoUnits(r, probe, grid, [][]Rendition{tried[:1]}, o, []int{at, at + 1})[0]
				unit.MorePieces = append(unit.MorePieces, *piece.Video)
			}
			for _, v := range unit.videos() {
				v.EndFrame = v.FirstFrame + grid.SegmentFrames
				v.ToneMap, v.NoCaptions = toneMap && tried[0].VideoRange == "", true
			}
			units = append(units, unit)
		}
	}
	return units
}

// pieces returns g with pieces in place of segments.
func (g Grid) pieces() Grid {
	g.SegmentFrames = min(pieceFrames, g.Frames)
	return g
}

// videos returns all pieces of u.
func (u *Unit) videos() []*VideoUnit {
	list := []*VideoUnit{u.Video}
	for i := range u.MorePieces {
		list = append(list, &u.MorePieces[i])
	}
	return list
}

// spreadPieces returns the numbers of the pieces of a grid that are tried: some of each degree of
// hardness if that is known, or else of each part of the video. Those that are tried in full come
// first in each unit.
func spreadPieces(g Grid, hard []float64) []int {
	order := make([]int, g.Frames/g.SegmentFrames)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if hard == nil {
			return 0
		}
		return cmp.Compare(hard[b], hard[a])
	})
	wanted := int(math.Round(g.Seconds(g.Frames) / pieceSeconds))
	count := min(max(wanted, min(fewestPieces, (len(order)+4)/5)), maxPieces)
	list := make([]int, count)
	for i := range list {
		within := 0.5
		if hard == nil { // not at equal distances, which what repeats in a video might have as well
			_, within = math.Modf(float64(i+1) * math.Phi)
		}
		list[i] = order[min(int(float64(len(order))*(float64(i)+within)/float64(count)), len(order)-1)]
	}
	for unit := range slices.Chunk(list, unitPieces) {
		everyThird(unit)
	}
	return list
}

// everyThird moves the second, the fifth, the eighth … of a list before the others.
func everyThird(list []int) {
	var others []int
	n := 0
	for i, v := range list {
		if i%3 != 1 && len(list) > 1 {
			others = append(others, v)
			continue
		}
		list[n] = v
		n++
	}
	copy(list[n:], others)
}

// triedRenditions returns what is tried of each codec, the largest size first.
func triedRenditions(ladder []Rendition, r Request, o Options) [][]Rendition {
	var all [][]Rendition
	for _, sizes := range byCodec(ladder) {
		var tried []Rendition
		for _, size := range spread(sizes, maxTriedSizes) {
			for _, crf := range triedCRFs(encoderFor(r, o, size), r.Quality) {
				one := size
				one.Name, one.CRF = fmt.Sprintf("%s-crf%d", size.Name, crf), crf
				one.MaxrateBPS, one.BufferBits = 0, 0
				tried = append(tried, one)
			}
		}
		all = append(all, tried)
	}
	return all
}

// byCodec divides a ladder by codecs.
func byCodec(ladder []Rendition) [][]Rendition {
	var all [][]Rendition
	for _, r := range ladder {
		if last := len(all) - 1; last >= 0 && all[last][0].Codec == r.Codec {
			all[last] = append(all[last], r)
		} else {
			all = append(all, []Rendition{r})
		}
	}
	return all
}

// spread returns the first and the last of a list and some between, most of the largest.
func spread(list []Rendition, most int) []Rendition {
	if len(list) <= most {
		return list
	}
	var some []Rendition
	for i := range most {
		some = append(some, list[i*(len(list)-1)/(most-1)])
	}
	return some
}

// triedCRFs returns the values of CRF that are tried, between which most videos have this
// quality. Beyond them, the curve of quality is steeper at a higher CRF and flatter at a lower one.
func triedCRFs(encoder string, quality int) []int {
	low := min(max(30-quality*3/20, 14), 26)
	switch encoder {
	case EncoderX265:
		return []int{low + 11, low + 20}
	case EncoderAV1:
		return []int{2 * low, min(2*low+14, 60)}
	}
	return []int{low + 9, low + 18}
}

// A curve is what one size needs, by the CRF: at least two points.
type curve struct {
	rendition Rendition
	points    []curvePoint
}

// A curvePoint is what a size needs at one CRF.
type curvePoint struct {
	crf     float64
	logRate float64 // logarithm of bits per second
	peakBPS float64 // of the pieces that need most
	quality float64
}

// How far beyond what was tried a CRF may lie.
const (
	lowerCRF  = 12
	higherCRF = 8
	// steeper is by how much quality falls faster there than between what was tried.
	steeper = 1.2
)

// curves returns what each size of a codec needs, as far as it was tried.
func curves(g Grid, hard []float64, tried []TriedRendition) []curve {
	var list []curve
	of := piecesOf(g, hard, tried)
	if len(of) == 0 {
		return nil
	}
	whole := wholeVideo(hard, of[0])
	for _, s := range of {
		i := slices.IndexFunc(list, func(c curve) bool {
			return c.rendition.Width == s.rendition.Width && c.rendition.Height == s.rendition.Height
		})
		if i < 0 {
			list, i = append(list, curve{rendition: s.rendition}), len(list)
		}
		list[i].points = append(list[i].points, whole.point(s, of[0]))
	}
	for _, c := range list {
		slices.SortFunc(c.points, func(a, b curvePoint) int { return cmp.Compare(a.crf, b.crf) })
	}
	return list
}

// at returns the point of c at a CRF, between or a little beyond those that were tried.
func (c curve) at(crf float64) curvePoint {
	i := 0
	for i < len(c.points)-2 && c.points[i+1].crf < crf {
		i++
	}
	a, b := c.points[i], c.points[i+1]
	between := func(x, y float64) float64 { return x + (y-x)*(crf-a.crf)/(b.crf-a.crf) }
	p := curvePoint{crf: crf, logRate: between(a.logRate, b.logRate), peakBPS: between(a.peakBPS, b.peakBPS), quality: between(a.quality, b.quality)}
	if beyond := crf - c.points[len(c.points)-1].crf; beyond > 0 {
		p.quality += (steeper - 1) * beyond * (b.quality - a.quality) / (b.crf - a.crf)
	}
	if len(c.points) == 3 && crf > c.points[0].crf && crf < c.points[2].crf {
		p.logRate = bend(c.points, crf, func(p curvePoint) float64 { return p.logRate })
		p.quality = bend(c.points, crf, func(p curvePoint) float64 { return p.quality })
	}
	return p
}

// bend is the parabola through three points.
func bend(points []curvePoint, crf float64, value func(curvePoint) float64) float64 {
	sum := 0.0
	for i, p := range points {
		weight := 1.0
		for j, other := range points {
			if j != i {
				weight *= (crf - other.crf) / (p.crf - other.crf)
			}
		}
		sum += weight * value(p)
	}
	return sum
}

// A candidate is a size at a CRF.
type candidate struct {
	curvePoint
	rendition Rendition
}

func (c candidate) rateBPS() float64 { return math.Exp(c.logRate) }

// candidates returns the sizes at every CRF that an encoder can be asked for.
func candidates(list []curve, encoder string) []candidate {
	step, most := 0.1, float64(maxCRF)
	if encoder == EncoderAV1 {
		step, most = 1, 63
	}
	var all []candidate
	for _, c := range list {
		first, last := c.points[0].crf-lowerCRF, min(c.points[len(c.points)-1].crf+higherCRF, most)
		for n := math.Ceil(first / step); n*step <= last; n++ {
			all = append(all, candidate{c.at(math.Round(n*step*10) / 10), c.rendition})
		}
	}
	return all
}

// atLeast returns the candidate that has a quality for the fewest bits, or else the best one.
// A larger picture may have a few bits more.
func atLeast(all []candidate, quality float64) candidate {
	best := slices.MaxFunc(all, func(a, b candidate) int { return cmp.Compare(a.quality, b.quality) })
	if best.quality < quality {
		return best
	}
	enough := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return c.quality < quality })
	least := slices.MinFunc(enough, func(a, b candidate) int { return cmp.Compare(a.logRate, b.logRate) })
	for _, c := range enough {
		larger := cmp.Compare(c.rendition.Width*c.rendition.Height, least.rendition.Width*least.rendition.Height)
		if c.logRate <= least.logRate+0.03 && larger > 0 {
			least = c
		}
	}
	return least
}

// atMost returns the candidate with the best quality for these bits per second.
func atMost(all []candidate, bps float64) (best candidate, found bool) {
	for _, c := range all {
		if c.rateBPS() <= bps && (!found || c.quality > best.quality) {
			best, found = c, true
		}
	}
	return best, found
}

const (
	// maxChosen is the maximum number of rungs of one codec.
	maxChosen = 6
	// leastRungBPS is the bitrate of H.264 below which no further rung helps anybody.
	leastRungBPS = 70_000
)

// chosenRungs returns the rungs of one codec: the first has the quality, and each of the others
// half the bits of the one before, in the size in which they look best.
func chosenRungs(all []candidate, quality float64, least float64, single bool) []candidate {
	top := atLeast(all, quality)
	rungs := []candidate{top}
	for bps := top.rateBPS() / 2; bps >= least && len(rungs) < maxChosen && !single; bps /= 2 {
		next, found := atMost(all, bps)
		if !found || next.quality >= rungs[len(rungs)-1].quality {
			break
		}
		rungs = append(rungs, next)
	}
	return rungs
}

// choose replaces the ladder of p by what the trials say of it.
func (p *Plan) choose(r Request, probe Probe, o Options, tried []TriedRendition) error {
	hard := hardness(p.Grid.pieces(), r, probe, o)
	ladder := p.Renditions
	p.Renditions = nil
	for _, sizes := range byCodec(ladder) {
		codec := slices.DeleteFunc(slices.Clone(tried), func(t TriedRendition) bool { return t.Rendition.Codec != sizes[0].Codec })
		of := slices.DeleteFunc(curves(p.Grid, hard, codec), func(c curve) bool { return len(c.points) < 2 })
		if len(of) == 0 {
			return fmt.Errorf("no trial of %s", cmp.Or(sizes[0].Codec, r.codec()))
		}
		encoder := encoderFor(r, o, sizes[0])
		least := leastRungBPS * codecShare(cmp.Or(sizes[0].Codec, r.codec()))
		p.addRungs(r.Quality, sizes, chosenRungs(candidates(of, encoder), float64(r.Quality), least, r.IsFile()))
	}
	p.Renditions = named(p.Renditions)
	return nil
}

// addRungs adds the rungs of one codec, of which sizes is the fixed ladder.
func (p *Plan) addRungs(quality int, sizes []Rendition, chosen []candidate) {
	if got := chosen[0].quality; got < float64(quality)-0.5 {
		p.note("quality %d is more than what was tried; the best is %.0f", quality, got)
	}
	for _, c := range chosen {
		i := slices.IndexFunc(sizes, func(s Rendition) bool { return s.Width == c.rendition.Width && s.Height == c.rendition.Height })
		rung := sizes[max(i, 0)]
		usual := rung.MaxrateBPS
		rung.BitrateBPS = max(int(c.rateBPS())/1000*1000, minBitrateBPS)
		rung.CRF, rung.ExactCRF = max(int(math.Round(c.crf)), 1), max(c.crf, 1)
		// Hard scenes get the bits, up to a bound that players can count on.
		rung.MaxrateBPS = max(2*rung.BitrateBPS, int(1.5*c.peakBPS)/1000*1000, usual)
		rung.BufferBits = 2 * rung.MaxrateBPS
		p.note("rung of quality %.0f: %s at CRF %.4g, about %d kb/s", c.quality, rung.Name, rung.ExactCRF, rung.BitrateBPS/1000)
		p.Renditions = append(p.Renditions, rung)
	}
}

// checkQuality checks that renditions can follow from a quality.
func (o Output) checkQuality() error {
	software := []string{EncoderX264, EncoderX265, EncoderAV1}
	other := slices.IndexFunc(o.codecs(), func(c Codec) bool { return !slices.Contains(software, o.of(c).encoder()) })
	rates := func(r Rung) bool { return r.BitrateBPS != 0 || r.Width != 0 }
	switch {
	case o.Quality < 0 || o.Quality > MaxQuality:
		return wrong("quality", "quality %d; want 1 to %d, or 0 for the usual bitrates", o.Quality, MaxQuality)
	case o.Quality == 0:
		return nil
	case o.CRF != 0 || o.Constant || o.TwoPass:
		return wrong("quality", "a quality beside a CRF, a constant bitrate or two passes; want one of them")
	case o.Ladder == PresetAuthor:
		return wrong("quality", "a quality beside the ladder author, which has bitrates; want one of them")
	case slices.ContainsFunc(o.Rungs, rates):
		return wrong("quality", "a quality beside rungs with a bitrate or a shape; want rungs of lines alone, e.g. 720, among which it chooses")
	case other >= 0:
		return wrong("quality", "a quality by %s; want one of %s, %s and %s", o.of(o.codecs()[other]).encoder(), EncoderX264, EncoderX265, EncoderAV1)
	case o.IsFile() && len(o.Options) > 0:
		return wrong("quality", "ffmpeg options beside a quality; want one or the other")
	}
	return nil
}
