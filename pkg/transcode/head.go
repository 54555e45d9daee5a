package transcode

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The beginning of a progressive stream is planned, and made, while the rest of its source is
// still being probed, where the container says enough of the rest. What is planned then is
// kept: the plan of the whole source continues it.

// HeadSeconds is how much of the beginning of a source is probed first.
const HeadSeconds = 130

const (
	// silentHead is how much is planned of a source without sound.
	silentHead = 80
	// leastWhole is how long a source is at least: of a shorter one, all is known soon.
	leastWhole = 2 * HeadSeconds
	maxUnsure  = 100 // bytes
)

// ErrNoHead reports that nothing is planned before all of a source is known.
var ErrNoHead = errors.New("the source is short, or its request is not for a progressive stream")

// PlanHead plans the beginning of a progressive stream by a probe of the beginning of its
// source. Where that leaves doubt about the rest, the plan has nothing but a note that says
// why. The error matches ErrNoHead if there is nothing to gain.
func (d Division) PlanHead(r Request, p Probe) (Plan, error) {
	if !r.Progressive || r.Quality > 0 || len(r.InputOptions)+len(r.Options) > 0 || p.Video == nil || p.Seconds < leastWhole {
		return Plan{}, ErrNoHead
	}
	waits := func(why string) (Plan, error) {
		return Plan{Provisional: true, Note: "the first segments come after all of the video was examined, because " + why}, nil
	}
	if why := p.unsure(); why != "" {
		return waits(why)
	}
	d.Begun = &Plan{}
	plan, err := d.Plan(r, p.asFarAsSaid())
	if err != nil {
		return Plan{}, err
	}
	other := func(u Unit) bool { return u.Video == nil && u.Audio == nil }
	switch {
	case len(plan.Subtitles) > 0 || r.BurnSubtitles != "":
		return waits("its subtitles are all over it")
	case slices.ContainsFunc(plan.Units, other) || slices.ContainsFunc(plan.Units, Unit.whole):
		return waits("a part of it is made in one go")
	}
	head := plan.Grid.headSegments(plan.Units)
	if head == 0 {
		return waits("its sound cannot be divided where a segment begins")
	}
	d.Begun = &Plan{Head: head}
	if plan, err = d.Plan(r, p.asFarAsSaid()); err != nil {
		return Plan{}, err
	}
	plan.Provisional, plan.Head, plan.Note = true, head, ""
	plan.Units = slices.DeleteFunc(plan.Units, func(u Unit) bool { return !plan.inHead(u) })
	return plan, nil
}

// unsure returns why the beginning of a source does not tell enough of the rest; "" if it does.
func (p Probe) unsure() string {
	silent := func(a AudioStream) bool { return len(a.Still) > 0 }
	switch {
	case !p.indexed():
		return fmt.Sprintf("%s does not say what is where in it", p.Format)
	case len(p.Spans)+len(p.Parts)+p.MoreFilms > 0 || p.Untimed || p.Damaged:
		return "its time stamps leave doubt"
	case len(p.Video.Pauses)+len(p.Video.Still) > 0 || slices.ContainsFunc(p.AudioStreams(), silent):
		return "it has pauses"
	case len(p.OtherVideos) > 0:
		return "it has several videos"
	}
	return p.Unsure[:min(len(p.Unsure), maxUnsure)]
}

// asFarAsSaid returns p as if its streams went on to the end that the container says.
func (p Probe) asFarAsSaid() Probe {
	video := *p.Video
	video.EndSeconds = p.Seconds
	p.Video = &video
	if p.Audio != nil {
		audio := *p.Audio
		audio.EndSeconds = p.Seconds
		p.Audio = &audio
	}
	p.MoreAudio = slices.Clone(p.MoreAudio)
	for i := range p.MoreAudio {
		p.MoreAudio[i].EndSeconds = p.Seconds
	}
	return p
}

// whole reports whether one unit makes all of a rendition.
func (u Unit) whole() bool {
	return u.Audio != nil && u.Audio.First == 0 && u.Audio.End == 0 ||
		u.Video != nil && (u.Video.Container == ContainerNUT || u.Video.FirstFrame == 0 && u.Video.EndFrame == u.Video.Grid.Frames)
}

// headSegments returns how many segments the head has: all audio renditions have a portion
// that ends there; 0 if they never do within what was probed.
func (g Grid) headSegments(units []Unit) int {
	renditions, at := map[string]bool{}, map[int]int{} // at: how many of them have a portion that ends there
	for _, u := range units {
		if u.Audio != nil && u.Audio.End > 0 {
			renditions[u.Dir()] = true
			at[u.Audio.End]++
		}
	}
	segment := g.Seconds(g.SegmentFrames)
	if len(renditions) == 0 {
		return int(math.Ceil(silentHead / segment))
	}
	head := 0
	for end, n := range at {
		if n == len(renditions) && float64(end)*segment <= HeadSeconds-segment {
			head = max(head, end)
		}
	}
	return head
}

// inHead reports whether u makes what was planned first.
func (p Plan) inHead(u Unit) bool {
	return u.from() < p.Grid.Seconds(p.Head*p.Grid.SegmentFrames)-p.Grid.Seconds(1)/2
}

// straddles reports whether u makes some of the head, and some of what follows on it.
func (p Plan) straddles(u Unit) bool {
	_, to := u.Span()
	return p.inHead(u) && to > p.Grid.Seconds(p.Head*p.Grid.SegmentFrames)+p.Grid.Seconds(1)/2
}

// cutHead returns where the units of the head begin, short ones first, and then the others.
func cutHead(head, fewest, most int, others []int) []int {
	var cuts []int
	for next, length := 0, fewest; next < head; length = min(2*length, most) {
		cuts = append(cuts, next)
		if next += length; head-next < fewest {
			next = head
		}
	}
	for _, cut := range others {
		cuts = append(cuts, head+cut)
	}
	return cuts
}

// continueHead leaves out of p what was planned before, which p must agree with.
func (p *Plan) continueHead(begun Plan) error {
	if begun.Head == 0 {
		if begun.Note != "" {
			p.note("%s", begun.Note)
		}
		return nil
	}
	if p.Head = begun.Head; p.Grid.Segments() <= p.Head {
		return fmt.Errorf("it ends after %.1f s, and its header says otherwise; submit it again without --progressive", p.Grid.Seconds(p.Grid.Frames))
	}
	if len(begun.Renditions) == 0 {
		return nil // this is its plan
	}
	was, err := begun.shape()
	if err != nil {
		return err
	}
	is, err := p.shape()
	if err != nil {
		return err
	}
	if was != is || slices.ContainsFunc(p.Units, p.straddles) {
		return errors.New("its beginning was published, and the rest of it is of another kind; submit it again without --progressive")
	}
	p.Units = slices.DeleteFunc(p.Units, p.inHead)
	return nil
}

// shape is what playlists say of a stream in their first lines.
func (p Plan) shape() (string, error) {
	audio := p.AudioRenditions()
	for i := range audio {
		audio[i].Seconds = 0
	}
	text, err := json.Marshal([]any{p.Grid.Rate, p.Grid.SegmentFrames, p.Renditions, audio, p.Subtitles, p.Captions, p.CaptionsKnown})
	if err != nil {
		return "", fmt.Errorf("comparing plans: %w", err)
	}
	return string(text), nil
}
