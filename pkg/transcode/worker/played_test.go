package worker

import (
	"fmt"
	"slices"
	"testing"

	"pibootd/pkg/transcode"
)

// Sound is missing where the decoder yields samples for less than half of the time, for
// more than a second.
func TestPlaying(t *testing.T) {
	type at struct{ time, played float64 }
	steady := func(list []at, from, to, played float64) []at {
		for s := from; s < to; s += 0.25 {
			list = append(list, at{s, played + s - from})
		}
		return list
	}
	for name, tt := range map[string]struct {
		said []at
		want []transcode.Held
	}{
		"all":             {steady(nil, 0, 10, 0), nil},
		"none":            {nil, []transcode.Held{{From: 0, To: 10}}},
		"the end":         {steady(nil, 0, 4, 0), []transcode.Held{{From: 3.75, To: 10}}},
		"the middle":      {steady(steady(nil, 0, 4, 0), 8, 10, 4), []transcode.Held{{From: 3.75, To: 8}}},
		"a short silence": {steady(steady(nil, 0, 4, 0), 4.5, 10, 4), nil},
		"now and then":    {append(steady(nil, 0, 4, 0), at{4.6, 4.02}, at{5.5, 4.04}, at{6.4, 4.06}, at{7.9, 4.08}), []transcode.Held{{From: 3.75, To: 10}}},
	} {
		p := newPlaying(transcode.AudioUnit{Rendition: transcode.AudioRendition{Seconds: 10}})
		for _, said := range tt.said {
			for _, line := range []string{fmt.Sprintf("%f", said.time), fmt.Sprintf("%f", playedMark+said.played)} {
				if !p.line([]byte(line)) {
					t.Fatalf("%s: line %q is not consumed", name, line)
				}
			}
		}
		if p.line([]byte("[aac @ 0x5555] a complaint")) {
			t.Errorf("%s: a line for people is consumed", name)
		}
		if got := p.end(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: silent at %v; want %v", name, got, tt.want)
		}
	}
}

// The decoders of two parts print in any order, and each tells what it is silent for.
func TestPlayingParts(t *testing.T) {
	u := transcode.AudioUnit{Rendition: transcode.AudioRendition{Seconds: 6}, Parts: []transcode.UnitPart{{}, {Seconds: 3}}}
	p := newPlaying(u)
	say := func(time, played float64, part int) {
		p.line(fmt.Appendf(nil, "%f", time))
		p.line(fmt.Appendf(nil, "%f", float64(1+part)*playedMark+played))
	}
	say(3, 0, 1)
	for s := 0.0; s < 3; s += 0.25 {
		say(s, s, 0)
	}
	say(3.25, 0.25, 1)
	if got, want := p.end(), []transcode.Held{{From: 3.25, To: 6}}; !slices.Equal(got, want) {
		t.Errorf("silent at %v; want %v", got, want)
	}
}
