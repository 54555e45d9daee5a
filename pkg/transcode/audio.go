package transcode

import (
	"cmp"

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

// audioSeconds returns when p's audio ends.
func audioSeconds(p Probe) float64 {
	if p.Audio.EndSeconds > 0 {
		return p.Audio.EndSeconds
	}
	return p.Seconds
}

// audioRendition returns the audio encoding for p: stereo or mono.
func audioRendition(o Output, p Probe) *AudioRendition {
	channels := min(max(p.Audio.Channels, 1), 2)
	return &AudioRendition{
		BitrateBPS: cmp.Or(o.AudioBPS, channels*audioChannelBPS),
		Channels:   channels,
		Seconds:    audioSeconds(p),
	}
}

func audioUnit(r Request, p Probe, grid Grid, rendition AudioRendition, o Options) Unit {
	return Unit{
		ID:     AudioName,
		Kind:   KindAudio,
		Source: r.Source,
		Audio: &AudioUnit{
			Rendition:      rendition,
			SourceStart:    p.Start,
			SegmentSeconds: grid.Seconds(grid.SegmentFrames),
			Container:      r.unitContainer(),
			Options:        o.Audio,
		},
	}
}
