package transcode

import (
	"cmp"
	"slices"
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

// use makes r a rendition of this encoder at this sample rate, as far as the
// encoder has it; "" and 0 mean the default.
func (r *AudioRendition) use(encoder string, rate int) {
	r.Encoder = encoder
	codec := r.codec()
	r.Channels, r.BitrateBPS = min(r.Channels, codec.channels), min(r.BitrateBPS, codec.bitrateBPS)
	if slices.Contains(codec.rates, rate) {
		r.SampleRate = rate
	}
}
