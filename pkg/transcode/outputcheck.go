package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"pibootd/pkg/pi"
)

func (o Output) check() error {
	switch {
	case !slices.Contains([]Format{"", FormatHLS, FormatMP4, FormatMKV}, o.Format):
		return wrong("format", "format %.50q; want hls, mp4 or mkv", o.Format)
	case !slices.Contains([]Container{"", ContainerTS, ContainerCMAF}, o.Container):
		return wrong("segments", "segments of %.50q; want ts or cmaf", o.Container)
	case !slices.Contains([]Codec{"", CodecH264, CodecH265, CodecAV1}, o.Codec):
		return wrong("codec", "codec %.50q; want h264, h265 or av1", o.Codec)
	case !slices.Contains([]Preset{"", PresetApple, PresetAuthor}, o.Ladder):
		return wrong("ladder", "ladder %.50q; want apple or author", o.Ladder)
	case o.AudioBPS != 0 && (o.AudioBPS < minAudioBPS || o.AudioBPS > maxAudioBPS):
		return wrong("audio_bps", "audio of %d b/s; want %d to %d, or 0 for the default", o.AudioBPS, minAudioBPS, maxAudioBPS)
	}
	if !slices.Contains([]HDR{"", HDRAuto, HDRKeep, HDRToSDR}, o.HDR) {
		return wrong("hdr", "hdr %.50q; want auto, keep or sdr", o.HDR)
	}
	if o.HDR == HDRKeep && o.encoder() != EncoderX265 {
		return wrong("hdr", "HDR is kept by %s; want the codec h265 with it", EncoderX265)
	}
	if !slices.Contains([]Deinterlace{"", DeinterlaceAuto, DeinterlaceOff, DeinterlaceField}, o.Deinterlace) {
		return wrong("deinterlace", "deinterlace %.50q; want auto, off or field", o.Deinterlace)
	}
	if o.MaxFPS != 0 && !(o.MaxFPS >= 1 && o.MaxFPS <= maxMaxFPS) {
		return wrong("max_fps", "at most %v frames per second; want 1 to %d, or 0 for %d", o.MaxFPS, maxMaxFPS, DefaultMaxFPS)
	}
	if err := errors.Join(o.checkAudio(), o.checkRates(), o.Naming.check(o)); err != nil {
		return err
	}
	if o.Encoder != "" {
		if codec, ok := encoderCodecs()[o.Encoder]; !ok || codec != o.codec() {
			return wrong("encoder", "encoder %.50q for %s; want one of %s", o.Encoder, o.codec(), strings.Join(Encoders(o.codec()), ", "))
		}
	}
	if err := errors.Join(checkRungs(o.Rungs), o.checkQuality()); err != nil {
		return err
	}
	for i, c := range o.MoreCodecs {
		if !slices.Contains([]Codec{CodecH264, CodecH265, CodecAV1}, c) || c == o.codec() || slices.Contains(o.MoreCodecs[:i], c) {
			return wrong("more_codecs", "codec %.50q besides %s; want h264, h265 or av1, each once", c, o.codec())
		}
	}
	if err := o.checkTracks(); err != nil {
		return err
	}
	if o.IsFile() {
		return o.checkFile()
	}
	if o.Progressive {
		if err := o.checkProgressive(); err != nil {
			return err
		}
	}
	return o.checkStream()
}

// checkProgressive checks that a stream can be published while it is made.
func (o Output) checkProgressive() error {
	if o.TwoPass {
		return wrong("progressive", "a progressive stream in two passes: the first pass surveys the whole video before anything is encoded; want one pass")
	}
	return nil
}

// checkTracks checks the choice of tracks.
func (o Output) checkTracks() error {
	if len(o.AudioTracks) > 0 && len(o.AudioLangs) > 0 {
		return wrong("", "audio tracks by number and by language; want one of them")
	}
	if n := wrongTrack(o.AudioTracks); n != nil {
		return wrong("audio_tracks", "audio track %d; want 1 to %d, each once", *n, maxStreams)
	}
	if n := wrongTrack(o.OmitSubtitles); n != nil {
		return wrong("omit_subtitles", "subtitles %d; want 1 to %d, each once", *n, maxStreams)
	}
	for i, lang := range o.AudioLangs {
		if Language(lang) == "" || slices.Contains(o.AudioLangs[:i], lang) || len(o.AudioLangs) > maxStreams {
			return wrong("audio_langs", "audio in %.50q; want languages, each once, e.g. de or deu", lang)
		}
	}
	if _, err := ParseInputOptions(o.InputOptions); err != nil {
		return pi.InvalidField("input_options", err)
	}
	if b := o.BurnSubtitles; b != "" && b != undetermined && Language(b) == "" {
		return wrong("burn_subtitles", "burn in subtitles in %.50q; want a language, e.g. de or deu, or und", b)
	}
	return nil
}

// wrongTrack returns a number that is no track's or not the first of its kind; nil if
// there is none.
func wrongTrack(tracks []int) *int {
	for i, n := range tracks {
		if n < 1 || n > maxStreams || slices.Contains(tracks[:i], n) {
			return &n
		}
	}
	return nil
}

// undetermined is the language of what does not say its language (ISO 639-2).
const undetermined = "und"

// checkAudio checks what audio is asked for.
func (o Output) checkAudio() error {
	codec, known := audioCodecs()[o.audioEncoder()]
	switch {
	case o.Audio == AudioNone && o.AudioBPS != 0:
		return wrong("audio_bps", "a bitrate for no audio; want one or the other")
	case o.Audio != "" && o.Audio != AudioNone && !known:
		return wrong("audio_codec", "audio %.50q; want one of %s", o.Audio, strings.Join(AudioNames(), ", "))
	case known && o.AudioBPS > codec.bitrateBPS:
		return wrong("audio_bps", "audio of %d b/s; %s has %d at most", o.AudioBPS, o.audioEncoder(), codec.bitrateBPS)
	case o.audioCMAF() && o.Container == ContainerTS:
		return wrong("segments", "%s audio in MPEG-TS segments; want cmaf segments", o.Audio)
	}
	return nil
}

// checkRates checks how bitrates are kept to.
func (o Output) checkRates() error {
	hard := func(c Codec) bool { return !slices.Contains([]string{EncoderX264, EncoderX265}, o.of(c).encoder()) }
	other := slices.IndexFunc(o.codecs(), hard)
	switch {
	case o.CRF < 0 || o.CRF > maxCRF:
		return wrong("crf", "CRF %d; want 1 to %d, or 0 for a bitrate", o.CRF, maxCRF)
	case o.CRF != 0 && (o.Constant || o.TwoPass) || o.Constant && o.TwoPass:
		return wrong("", "two of a CRF, a constant bitrate and two passes; want one")
	case (o.CRF != 0 || o.TwoPass) && other >= 0:
		return wrong("encoder", "CRF or two passes by %s; want libx264 or libx265", o.of(o.codecs()[other]).encoder())
	case o.IsFile() && len(o.Options) > 0 && (o.CRF != 0 || o.Constant || o.TwoPass || o.Audio != ""):
		return wrong("", "ffmpeg options beside CRF, constant bitrate, two passes or an audio codec; want one or the other")
	}
	return nil
}

// checkStream checks the fields that concern only HLS.
func (o Output) checkStream() error {
	switch {
	case o.needsCMAF() && o.Container == ContainerTS:
		return wrong("", "h265 or av1 in MPEG-TS segments, which players do not take; want cmaf segments")
	case o.SampleAES && !o.Encrypted:
		return wrong("encrypted", "SAMPLE-AES without encryption; want both or neither")
	case o.SampleAES && o.Container == ContainerTS:
		return wrong("segments", "SAMPLE-AES in MPEG-TS segments; want cmaf segments, or encryption of whole segments (AES-128)")
	case o.SampleAES && slices.Contains(o.codecs(), CodecAV1):
		return wrong("codec", "SAMPLE-AES of AV1; want h264 or h265, or encryption of whole segments (AES-128)")
	case o.KeyURI != "" && !o.Encrypted:
		return wrong("key_uri", "a key URI without encryption; want both or neither")
	case len(o.Rungs) > 0 && o.Ladder != "":
		return wrong("", "a ladder preset and rungs; want one of them")
	}
	if err := o.checkStreamOptions(); err != nil {
		return pi.InvalidField("options", err)
	}
	return checkKeyURI(o.KeyURI)
}

// streamOptions names what to use instead of ffmpeg's options that a stream's
// renditions cannot share.
var streamOptions = map[string]string{
	"-b": "--rung SIZE:BITRATE, or --audio BITRATE", "-maxrate": "--rung SIZE:BITRATE", "-bufsize": "--rung SIZE:BITRATE", "-minrate": "--constant",
	"-crf": "--crf", "-qp": "--crf", "-q": "--crf", "-qscale": "--crf", "-s": "--rung WIDTHxHEIGHT", "-aspect": "--rung WIDTHxHEIGHT",
	"-pix_fmt": "the default, which every player shows", "-tag": "the default", "-vtag": "the default", "-ac": "the default",
	"-x264-params": "-preset and -tune", "-x264opts": "-preset and -tune", "-x265-params": "-preset and -tune",
	"-metadata": "mp4 or mkv", "-disposition": "mp4 or mkv",
}

// checkStreamOptions refuses options that all renditions of a stream cannot share,
// or that need the whole video.
func (o Output) checkStreamOptions() error {
	options, err := ParseOptions(FormatHLS, o.Options)
	if err != nil {
		return err
	}
	for _, word := range slices.Concat(options.Video, options.Audio, options.File) {
		name, _, _ := strings.Cut(word, ":")
		if instead := streamOptions[name]; instead != "" {
			return fmt.Errorf("ffmpeg option %s for a stream; want %s", word, instead)
		}
	}
	switch {
	case options.Encoder != "":
		return fmt.Errorf("ffmpeg option -c:v for a stream; want --encoder or --codec")
	case options.AudioEncoder != "":
		return fmt.Errorf("ffmpeg option -c:a for a stream; want --audio CODEC")
	case cmp.Or(options.Whole, options.LooseAudio) != "" && len(o.Options) > 0:
		return fmt.Errorf("ffmpeg options for a stream: %s; want them with mp4 or mkv only", cmp.Or(options.Whole, options.LooseAudio))
	}
	return nil
}

// checkKeyURI accepts a URI that can stand between the quotes of a playlist.
func checkKeyURI(uri string) error {
	_, err := url.Parse(uri)
	printable := !strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f || r == '\\' })
	if len(uri) > maxKeyURI || err != nil || !printable {
		return wrong("key_uri", "key URI %.100q; want a URI of at most %d bytes, e.g. https://keys.example/1", uri, maxKeyURI)
	}
	return nil
}

// checkFile checks the fields that concern only MP4 and MKV.
func (o Output) checkFile() error {
	switch {
	case o.Container != "":
		return wrong("segments", "%s segments in an %s file; want segments with hls only", o.Container, o.Format)
	case o.Encrypted || o.SampleAES || o.KeyURI != "":
		return wrong("", "an encrypted %s file; want encryption with hls only", o.Format)
	case o.Progressive:
		return wrong("progressive", "a progressive %s file; want hls, which can be played before it is whole", o.Format)
	case len(o.MoreCodecs) > 0:
		return wrong("more_codecs", "several codecs in an %s file; want one", o.Format)
	case o.Ladder != "" || len(o.Rungs) > 1:
		return wrong("", "a ladder for an %s file; want one rung at most", o.Format)
	case len(o.Options) > 0 && (o.Codec != "" || o.Encoder != "" || len(o.Rungs) > 0 || o.AudioBPS != 0):
		return wrong("", "ffmpeg options beside a codec, an encoder, a rung or an audio bitrate; want one or the other")
	}
	_, err := ParseOptions(o.Format, o.Options)
	return pi.InvalidField("options", err)
}
