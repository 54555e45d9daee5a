package transcode

import (
	"cmp"
	"fmt"
	"slices"
)

// An Output is the desired result of a job. The zero Output is an HLS stream of
// MPEG-TS segments with H.264 and AAC in Apple's ladder.
type Output struct {
	Format    Format    `json:"format,omitempty"`   // "" means hls
	Container Container `json:"segments,omitempty"` // of an HLS stream; "" means ts, or cmaf for h265
	Codec     Codec     `json:"codec,omitempty"`    // "" means h264
	Encoder   string    `json:"encoder,omitempty"`  // ffmpeg's name, one of Encoders; "" means the software encoder of Codec
	Ladder    Preset    `json:"ladder,omitempty"`   // "" means apple; of an HLS stream
	Rungs     []Rung    `json:"rungs,omitempty"`    // replace the preset
	Stretch   bool      `json:"stretch,omitempty"`  // rungs of another shape stretch the picture, instead of black bars
	Constant  bool      `json:"constant_bitrate,omitempty"`
	CRF       int       `json:"crf,omitempty"`         // a quality of libx264 or libx265, up to the bitrate; 0: the bitrate
	TwoPass   bool      `json:"two_pass,omitempty"`    // of libx264 or libx265
	Quality   int       `json:"quality,omitempty"`     // of the best rendition, by Quality's scale, from which all follow; 0: by bitrates
	AudioBPS  int       `json:"audio_bps,omitempty"`   // 0: 48 kb/s for each channel
	Audio     string    `json:"audio_codec,omitempty"` // of AudioNames; "" means aac
	Encrypted bool      `json:"encrypted,omitempty"`   // only for an HLS stream: whole segments by AES-128, unless SampleAES
	SampleAES bool      `json:"sample_aes,omitempty"`  // the samples of CMAF segments are encrypted (SAMPLE-AES); with Encrypted
	Naming              // of what is published
	// KeyURI is the URI from which players get the key; "" means the KeyName of the
	// published stream.
	KeyURI string `json:"key_uri,omitempty"`
	// MoreCodecs are codecs of a stream besides Codec: each has renditions of its own.
	MoreCodecs []Codec `json:"more_codecs,omitempty"`
	// AudioTracks are the audio tracks that are kept, by their number from 1, the
	// default one first; nil: all of them.
	AudioTracks []int `json:"audio_tracks,omitempty"`
	// AudioLangs are the languages whose audio tracks are kept, the default one
	// first; nil: all of them.
	AudioLangs []string `json:"audio_langs,omitempty"`
	// MaxFPS is the highest frame rate, in frames per second; 0 means DefaultMaxFPS. A
	// source that has more keeps every second frame, every third and so on.
	MaxFPS float64 `json:"max_fps,omitempty"`
	// HDR says what becomes of a source in HDR; "" is auto.
	HDR HDR `json:"hdr,omitempty"`
	// Deinterlace says what becomes of an interlaced source; "" is auto.
	Deinterlace Deinterlace `json:"deinterlace,omitempty"`
	// BurnSubtitles is the language of the subtitles that are drawn into the picture; ""
	// means none, und those of an unknown language.
	BurnSubtitles string `json:"burn_subtitles,omitempty"`
	// OmitSubtitles are the subtitles that are left out, by their number from 1: first
	// those of the source, then the files beside it; nil: none.
	OmitSubtitles []int `json:"omit_subtitles,omitempty"`
	// NoPictures says that no poster, storyboard and playlists of key frames are made
	// for a stream.
	NoPictures bool `json:"no_pictures,omitempty"`
	// Progressive publishes an HLS stream while it is made: it can be played from its
	// first segments on.
	Progressive bool `json:"progressive,omitempty"`
	// InputOptions are ffmpeg's options for the source, one word each. See
	// ParseInputOptions.
	InputOptions []string `json:"input_options,omitempty"`
	// Options are ffmpeg's output options, one word each. For an MP4 or MKV file they
	// replace Codec, Encoder and Rungs. See ParseOptions.
	Options []string `json:"options,omitempty"`
}

// A Format is the format of a published output.
type Format string

// The formats.
const (
	FormatHLS Format = "hls" // a directory with playlists and segments
	FormatMP4 Format = "mp4" // a file
	FormatMKV Format = "mkv" // a file
)

// A Container is the format of a segment.
type Container string

// The containers.
const (
	ContainerTS   Container = "ts"   // MPEG-TS; "" is the same
	ContainerCMAF Container = "cmaf" // fragmented MP4
	ContainerNUT  Container = "nut"  // one file of any codec, of which a file is joined
)

// A Codec is a codec of video.
type Codec string

// The codecs.
const (
	CodecH264 Codec = "h264"
	CodecH265 Codec = "h265"
	CodecAV1  Codec = "av1"
)

// An HDR says what becomes of high dynamic range.
type HDR string

// The ways to treat a source in HDR: kept by H.265 and tone-mapped for H.264; kept;
// or tone-mapped to BT.709.
const (
	HDRAuto  HDR = "auto"
	HDRKeep  HDR = "keep"
	HDRToSDR HDR = "sdr"
)

// A Deinterlace says what becomes of fields.
type Deinterlace string

// The ways to treat an interlaced source: frames at its own rate, or those of the film
// that it was made of; frames as they are; or a frame for each field.
const (
	DeinterlaceAuto  Deinterlace = "auto"
	DeinterlaceOff   Deinterlace = "off"
	DeinterlaceField Deinterlace = "field"
)

// A Preset names a rule that derives a ladder from a source.
type Preset string

// The presets: Apple's authoring sizes and bitrates, or the source's size at the
// source's bitrate, at half of it and at 200 kb/s.
const (
	PresetApple  Preset = "apple"
	PresetAuthor Preset = "author"
)

// IsFile reports whether the output is a file and not a directory.
func (o Output) IsFile() bool { return o.Format == FormatMP4 || o.Format == FormatMKV }

func (o Output) codec() Codec {
	if o.Codec == "" {
		return CodecH264
	}
	return o.Codec
}

// needsCMAF reports whether a codec of o is played in CMAF only.
func (o Output) needsCMAF() bool {
	return slices.ContainsFunc(o.codecs(), func(c Codec) bool { return c != CodecH264 })
}

// SegmentContainer returns the container of the units' segments. Files are joined
// from CMAF segments.
func (o Output) SegmentContainer() Container {
	switch {
	case o.IsFile() || o.needsCMAF() || o.audioCMAF() || o.SampleAES:
		return ContainerCMAF
	case o.Container == "":
		return ContainerTS
	}
	return o.Container
}

// unitContainer returns the container for units: "" for MPEG-TS, which is their
// default.
func (o Output) unitContainer() Container {
	if c := o.SegmentContainer(); c != ContainerTS {
		return c
	}
	return ""
}

// Published returns the path of an output of this name in the media share. suffix
// distinguishes outputs of the same name.
func (o Output) Published(name, suffix string) string {
	dir := cmp.Or(o.Dir, string(cmp.Or(o.Format, FormatHLS)))
	if o.IsFile() {
		return fmt.Sprintf("%s/%s%s.%s", dir, name, suffix, o.Format)
	}
	return fmt.Sprintf("%s/%s%s", dir, name, suffix)
}

// Entry returns the path that a player opens for an output that is published at
// this path.
func (o Output) Entry(published string) string {
	if o.IsFile() {
		return published
	}
	return published + "/" + o.Master()
}
