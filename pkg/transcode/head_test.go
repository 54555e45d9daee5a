package transcode

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"testing"
)

// longFilm is what the beginning of a film shows, and what all of it does.
func longFilm() (head, whole Probe) {
	whole = Probe{
		Format: "matroska,webm", Seconds: 3599.7, SizeBytes: 4 << 30, BitrateBPS: 9_000_000,
		Video: &VideoStream{Codec: "h264", Width: 1920, Height: 1080, Rate: Rational{25, 1}, PixelFormat: "yuv420p", MaxGapSeconds: 0.04, MaxGOPSeconds: 10, EndSeconds: 3598.3},
		Audio: &AudioStream{Codec: "ac3", Channels: 6, SampleRate: 48000, EndSeconds: 3599.1},
	}
	head = whole
	video, audio := *whole.Video, *whole.Audio
	video.EndSeconds, video.MaxGOPSeconds, audio.EndSeconds = HeadSeconds, 4, HeadSeconds
	head.Video, head.Audio = &video, &audio
	return head, whole
}

// What is planned of the beginning, and then of the rest, is each segment of each rendition
// once, and no two units have the same name.
func TestHeadIsContinued(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]Request{
		"usual":    {},
		"short":    {SegmentSeconds: 2},
		"long":     {SegmentSeconds: 6},
		"apart":    {Output: Output{Codec: CodecH265, Container: ContainerCMAF}},
		"no sound": {Output: Output{Audio: AudioNone}},
	} {
		t.Run(name, func(t *testing.T) {
			r.Source, r.Progressive = "film.mkv", true
			head, whole := longFilm()
			begun, err := Division{Workers: 2}.PlanHead(r, head)
			if err != nil || !begun.Provisional || len(begun.Units) == 0 {
				t.Fatalf("%d units, note %q, %v; want a beginning", len(begun.Units), begun.Note, err)
			}
			if seconds := begun.Grid.Seconds(begun.Head * begun.Grid.SegmentFrames); seconds < 60 || seconds > HeadSeconds {
				t.Errorf("%.0f s are planned; want a minute or two", seconds)
			}
			known := begun
			known.Units = nil
			plan, err := Division{Workers: 9, Begun: &known}.Plan(r, whole)
			if err != nil || plan.Provisional || plan.Head != begun.Head {
				t.Fatalf("%+v, %v; want the rest", plan.Note, err)
			}
			all := append(slices.Clone(begun.Units), plan.Units...)
			names := map[string]bool{}
			for _, u := range all {
				if names[u.ID] {
					t.Errorf("two units are called %s", u.ID)
				}
				names[u.ID] = true
			}
			for _, dir := range plan.Dirs() {
				wantTiled(t, dir, all, len(plan.PlannedSegments(dir)))
			}
		})
	}
}

// wantTiled makes sure that units make each of this many segments of a rendition once. The
// last portion of audio makes what there is.
func wantTiled(t *testing.T, dir string, units []Unit, segments int) {
	t.Helper()
	var spans [][2]int
	for _, u := range units {
		for _, p := range Pieces(u, Result{}) {
			switch {
			case p.Unit.Dir() != dir:
			case u.Video != nil:
				first, end := u.Video.Segments()
				spans = append(spans, [2]int{first, end})
			case u.Audio != nil:
				spans = append(spans, [2]int{u.Audio.First, cmp.Or(u.Audio.End, segments)})
			}
		}
	}
	slices.SortFunc(spans, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
	next := 0
	for _, s := range spans {
		if s[0] != next {
			t.Fatalf("%s: units make %v; want each segment once", dir, spans)
		}
		next = s[1]
	}
	if next != segments {
		t.Errorf("%s: %d segments are made; want %d", dir, next, segments)
	}
}

// Sources whose beginning leaves doubt about the rest are not planned by it, and the note says
// why; of those that are short, there is nothing to say.
func TestDoubtsAboutTheRest(t *testing.T) {
	t.Parallel()
	for why, change := range map[string]func(r *Request, p *Probe){
		"mpegts does not say": func(_ *Request, p *Probe) { p.Format = "mpegts" },
		"time stamps":         func(_ *Request, p *Probe) { p.Damaged = true },
		"pauses":              func(_ *Request, p *Probe) { p.Video.Pauses = []Held{{From: 5, To: 8}} },
		"several videos":      func(_ *Request, p *Probe) { p.OtherVideos = []string{"another"} },
		"its frame rate":      func(_ *Request, p *Probe) { p.Unsure = "its frame rate varies" },
		"subtitles":           func(_ *Request, p *Probe) { p.Subtitles = []SubtitleStream{{Codec: "subrip"}} },
		"are all over it": func(r *Request, p *Probe) {
			r.BurnSubtitles, p.Subtitles = "de", []SubtitleStream{{TrackInfo: TrackInfo{Language: "de"}, Codec: "hdmv_pgs_subtitle", Image: true}}
		},
		"divided": func(r *Request, _ *Probe) { r.SegmentSeconds = 30 },
	} {
		r := Request{Source: "film.mkv", Output: Output{Progressive: true}}
		head, _ := longFilm()
		change(&r, &head)
		plan, err := Division{}.PlanHead(r, head)
		if err != nil || len(plan.Units) > 0 || !plan.Provisional || !strings.Contains(plan.Note, why) {
			t.Errorf("%s: %d units, note %q, %v; want no units and a note", why, len(plan.Units), plan.Note, err)
		}
	}
	head, _ := longFilm()
	for name, r := range map[string]Request{"not progressive": {}, "of a quality": {Output: Output{Progressive: true, Quality: 80}}} {
		if _, err := (Division{}).PlanHead(r, head); !errors.Is(err, ErrNoHead) {
			t.Errorf("%s: %v; want %v", name, err, ErrNoHead)
		}
	}
	head.Seconds = 100
	if _, err := (Division{}).PlanHead(Request{Output: Output{Progressive: true}}, head); !errors.Is(err, ErrNoHead) {
		t.Errorf("of a short film: %v; want %v", err, ErrNoHead)
	}
}

// What all of a source shows cannot change what was announced of its beginning.
func TestRestThatDiffersIsRefused(t *testing.T) {
	t.Parallel()
	r := Request{Source: "film.mkv", Output: Output{Progressive: true}}
	head, _ := longFilm()
	begun, err := Division{}.PlanHead(r, head)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(p *Probe){
		"it ends after 50.0 s": func(p *Probe) { p.Video.EndSeconds = 50 },
		"of another kind":      func(p *Probe) { p.Audio = nil },
		"its beginning was":    func(p *Probe) { p.Video.Rate = Rational{50, 1} },
		"submit it again":      func(p *Probe) { p.Spans = []Span{{}, {First: 5, At: 1000}} },
	} {
		_, whole := longFilm()
		change(&whole)
		if plan, err := (Division{Begun: &begun}).Plan(r, whole); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d units, %v; want an error with %q", len(plan.Units), err, want)
		}
	}
}
