package transcode

import (
	"cmp"
	"fmt"

	"pibootd/pkg/transcode/mediafile"
)

// AudioName names the audio unit and the directory of its segments.
const AudioName = "audio"

// Every audio rendition is AAC-LC at one rate, so that its length follows from
// its frames.
const (
	AudioSampleRate   = 48000
	AudioFrameSamples = mediafile.AACFrameSamples
	AudioCodecs       = mediafile.AACCodecs

	audioFrameTicks = AudioFrameSamples * mediafile.TicksPerSecond / AudioSampleRate
	audioChannelBPS = 48_000
)

// AudioSeconds returns the time that this many audio frames take.
func AudioSeconds(frames int) float64 {
	return float64(frames) * AudioFrameSamples / AudioSampleRate
}

// audioSeconds returns when an audio stream of p ends.
func audioSeconds(p Probe, a AudioStream) float64 {
	if a.EndSeconds > 0 {
		return a.EndSeconds
	}
	return p.Seconds
}

// AudioStreams returns all audio streams of p, the default one first.
func (p Probe) AudioStreams() []AudioStream {
	if p.Audio == nil {
		return nil
	}
	return append([]AudioStream{*p.Audio}, p.MoreAudio...)
}

// AudioRenditions returns all audio renditions of p, the default one first.
func (p Plan) AudioRenditions() []AudioRendition {
	if p.Audio == nil {
		return nil
	}
	return append([]AudioRendition{*p.Audio}, p.MoreAudio...)
}

// Dir returns the directory of r's segments in a published stream.
func (r AudioRendition) Dir() string { return cmp.Or(r.Name, AudioName) }

// Most channels of a rendition: stereo is what every player can play, and AAC-LC
// has up to eight.
const (
	stereoChannels = 2
	maxChannels    = 8
)

// audioRenditions returns the audio encodings for p: of each stream one of stereo or
// mono and, if it has more channels, another with all of them. A file has one of
// each stream, since players mix its channels themselves.
func audioRenditions(r Request, p Probe, streams []AudioStream) []AudioRendition {
	var list []AudioRendition
	for i, a := range streams {
		name := ""
		if i > 0 {
			name = fmt.Sprintf("%s-%d", AudioName, i+1)
		}
		few, all := min(max(a.Channels, 1), stereoChannels), min(a.Channels, maxChannels)
		if r.IsFile() {
			few = max(few, all)
		}
		list = append(list, audioRendition(r.Output, p, a, name, few))
		if all > few {
			list = append(list, audioRendition(r.Output, p, a, fmt.Sprintf("%s-%dch", cmp.Or(name, AudioName), all), all))
		}
	}
	return list
}

func audioRendition(o Output, p Probe, a AudioStream, name string, channels int) AudioRendition {
	bitrate := o.AudioBPS
	if bitrate > 0 && channels > stereoChannels && !o.IsFile() {
		bitrate = min(bitrate*channels/stereoChannels, maxAudioBPS)
	}
	return AudioRendition{
		TrackInfo:  a.TrackInfo,
		Name:       name,
		BitrateBPS: cmp.Or(bitrate, channels*audioChannelBPS),
		Channels:   channels,
		Seconds:    audioSeconds(p, a),
	}
}

// audioUnits returns a unit for each audio rendition.
func audioUnits(r Request, p Probe, grid Grid, renditions []AudioRendition, o Options) []Unit {
	var units []Unit
	for _, rendition := range renditions {
		units = append(units, Unit{
			ID:     rendition.Dir(),
			Kind:   KindAudio,
			Source: r.Source,
			Audio: &AudioUnit{
				Rendition:      rendition,
				SourceStart:    p.Start,
				SegmentSeconds: grid.Seconds(grid.SegmentFrames),
				Container:      r.unitContainer(),
				Options:        o.Audio,
			},
		})
	}
	return units
}
