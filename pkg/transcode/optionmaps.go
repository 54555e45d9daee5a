package transcode

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// addMap adds a choice of streams, which a source has to be known for.
func (o *Options) addMap(value string) error {
	if !mapValue.MatchString(value) {
		return fmt.Errorf("%.50q; want streams of the source, such as 0:v:0 or 0:a", value)
	}
	o.maps = append(o.maps, value)
	return nil
}

// choose decides by the values of -map what of a source is in the output.
func (o *Options) choose(p Probe) error {
	if len(o.maps) == 0 {
		return nil
	}
	c := choice{probe: p}
	for _, value := range o.maps {
		if err := c.add(value); err != nil {
			return fmt.Errorf("ffmpeg option -map %.50s: %w", value, err)
		}
	}
	if !c.film {
		return errors.New("ffmpeg option -map: none of them is the video; want 0:v:0 among them, for a file without video is not made here")
	}
	o.NoAudio, o.NoSubtitles = o.NoAudio || len(c.audio) == 0, o.NoSubtitles || c.noText
	for _, stream := range c.audio {
		o.AudioTracks = append(o.AudioTracks, stream+1)
	}
	return nil
}

// A choice is what values of -map have chosen of a source.
type choice struct {
	probe  Probe
	film   bool
	audio  []int // AudioStream.Stream, in order
	noText bool
}

// add adds a value, such as 0:a:1, or takes away what one that begins with - names.
func (c *choice) add(value string) error {
	value, without := strings.CutPrefix(strings.TrimSuffix(value, "?"), "-")
	kind, number, numbered := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(value, "0"), ":"), ":")
	n, err := strconv.Atoi(number)
	if numbered && err != nil {
		return errors.New("want a number of a stream, such as 0:a:1")
	}
	switch kind {
	case "":
		c.film = !without
		c.sound(without, func(AudioStream) bool { return true })
	case "v", "V":
		if n > 0 {
			return errors.New("only one video is encoded, the longest that is no picture; want 0:v:0")
		}
		c.film = !without
	case "a":
		c.sound(without, func(a AudioStream) bool { return !numbered || a.Stream == n })
	case "s":
		c.noText = c.noText || without && !numbered
	case "d", "t":
	default:
		return c.place(kind, without)
	}
	return nil
}

// place adds a stream by its place among all.
func (c *choice) place(number string, without bool) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return errors.New("want streams such as 0:v:0 or 0:a")
	}
	if v := c.probe.Video; v != nil && (v.Index == n+1 || v.Map == "0:"+number) {
		c.film = !without
		return nil
	}
	at := func(t TrackInfo) bool { return t.Index == n+1 }
	if slices.ContainsFunc(c.probe.Subtitles, func(s SubtitleStream) bool { return at(s.TrackInfo) }) {
		return nil
	}
	if !slices.ContainsFunc(c.probe.AudioStreams(), func(a AudioStream) bool { return at(a.TrackInfo) }) {
		return errors.New("that stream is neither the film nor audio or subtitles of the source; want 0:v:0, or one such as 0:a:1")
	}
	c.sound(without, func(a AudioStream) bool { return at(a.TrackInfo) })
	return nil
}

// sound adds the audio streams that match, or takes them away.
func (c *choice) sound(without bool, match func(AudioStream) bool) {
	for _, a := range c.probe.AudioStreams() {
		if !match(a) {
			continue
		}
		c.audio = slices.DeleteFunc(c.audio, func(stream int) bool { return stream == a.Stream })
		if !without {
			c.audio = append(c.audio, a.Stream)
		}
	}
}
