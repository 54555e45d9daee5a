package transcode

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// What earlier versions have stored knows one audio stream: it is the default one.
func TestStoredBeforeSeveralTracks(t *testing.T) {
	t.Parallel()
	var p Probe
	const probe = `{"format":"mov","seconds":5,"start":0,"audio":{"codec":"aac","channels":2,"sample_rate":44100,"end_seconds":5}}`
	if err := json.Unmarshal([]byte(probe), &p); err != nil || len(p.AudioStreams()) != 1 || p.AudioStreams()[0].Stream != 0 {
		t.Errorf("audio streams of a probe = %+v, %v; want the one", p.AudioStreams(), err)
	}
	var plan Plan
	const stored = `{"output":{},"grid":{},"renditions":null,"audio":{"bitrate_bps":96000,"channels":2,"seconds":5}}`
	if err := json.Unmarshal([]byte(stored), &plan); err != nil || len(plan.AudioRenditions()) != 1 || plan.AudioRenditions()[0].Dir() != AudioName {
		t.Errorf("audio renditions of a plan = %+v, %v; want the one called %s", plan.AudioRenditions(), err, AudioName)
	}
	var u Unit
	const join = `{"id":"join","kind":"join","join":{"format":"mp4","grid":{},"video":null,"audio":[{"dir":".work/1/audio.1","first":0,"end":3}],"audio_seconds":5}}`
	if err := json.Unmarshal([]byte(join), &u); err != nil || len(u.Join.AudioTracks()) != 1 || u.Join.AudioTracks()[0].Seconds != 5 {
		t.Errorf("audio tracks of a join = %+v, %v; want the one", u.Join.AudioTracks(), err)
	}
	if !u.Reads(".work/1/audio.1/00002.m4s") {
		t.Error("the join does not read the audio")
	}
}

func TestAudioRenditions(t *testing.T) {
	t.Parallel()
	stereo, six := AudioStream{Channels: 2}, AudioStream{Channels: 6}
	sixteen := AudioStream{Channels: 16}
	tests := []struct {
		output  Output
		streams []AudioStream
		want    []string
	}{
		{Output{}, nil, nil},
		{Output{}, []AudioStream{stereo, six}, []string{"audio 2 96000", "audio-2 2 96000", "audio-2-6ch 6 288000"}},
		{Output{AudioBPS: 128_000}, []AudioStream{six}, []string{"audio 2 128000", "audio-6ch 6 384000"}},
		{Output{}, []AudioStream{sixteen}, []string{"audio 2 96000", "audio-8ch 8 384000"}},
		{Output{Format: FormatMP4, AudioBPS: 128_000}, []AudioStream{six, stereo}, []string{"audio 6 128000", "audio-2 2 128000"}},
	}
	for _, tt := range tests {
		var got []string
		for _, r := range audioRenditions(Request{Output: tt.output}, Probe{Seconds: 5}, tt.streams) {
			got = append(got, fmt.Sprintf("%s %d %d", r.Dir(), r.Channels, r.BitrateBPS))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("audioRenditions(%+v) = %q; want %q", tt.output, got, tt.want)
		}
	}
}

func TestChosenAudio(t *testing.T) {
	t.Parallel()
	stream := func(n int, language string) AudioStream {
		return AudioStream{TrackInfo: TrackInfo{Stream: n, Language: language}}
	}
	second := stream(1, "en")
	p := Probe{Audio: &second, MoreAudio: []AudioStream{stream(0, "de"), stream(2, "pt-BR"), stream(3, "")}}
	tests := []struct {
		output Output
		want   string
		note   string
	}{
		{Output{}, "[1 0 2 3]", ""},
		{Output{AudioTracks: []int{4, 1}}, "[3 0]", "not in the output, because others were asked for: audio 2, English; audio 3, pt-BR"},
		{Output{AudioLangs: []string{"deu", "pt"}}, "[0 2]", "not in the output, because others were asked for: audio 2, English; audio 4"},
		{Output{AudioLangs: []string{"fr"}}, "[1]", "the source has none of the audio tracks that were asked for; its default one is used\n" +
			"not in the output, because others were asked for: audio 1, Deutsch; audio 3, pt-BR; audio 4"},
	}
	for _, tt := range tests {
		var plan Plan
		var got []int
		for _, a := range plan.chosenAudio(tt.output, p) {
			got = append(got, a.Stream)
		}
		if fmt.Sprint(got) != tt.want || plan.Note != tt.note {
			t.Errorf("%+v: streams %v, note %q; want %s, %q", tt.output, got, plan.Note, tt.want, tt.note)
		}
	}
	for _, o := range []Output{
		{AudioTracks: []int{0}}, {AudioTracks: []int{1, 1}}, {AudioTracks: []int{65}}, {AudioLangs: []string{"Deutsch"}},
		{AudioLangs: []string{"de", "de"}}, {AudioLangs: []string{"de"}, AudioTracks: []int{1}},
	} {
		if (Request{Output: o}).Check() == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// Subtitles are left out by their number, also those of a file beside the source and
// those of which others are burnt in.
func TestOmitSubtitles(t *testing.T) {
	t.Parallel()
	p := Probe{Seconds: 5, Subtitles: []SubtitleStream{{TrackInfo: TrackInfo{Stream: 0, Language: "de"}, Codec: "subrip"}, {TrackInfo: TrackInfo{Stream: 1, Language: "en"}, Codec: "subrip"}}}
	r := Request{Source: "a.mkv", Sidecars: []string{"a.fr.srt"}}
	for _, tt := range []struct {
		omit  []int
		burnt int
		want  string
	}{
		{nil, -1, "[de en fr]"}, {[]int{2}, -1, "[de fr]"}, {[]int{3}, 0, "[en]"}, {[]int{1, 2, 3}, -1, "[]"},
	} {
		plan := Plan{Grid: Grid{Rate: Rational{25, 1}, SegmentFrames: 100, Frames: 125}}
		r.OmitSubtitles = tt.omit
		plan.addSubtitles(r, p, tt.burnt)
		got := []string{}
		for _, s := range plan.Subtitles {
			got = append(got, s.Language)
		}
		if fmt.Sprint(got) != tt.want || len(got) == 0 && len(plan.Units) > 0 {
			t.Errorf("without %v: %v, and %d units; want %s", tt.omit, got, len(plan.Units), tt.want)
		}
	}
	for _, wrong := range [][]int{{0}, {2, 2}, {65}} {
		r.OmitSubtitles = wrong
		if r.Check() == nil {
			t.Errorf("to leave out %v is accepted", wrong)
		}
	}
}
