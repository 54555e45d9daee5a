package transcode

import (
	"math"
	"math/rand/v2"
	"testing"
)

// What a whole video needs is known from few pieces where the source's packets say how hard
// each part is, however uneven it is.
func TestWholeVideo(t *testing.T) {
	const seconds = 120
	for _, tt := range []struct {
		name  string
		bytes func(second int) float64 // of the source
		power float64                  // loss grows by it
	}{
		{"even", func(int) float64 { return 1e5 }, 1},
		{"half of it still", func(s int) float64 { return 100 + 2e5*float64(s/(seconds*4/10)%2) }, 0.7},
		{"short bursts", func(s int) float64 { return 2e4 + 3e5*float64(s%24/20) }, 1.2},
		{"harder and harder", func(s int) float64 { return 1e3 * math.Exp(float64(s)/20) }, 1},
	} {
		random := rand.New(rand.NewPCG(1, 2))
		loss := func(second int) float64 { return 0.02 * math.Pow(tt.bytes(second)/1e5, tt.power) }
		probe, video := plainFilm, *plainFilm.Video
		video.EndSeconds, video.Sizes = seconds, &Sizes{}
		probe.Seconds, probe.Video = seconds, &video
		truth := 0.0
		for s := range seconds {
			for range 25 {
				video.Sizes.Add(float64(s), int(tt.bytes(s)/25))
			}
			truth += loss(s) / seconds
		}
		r := Request{Source: "a.mkv", Name: "a", Output: Output{Quality: 80, Format: FormatMP4}}
		plan, err := NewPlan(r, probe, 4)
		if err != nil {
			t.Fatal(err)
		}
		hard := hardness(plan.Units[0].Video.Grid, r, probe, Options{})
		var s sample
		for _, u := range plan.Units {
			for _, v := range u.videos() {
				at := v.FirstFrame
				noise := math.Exp(0.05 * random.NormFloat64())
				s.pieces = append(s.pieces, samplePiece{at: at, hard: hard[at/pieceFrames], loss: loss(min(at/25, seconds-1)) * noise, rateBPS: 1e5})
			}
		}
		e := wholeVideo(hard, s)
		if got, want := Quality(1-math.Exp(e.logLoss)), Quality(1-truth); math.Abs(got-want) > 2.5 || e.margin > maxMargin || len(s.pieces) > 6 {
			t.Errorf("%s: quality %.1f with a margin of %.1f, from %d pieces; want %.1f", tt.name, got, e.margin, len(s.pieces), want)
		}
	}
}

// Sizes stay few, and add up, however long a stream is.
func TestSizes(t *testing.T) {
	var s Sizes
	total := int64(0)
	for i := range 20000 {
		s.Add(float64(i)/2, 10)
		total += 10
	}
	s.Add(-3, 5)
	s.Add(math.NaN(), 7)
	s.Add(math.Inf(1), 7)
	sum := int64(0)
	for _, n := range s.Bytes {
		sum += n
	}
	if sum != total+5 || len(s.Bytes) > MaxSizes || s.Seconds != 16 || s.check() != nil {
		t.Errorf("%d bytes in %d stretches of %g s, %v; want %d in at most %d of 16 s", sum, len(s.Bytes), s.Seconds, s.check(), total+5, MaxSizes)
	}
	for _, bad := range []Sizes{{Seconds: 0, Bytes: []int64{1}}, {Seconds: math.NaN()}, {Seconds: 1, Bytes: []int64{-1}}, {Seconds: 1, Bytes: make([]int64, MaxSizes+1)}} {
		if bad.check() == nil {
			t.Errorf("sizes %v are accepted", bad)
		}
	}
}
