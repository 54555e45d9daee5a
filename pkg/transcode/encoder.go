package transcode

import (
	"maps"
	"slices"
)

// The software encoders, which every worker is expected to have.
const (
	EncoderX264 = "libx264"
	EncoderX265 = "libx265"
	EncoderAAC  = "aac"
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
	}
}

// Encoders returns the encoders of a codec that are known here, by name.
func Encoders(codec Codec) []string {
	of := encoderCodecs()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(of)), func(name string) bool { return of[name] != codec })
}

// NeedsEncoder returns the encoder that a worker must have reported to do u;
// "" if any worker will do.
func (u Unit) NeedsEncoder() string {
	if u.Video == nil || u.Video.Encoder == EncoderX264 {
		return ""
	}
	if _, told := encoderCodecs()[u.Video.Encoder]; !told {
		return ""
	}
	return u.Video.Encoder
}

// encoder returns the encoder of every rendition of o.
func (o Output) encoder() string {
	switch {
	case o.Encoder != "":
		return o.Encoder
	case o.codec() == CodecH265:
		return EncoderX265
	}
	return EncoderX264
}
