package transcode

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// An audioCodec is what an audio encoder makes in MP4.
type audioCodec struct {
	codecs       string // RFC 6381
	frameSamples int
	rates        []int
	channels     int // at most
	bitrateBPS   int // at most
}

// audioCodecs returns the codecs of the audio encoders whose frames all have the same
// number of samples, by ffmpeg's name of the encoder. Only those are joined from units.
func audioCodecs() map[string]audioCodec {
	rates := []int{32000, 44100, 48000}
	aac := audioCodec{AudioCodecs, AudioFrameSamples, audioRates, 8, 512_000}
	opus := audioCodec{"Opus", 960, rates[2:], 8, 510_000}
	return map[string]audioCodec{
		EncoderAAC:   aac,
		"libfdk_aac": aac,
		"libmp3lame": {"mp4a.6b", 1152, rates, 2, 320_000},
		"ac3":        {"ac-3", 1536, rates, 6, 640_000},
		"eac3":       {"ec-3", 1536, rates, 6, 1_000_000},
		"libopus":    opus,
		"opus":       opus,
	}
}

// EncoderName returns ffmpeg's name of r's encoder.
func (r AudioRendition) EncoderName() string { return cmp.Or(r.Encoder, EncoderAAC) }

func (r AudioRendition) codec() audioCodec { return audioCodecs()[r.EncoderName()] }

// use makes r a rendition of this encoder at this sample rate; "" and 0 mean the default.
func (r *AudioRendition) use(encoder string, rate int) {
	r.Encoder = encoder
	if r.SampleRate = rate; r.loose() {
		return
	}
	r.SampleRate = 0
	codec := r.codec()
	r.Channels, r.BitrateBPS = min(r.Channels, codec.channels), min(r.BitrateBPS, codec.bitrateBPS)
	if slices.Contains(codec.rates, rate) {
		r.SampleRate = rate
	}
}

// loose reports whether r is of a kind that is not made in segments: one file has all of it.
func (r AudioRendition) loose() bool {
	codec, known := audioCodecs()[r.EncoderName()]
	return !known || r.SampleRate != 0 && !slices.Contains(codec.rates, r.SampleRate)
}

// AudioNone asks for an output without audio.
const AudioNone = "none"

// AudioNames returns the names of Output.Audio.
func AudioNames() []string {
	return []string{"aac", "mp3", "ac3", "eac3", "opus", "libfdk_aac", AudioNone}
}

// ParseAudio parses a codec of AudioNames and a bitrate, or one of them: mp3:192k,
// ac3, none or 128k.
func ParseAudio(text string) (codec string, bitrateBPS int, err error) {
	codec, bitrate, both := strings.Cut(text, ":")
	switch {
	case !slices.Contains(AudioNames(), codec) && !both:
		codec, bitrate = "", text
	case !both:
		return codec, 0, nil
	}
	if bitrateBPS, err = ParseBitrate(bitrate); err != nil {
		err = fmt.Errorf("%.50q; want one of %s, a bitrate such as 128k, or both, such as mp3:192k", text, strings.Join(AudioNames(), ", "))
	}
	return codec, bitrateBPS, err
}

// audioEncoder returns ffmpeg's encoder of o's audio; "" if there is none.
func (o Output) audioEncoder() string {
	switch o.Audio {
	case "":
		return EncoderAAC
	case "mp3":
		return "libmp3lame"
	case "opus":
		return "libopus"
	case "aac", "ac3", "eac3", "libfdk_aac":
		return o.Audio
	}
	return ""
}

// audioCMAF reports whether o's audio is segmented as CMAF only.
func (o Output) audioCMAF() bool {
	return !slices.Contains([]string{"", EncoderAAC, "libfdk_aac", AudioNone}, o.Audio)
}
