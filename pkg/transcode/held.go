package transcode

import (
	"cmp"
	"errors"
	"slices"
)

// A Held is a stretch of the grid for which a unit decoded nothing: the frame before
// it is shown on.
type Held struct {
	From float64 `json:"from"` // seconds
	To   float64 `json:"to"`   // seconds
}

const maxHeld = 100 // of one unit

// checkHeld looks for impossible values.
func checkHeld(list []Held) error {
	outside := func(h Held) bool { return !sane(h.From, maxSeconds) || !sane(h.To, maxSeconds) || h.To < h.From }
	if len(list) > maxHeld || slices.ContainsFunc(list, outside) {
		return errors.New("stretches without frames are out of range")
	}
	return nil
}

// NoteHeld notes where units decoded nothing for a second longer than the packets of
// the source let expect.
func (p *Plan) NoteHeld(probe Probe, results map[string]Result) {
	if probe.Video == nil {
		return
	}
	var all []Held
	for _, r := range results {
		all = append(all, r.Held...)
	}
	slices.SortFunc(all, func(a, b Held) int { return cmp.Compare(a.From, b.From) })
	var merged []Held
	for _, h := range all {
		if n := len(merged); n > 0 && h.From <= merged[n-1].To+0.5 {
			merged[n-1].To = max(merged[n-1].To, h.To)
			continue
		}
		merged = append(merged, h)
	}
	merged = slices.DeleteFunc(merged, func(h Held) bool { return h.To-h.From <= 1+probe.Video.MaxGapSeconds })
	seconds := 0.0
	for _, h := range merged {
		seconds += h.To - h.From
	}
	switch {
	case len(merged) == 1:
		p.note("the picture stands still for %.1f s from %.1f s on, because nothing could be decoded there", seconds, merged[0].From)
	case len(merged) > 1:
		p.note("the picture stands still for %.1f s in %d places, the first at %.1f s, because nothing could be decoded there",
			seconds, len(merged), merged[0].From)
	}
}
