package transcode

import "testing"

// What units decoded nothing of is one sentence, however many units it spans, and is
// compared with the pauses that the source has itself.
func TestNoteHeld(t *testing.T) {
	tests := map[string]struct {
		gap  float64
		held map[string][]Held
		want string
	}{
		"nothing":       {0.04, nil, ""},
		"short":         {0.04, map[string][]Held{"a": {{1, 1.9}}}, ""},
		"over units":    {0.04, map[string][]Held{"a": {{3.2, 4}}, "b": {{4, 5}}}, "the picture stands still for 1.8 s from 3.2 s on, because nothing could be decoded there"},
		"as its pauses": {9, map[string][]Held{"a": {{3, 12.5}}}, ""},
		"two places":    {0.04, map[string][]Held{"a": {{3, 5}, {8, 10}}}, "the picture stands still for 4.0 s in 2 places, the first at 3.0 s, because nothing could be decoded there"},
		"two renditions": {0.04, map[string][]Held{"a": {{3, 5}}, "b": {{3, 5}}},
			"the picture stands still for 2.0 s from 3.0 s on, because nothing could be decoded there"},
	}
	for name, tt := range tests {
		results := map[string]Result{}
		for id, held := range tt.held {
			results[id] = Result{Held: held}
		}
		var p Plan
		p.NoteHeld(Probe{Video: &VideoStream{MaxGapSeconds: tt.gap}}, results)
		if p.Note != tt.want {
			t.Errorf("%s: note %q; want %q", name, p.Note, tt.want)
		}
	}
}
