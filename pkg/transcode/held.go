package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// A Held is a stretch of the grid without a frame: the one before it is shown on.
type Held struct {
	From float64 `json:"from"` // seconds
	To   float64 `json:"to"`   // seconds
}

const (
	maxHeld   = 100 // of one unit
	maxPauses = 300 // of one stream
	// pauseSeconds is the shortest stretch without frames that is kept of a source, and
	// that a note is about.
	pauseSeconds = 1
	// beside is how far a stretch that a unit reports may lie from what the packets say.
	beside = 0.6
)

// checkHeld looks for impossible values.
func checkHeld(list []Held, most int) error {
	outside := func(h Held) bool { return !sane(h.From, maxSeconds) || !sane(h.To, maxSeconds) || h.To < h.From }
	if len(list) > most || slices.ContainsFunc(list, outside) {
		return errors.New("stretches without frames are out of range")
	}
	return nil
}

func checkPauses(p Probe) error {
	var err error
	if p.Video != nil {
		err = errors.Join(checkHeld(p.Video.Pauses, maxPauses), checkHeld(p.Video.Still, maxPauses))
	}
	for _, a := range p.AudioStreams() {
		err = errors.Join(err, checkHeld(a.Pauses, maxPauses), checkHeld(a.Still, maxPauses))
	}
	if p.UnreadBytes < 0 {
		err = errors.Join(err, fmt.Errorf("%d bytes that were not read are out of range", p.UnreadBytes))
	}
	return err
}

// NoteHeld notes where units decoded nothing for a second longer than the packets of
// the source let expect.
func (p *Plan) NoteHeld(probe Probe, results map[string]Result) {
	var video, audio []Held
	sound := map[string][]Held{}
	for _, a := range probe.AudioStreams() {
		for _, r := range p.AudioRenditions() {
			if r.Stream == a.Stream {
				sound[r.Dir()] = a.Pauses
			}
		}
	}
	dirs := map[string]string{}
	for _, u := range p.Units {
		dirs[u.ID] = u.Dir()
	}
	for id, r := range results {
		if pauses, ok := sound[cmp.Or(dirs[id], id)]; ok {
			audio = append(audio, without(r.Held, pauses)...)
		} else {
			video = append(video, r.Held...)
		}
	}
	if probe.Video != nil {
		p.noteStretches("the picture stands still", lasting(without(merged(video), probe.Video.Pauses), probe.Video.unexamined()))
	}
	p.noteStretches("the sound is silent", lasting(merged(audio), 0))
}

// unexamined returns the longest pause of a source whose pauses are not known one by
// one: one of earlier versions, or with too many.
func (v VideoStream) unexamined() float64 {
	if len(v.Pauses) == 0 || len(v.Pauses) >= maxPauses {
		return v.MaxGapSeconds
	}
	return 0
}

// noteStretches notes what happens where nothing was decoded.
func (p *Plan) noteStretches(what string, list []Held) {
	switch seconds := total(list); {
	case len(list) == 1:
		p.note("%s for %.1f s from %.1f s on, because nothing could be decoded there", what, seconds, list[0].From)
	case len(list) > 1:
		p.note("%s for %.1f s in %d places, the first at %.1f s, because nothing could be decoded there", what, seconds, len(list), list[0].From)
	}
}

// noteGaps notes what the source itself lacks.
func (p *Plan) noteGaps(probe Probe, o Options) {
	if picture := probe.pictureGaps(); len(picture) > 0 {
		p.note("the source has no picture for %.1f s, from %.1f s on: the one before stands still there", total(picture), picture[0].From)
	}
	if sound := probe.soundGaps(); len(sound) > 0 {
		p.note("the source has no sound for %.1f s, from %.1f s on", total(sound), sound[0].From)
	}
	if v := probe.Video; v != nil && len(v.Still) > 0 {
		p.noteStill("the picture stands still", "-c:v libx264", v.Still, o.Encoder)
	}
	if a := probe.Audio; a != nil && len(a.Still) > 0 {
		p.noteStill("there is no sound", "-c:a aac", a.Still, o.AudioEncoder)
	}
	if probe.UnreadBytes > 0 {
		p.note("nothing could be read of the last %.1f MB of the source", float64(probe.UnreadBytes)/1e6)
	}
	if probe.MoreFilms > 0 {
		more := "1 more film that was"
		if probe.MoreFilms > 1 {
			more = fmt.Sprintf("%d more films that were", probe.MoreFilms)
		}
		if probe.MoreSeconds > 0 {
			more = fmt.Sprintf("%.1f s of %s", probe.MoreSeconds, more)
		}
		p.note("not in the output: %s appended to an MP4 file: players see the first alone", more)
	}
	if v := probe.Video; v != nil && probe.Audio != nil && v.EndSeconds > 0 && probe.Audio.EndSeconds > v.EndSeconds+pauseSeconds {
		p.note("the video ends %.1f s before the sound", probe.Audio.EndSeconds-v.EndSeconds)
	}
}

// noteStill notes what an edit list holds, which a copy does not.
func (p *Plan) noteStill(what, instead string, list []Held, encoder string) {
	if encoder == EncoderCopy {
		p.note("by the edit list of the source, %s for %.1f s, from %.1f s on: a copy does not keep that; %s does", what, total(list), list[0].From, instead)
		return
	}
	p.note("by the edit list of the source, %s for %.1f s, from %.1f s on", what, total(list), list[0].From)
}

// broadcast reports whether a source is of a kind that has pictures and sound all the
// time. In others, a picture may stand still for as long as there is sound.
func (p Probe) broadcast() bool { return p.Format == "mpegts" || p.Format == "mpeg" }

// pictureGaps returns where pictures are missing in the source.
func (p Probe) pictureGaps() []Held {
	if p.Video == nil || p.Audio == nil && !p.broadcast() {
		return nil
	}
	gaps := merged(afterStart(p.Video.Pauses))
	for _, a := range p.AudioStreams() {
		if !p.broadcast() {
			gaps = lasting(common(gaps, a.Pauses), 0)
		}
	}
	return gaps
}

// soundGaps returns where sound is missing in the source.
func (p Probe) soundGaps() []Held {
	switch {
	case p.Audio == nil:
		return nil
	case p.broadcast():
		return merged(afterStart(p.Audio.Pauses))
	}
	return lasting(common(p.pictureGaps(), p.Audio.Pauses), 0)
}

// afterStart leaves out what comes before a stream: a film may begin after its sound.
func afterStart(pauses []Held) []Held {
	return slices.DeleteFunc(slices.Clone(pauses), func(h Held) bool { return h.From == 0 })
}

// merged joins stretches that follow on each other, of units and of renditions.
func merged(all []Held) []Held {
	slices.SortFunc(all, func(a, b Held) int { return cmp.Compare(a.From, b.From) })
	var list []Held
	for _, h := range all {
		if n := len(list); n > 0 && h.From <= list[n-1].To+0.5 {
			list[n-1].To = max(list[n-1].To, h.To)
			continue
		}
		list = append(list, h)
	}
	return list
}

// without returns what of stretches is outside of pauses.
func without(all, pauses []Held) []Held {
	var list []Held
	for _, h := range all {
		for _, p := range pauses {
			if p.To+beside <= h.From || p.From-beside >= h.To {
				continue
			}
			if p.From-beside > h.From {
				list = append(list, Held{h.From, p.From - beside})
			}
			h.From = min(max(h.From, p.To+beside), h.To)
		}
		list = append(list, h)
	}
	return list
}

// common returns what is in both lists.
func common(a, b []Held) []Held {
	var list []Held
	for _, x := range a {
		for _, y := range b {
			if h := (Held{max(x.From, y.From), min(x.To, y.To)}); h.To > h.From {
				list = append(list, h)
			}
		}
	}
	return list
}

// lasting returns the stretches that are a second longer than this.
func lasting(list []Held, than float64) []Held {
	return slices.DeleteFunc(list, func(h Held) bool { return h.To-h.From <= pauseSeconds+than })
}

func total(list []Held) float64 {
	seconds := 0.0
	for _, h := range list {
		seconds += h.To - h.From
	}
	return seconds
}
