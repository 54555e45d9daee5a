package transcode

import (
	"maps"
	"slices"
)

// The software encoders, which every worker is expected to have.
const (
	EncoderX264 = "libx264"
	EncoderX265 = "libx265"
	EncoderAV1  = "libsvtav1"
	EncoderAOM  = "libaom-av1"
	EncoderVP9  = "libvpx-vp9"
	EncoderAAC  = "aac"
	// EncoderCopy is no encoder: the packets of the source are copied.
	EncoderCopy = "copy"
)

// encoderCodecs are the encoders that a rendition may be asked of. Units of one
// rendition come from one of them: players get one configuration only.
func encoderCodecs() map[string]Codec {
	return map[string]Codec{
		EncoderX264:         CodecH264,
		"h264_v4l2m2m":      CodecH264,
		"h264_omx":          CodecH264,
		"h264_vaapi":        CodecH264,
		"h264_nvenc":        CodecH264,
		"h264_qsv":          CodecH264,
		"h264_videotoolbox": CodecH264,
		EncoderX265:         CodecH265,
		"hevc_vaapi":        CodecH265,
		"hevc_nvenc":        CodecH265,
		"hevc_qsv":          CodecH265,
		"hevc_videotoolbox": CodecH265,
		EncoderAV1:          CodecAV1,
	}
}

// Encoders of video that a user can name for a file.
var (
	// usualEncoders are those that no worker is asked about: it has reported libx264, or
	// it gets no work, and the others are part of ffmpeg itself.
	usualEncoders = []string{"", AudioNone, EncoderX264, EncoderAAC, "copy", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "ffv1", "flac", "alac", "ac3",
		"eac3", "mp2", "pcm_s16le", "pcm_s24le"}
	// chunkEncoders are those whose units join to what a single run makes, in bits and
	// in quality.
	chunkEncoders = []string{EncoderX264, EncoderX265, "mpeg4", "mpeg2video", EncoderVP9, EncoderAOM, EncoderAV1}
	// countingEncoders aim at a bitrate by all the frames that they have seen: each
	// unit begins with too many bits. They keep to a quality in units as well.
	countingEncoders = []string{"mpeg4", "mpeg2video"}
	// learningEncoders get nearer to a bitrate the longer they run: in ten units, they are
	// up to a tenth off what a single run makes of it. They keep to a quality in units.
	learningEncoders = []string{EncoderVP9, EncoderAOM, EncoderAV1}
	// optionEncoders are all encoders that a user can name.
	optionEncoders = append(slices.Sorted(maps.Keys(encoderCodecs())), "copy", "ffv1", "libaom-av1", "librav1e", "libvpx",
		"libvpx-vp9", "libxvid", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "prores", "prores_ks")
	// optionAudioEncoders are all audio encoders that a user can name.
	optionAudioEncoders = []string{"aac", "ac3", "alac", "copy", "eac3", "flac", "libfdk_aac", "libmp3lame", "libopus", "libvorbis", "mp2",
		"opus", "pcm_s16le", "pcm_s24le", "vorbis"}
)

// Encoders returns the encoders of a codec that are known here, by name.
func Encoders(codec Codec) []string {
	of := encoderCodecs()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(of)), func(name string) bool { return of[name] != codec })
}

// NeededEncoders returns the encoders that a worker must have reported to do u,
// besides those that every ffmpeg has; none if any worker will do.
func (u Unit) NeededEncoders() []string {
	var names []string
	switch {
	case u.Video != nil:
		names = []string{u.Video.Encoder}
		if u.Video.Burn != nil && u.Video.Burn.File != "" {
			names = append(names, Libass)
		}
	case u.Lift != nil:
		names = []string{Libass} // so that it is not in vain
	case u.Audio != nil:
		names = []string{u.Audio.Rendition.Encoder}
	case u.Whole != nil:
		names = namedEncoders(u.Whole.Options)
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(usualEncoders, name) })
}

// NeededEncoders returns the encoders that workers must have reported to do r, besides
// those that every ffmpeg has.
func (r Request) NeededEncoders() []string {
	names := append(namedEncoders(r.Options), r.Encoder, r.audioEncoder())
	for _, codec := range r.MoreCodecs {
		names = append(names, r.of(codec).encoder())
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(usualEncoders, name) })
}

// namedEncoders returns the encoders that options name.
func namedEncoders(options []string) []string {
	var names []string
	for i := 0; i+1 < len(options); i++ {
		if slices.Contains([]string{"-c:v", "-vcodec", "-codec:v", "-c:a", "-acodec", "-codec:a"}, options[i]) {
			names = append(names, options[i+1])
		}
	}
	return names
}

// NamedEncoders returns the software encoders that a worker reports if its ffmpeg
// has them, in addition to those that it tries.
func NamedEncoders() []string {
	return slices.DeleteFunc(slices.Concat(optionEncoders, optionAudioEncoders), func(name string) bool {
		_, tried := encoderCodecs()[name]
		return tried || slices.Contains(usualEncoders, name)
	})
}

// encoder returns the encoder of every rendition of o.
func (o Output) encoder() string {
	switch {
	case o.Encoder != "":
		return o.Encoder
	case o.codec() == CodecH265:
		return EncoderX265
	case o.codec() == CodecAV1:
		return EncoderAV1
	}
	return EncoderX264
}

// codecs returns the codecs of o, each of which gets a ladder.
func (o Output) codecs() []Codec { return append([]Codec{o.codec()}, o.MoreCodecs...) }

// of returns o with this codec alone. An encoder that was asked for is of the first
// codec.
func (o Output) of(codec Codec) Output {
	if codec != o.codec() {
		o.Codec, o.Encoder = codec, ""
	}
	o.MoreCodecs = nil
	return o
}

// fixedKeys reports whether an encoder makes key frames only at a fixed distance.
func fixedKeys(encoder string) bool { return encoder == EncoderAV1 }
