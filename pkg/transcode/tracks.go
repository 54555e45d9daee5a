package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pibootd/pkg/transcode/mediafile"
)

// Limits of what a probe may list.
const (
	maxStreams  = 64 // of one kind
	maxChapters = 1000
	maxTags     = 64
	maxTagBytes = 1000 // of one value

	maxTextBytes = mediafile.MaxTextBytes
)

// checkTracksOf looks for impossible values of everything but the video.
func checkTracksOf(p Probe) error {
	if max(len(p.MoreAudio), len(p.Subtitles), len(p.Unread), len(p.OtherVideos)) > maxStreams || len(p.Chapters) > maxChapters || len(p.Tags) > maxTags {
		return fmt.Errorf("%d audio streams, %d of subtitles, %d chapters, %d tags; want fewer", 1+len(p.MoreAudio), len(p.Subtitles), len(p.Chapters), len(p.Tags))
	}
	for _, a := range p.AudioStreams() {
		ok := shortText(a.Codec) && within(a.Channels, 1024) && within(a.SampleRate, 1<<24) &&
			saneBitrate(a.BitrateBPS) && sane(a.EndSeconds, maxStart) && a.TrackInfo.sane()
		if !ok {
			return errors.New("a number of an audio stream is out of range")
		}
	}
	for _, s := range p.Subtitles {
		if s.File != "" || !shortText(s.Codec) || !s.TrackInfo.sane() || !within(s.Cues, maxFrames) || !s.sane() {
			return errors.New("a number of a subtitle stream is out of range")
		}
	}
	return checkTexts(p)
}

func checkTexts(p Probe) error {
	for _, c := range p.Chapters {
		if !sane(c.StartSeconds, maxStart) || !sane(c.EndSeconds, maxStart) || !shortText(c.Title) {
			return errors.New("a chapter is out of range")
		}
	}
	for name, value := range p.Tags {
		if !shortText(name) || len(value) > maxTagBytes {
			return errors.New("a tag is too long")
		}
	}
	for _, text := range slices.Concat(p.Unread, p.OtherVideos) {
		if !shortText(text) {
			return errors.New("the name of a stream is too long")
		}
	}
	return nil
}

// sane reports whether t can be what a worker read.
func (t TrackInfo) sane() bool {
	return within(t.Stream, maxStreams*maxStreams) && shortText(t.Language) && shortText(t.Title)
}

// noteTracks says what of the source's tracks the output lacks.
func (p *Plan) noteTracks(probe Probe) {
	for i, a := range probe.AudioStreams() {
		if a.Channels > maxChannels {
			p.note("%s has %d channels; the output has %d", a.named("audio", i), a.Channels, maxChannels)
		}
	}
	if len(probe.OtherVideos) > 0 {
		p.note("not in the output: the other video of the source, %s", strings.Join(probe.OtherVideos, ", "))
	}
	if len(probe.Unread) > 0 {
		p.note("not in the output: streams of the source, %s", strings.Join(probe.Unread, ", "))
	}
}

// named names a stream in a sentence: by kind, number, and what the source calls it.
func (t TrackInfo) named(kind string, place int) string {
	if name := cmp.Or(t.Title, LanguageName(t.Language)); name != "" {
		return fmt.Sprintf("%s %d, %s", kind, place+1, name)
	}
	return fmt.Sprintf("%s %d", kind, place+1)
}
