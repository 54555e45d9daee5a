package transcode

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"pibootd/pkg/transcode/mediafile"
)

// AudioName names the audio unit and the directory of its segments.
const AudioName = "audio"

// An audio rendition is AAC-LC at AudioSampleRate unless the request wants another
// encoder or rate. All its frames have the same number of samples, so that its
// length follows from its frames.
const (
	AudioSampleRate   = 48000
	AudioFrameSamples = mediafile.AACFrameSamples
	AudioCodecs       = mediafile.AACCodecs

	audioChannelBPS = 48_000
)

// AudioSeconds returns the time that this many frames of AAC take at AudioSampleRate.
func AudioSeconds(frames int) float64 { return AudioRendition{}.Time(frames) }

// Rate returns the samples per second of r.
func (r AudioRendition) Rate() int { return cmp.Or(r.SampleRate, AudioSampleRate) }

// Time returns the time in seconds that this many frames of r take.
func (r AudioRendition) Time(frames int) float64 {
	return float64(frames) * float64(r.codec().frameSamples) / float64(r.Rate())
}

// Frames returns the number of frames of r that this time takes.
func (r AudioRendition) Frames(seconds float64) int {
	return int(seconds * float64(r.Rate()) / float64(r.codec().frameSamples))
}

// ticks returns the time of this many frames in 90 kHz ticks.
func (r AudioRendition) ticks(frames int) int64 {
	return int64(math.Round(r.Time(frames) * mediafile.TicksPerSecond))
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

// audioAt returns the audio stream in this place among those of the source.
func (p Probe) audioAt(stream int) AudioStream {
	for _, a := range p.AudioStreams() {
		if a.Stream == stream {
			return a
		}
	}
	return AudioStream{}
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

// chosenAudio returns the audio streams of p that o keeps, the default one first.
func (p *Plan) chosenAudio(o Output, probe Probe) []AudioStream {
	all := probe.AudioStreams()
	if len(o.AudioTracks) == 0 && len(o.AudioLangs) == 0 {
		return all
	}
	var chosen, left []AudioStream
	for _, a := range all {
		if o.audioPlace(a) < 0 {
			left = append(left, a)
		} else {
			chosen = append(chosen, a)
		}
	}
	slices.SortStableFunc(chosen, func(a, b AudioStream) int { return cmp.Compare(o.audioPlace(a), o.audioPlace(b)) })
	if len(chosen) == 0 && len(all) > 0 {
		p.note("the source has none of the audio tracks that were asked for; its default one is used")
		chosen, left = all[:1], all[1:]
	}
	p.noteAudio(left)
	return chosen
}

// audioPlace returns the place of a stream in the choice of o; -1 if it is not in it.
func (o Output) audioPlace(a AudioStream) int {
	if len(o.AudioTracks) > 0 {
		return slices.Index(o.AudioTracks, a.Stream+1)
	}
	return slices.IndexFunc(o.AudioLangs, func(lang string) bool {
		want := Language(lang)
		return a.Language == want || strings.HasPrefix(a.Language, want+"-")
	})
}

// noteAudio says which audio streams the output lacks.
func (p *Plan) noteAudio(left []AudioStream) {
	var lacks []string
	for _, a := range left {
		lacks = append(lacks, a.named("audio", a.Stream))
	}
	if len(lacks) > 0 {
		p.note("not in the output, because others were asked for: %s", strings.Join(lacks, "; "))
	}
}

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
	rendition := AudioRendition{
		TrackInfo:  a.TrackInfo,
		Name:       name,
		BitrateBPS: cmp.Or(bitrate, channels*audioChannelBPS),
		Channels:   channels,
		Seconds:    audioSeconds(p, a),
	}
	if p.Video != nil && !o.IsFile() {
		rendition.Seconds = max(rendition.Seconds, leastStream)
	}
	return rendition
}

// audioUnits returns a unit for each audio rendition; of a progressive stream, one for
// each portion of it.
func audioUnits(r Request, p Probe, grid Grid, renditions []AudioRendition, o Options) []Unit {
	var units []Unit
	still := map[int][]Held{}
	for _, a := range p.AudioStreams() {
		still[a.Stream] = a.Still
	}
	for _, rendition := range renditions {
		audio := AudioUnit{
			Rendition:      rendition,
			SourceStart:    p.Start,
			CutSeconds:     p.CutSeconds,
			Spans:          p.Spans,
			Parts:          p.audioParts(rendition.Stream),
			Still:          still[rendition.Stream],
			SegmentSeconds: grid.Seconds(grid.SegmentFrames),
			Container:      r.unitContainer(),
			Filter:         o.AudioFilter,
			Options:        o.Audio,
		}
		portions := []portion{{}}
		if rendition.loose() {
			audio.Container = ContainerNUT
		} else if r.Progressive {
			portions = audio.portions()
		}
		for _, portion := range portions {
			unit, id := audio, rendition.Dir()
			if unit.First, unit.End = portion.first, portion.end; portion.first > 0 {
				id = fmt.Sprintf("%s-from-%05d", id, portion.first)
			}
			units = append(units, Unit{ID: id, Kind: KindAudio, Source: r.Source, Audio: &unit})
		}
	}
	return units
}
