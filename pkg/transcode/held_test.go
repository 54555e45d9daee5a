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

// What a source lacks is said where it must have it: in a broadcast always, elsewhere
// where picture and sound are missing at the same time.
func TestNoteGaps(t *testing.T) {
	film := func(format string, video, audio []Held) Probe {
		return Probe{Format: format, Video: &VideoStream{EndSeconds: 30, Pauses: video}, Audio: &AudioStream{EndSeconds: 30, Pauses: audio}}
	}
	silent := film("mpegts", []Held{{5, 8}}, nil)
	silent.Audio = nil
	longer, unread := film("mov", nil, nil), film("mpegts", nil, nil)
	longer.Audio.EndSeconds, unread.UnreadBytes = 33, 5_000_000
	const picture = "the source has no picture for 3.0 s, from 5.0 s on: the one before stands still there"
	for name, tt := range map[string]struct {
		probe Probe
		want  string
	}{
		"nothing lacks":        {film("mpegts", nil, nil), ""},
		"late picture":         {film("mpegts", []Held{{0, 3}}, nil), ""},
		"broadcast":            {film("mpegts", []Held{{5, 8}}, nil), picture},
		"broadcast, no audio":  {silent, picture},
		"broadcast, the sound": {film("mpegts", nil, []Held{{5, 8}}), "the source has no sound for 3.0 s, from 5.0 s on"},
		"recorded screen":      {film("matroska,webm", []Held{{5, 8}}, nil), ""},
		"both are missing":     {film("matroska,webm", []Held{{5, 8}}, []Held{{4.9, 8}}), picture + "\nthe source has no sound for 3.0 s, from 5.0 s on"},
		"longer sound":         {longer, "the video ends 3.0 s before the sound"},
		"not read to its end":  {unread, "nothing could be read of the last 5.0 MB of the source"},
	} {
		var p Plan
		if p.noteGaps(tt.probe, Options{}); p.Note != tt.want {
			t.Errorf("%s: note %q; want %q", name, p.Note, tt.want)
		}
	}
}

// A pause of the source hides what could not be decoded nowhere else.
func TestNoteHeldBesidePauses(t *testing.T) {
	p := Plan{Audio: &AudioRendition{}}
	probe := Probe{Video: &VideoStream{MaxGapSeconds: 9, Pauses: []Held{{10, 19}}}, Audio: &AudioStream{Pauses: []Held{{2, 4}}}}
	p.NoteHeld(probe, map[string]Result{
		"v-0000": {Held: []Held{{3, 5}, {10, 19}}}, "v-0001": {Held: []Held{{18, 24}}}, AudioName: {Held: []Held{{2, 4.2}, {20, 22}}},
	})
	const want = "the picture stands still for 6.4 s in 2 places, the first at 3.0 s, because nothing could be decoded there\n" +
		"the sound is silent for 2.0 s from 20.0 s on, because nothing could be decoded there"
	if p.Note != want {
		t.Errorf("note %q; want %q", p.Note, want)
	}
}
