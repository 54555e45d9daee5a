package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"pibootd/pkg/pi"
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
	AudioBPS  int       `json:"audio_bps,omitempty"`   // 0: 48 kb/s for each channel
	Audio     string    `json:"audio_codec,omitempty"` // of AudioNames; "" means aac
	Encrypted bool      `json:"encrypted,omitempty"`   // AES-128; only for an HLS stream
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
	// NoPictures says that no poster, storyboard and playlists of key frames are made
	// for a stream.
	NoPictures bool `json:"no_pictures,omitempty"`
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

// A Rung is a rendition that a user asked for.
type Rung struct {
	Lines      int `json:"lines"`                 // of the picture's shorter side; 0: Width and Height, or the source's size
	BitrateBPS int `json:"bitrate_bps,omitempty"` // 0: the bitrate of Apple's rungs at this size
	Width      int `json:"width,omitempty"`       // of a rung of any shape
	Height     int `json:"height,omitempty"`
}

// Limits of a request.
const (
	maxRungs        = 12
	minAskedBPS     = 4_000
	maxCRF          = 51
	minAudioBPS     = 16_000
	maxAudioBPS     = 512_000
	maxVideoBPS     = 200_000_000
	maxKeyURI       = 1000 // bytes
	maxMaxFPS       = 240  // frames per second
	maxMuxID        = 1 << 20
	maxRequestLines = maxSide
)

// Check reports what is impossible in r for any source. The errors are meant for
// the user, and name the wrong field as a pi.RequestError.
func (r Request) Check() error {
	if s := r.SegmentSeconds; s != 0 && !(s >= minSegmentSeconds && s <= maxSegmentSeconds) {
		return wrong("segment_seconds", "segments of %v s; want %v to %v, or 0 for the default", s, minSegmentSeconds, maxSegmentSeconds)
	}
	if r.MuxID < 0 || r.MuxID > maxMuxID {
		return wrong("mux_id", "muxer id %d; want 1 to %d, or 0 for any worker", r.MuxID, maxMuxID)
	}
	if err := pi.CheckLabels(r.Labels); err != nil {
		return pi.InvalidField("labels", err)
	}
	if r.Name != "" && !validName(r.Name) {
		return wrong("name", "name %.300q cannot name a directory; want 1 to %d bytes without slashes, control characters or a leading dot", r.Name, maxName)
	}
	return r.Output.check()
}

func wrong(field, format string, args ...any) error {
	return pi.InvalidField(field, fmt.Errorf(format, args...))
}

// Canonical returns r with explicit defaults, so that equivalent requests are
// equal.
func (r Request) Canonical() Request {
	r.SegmentSeconds = cmp.Or(r.SegmentSeconds, defaultSegmentSeconds)
	r.Output.Format = cmp.Or(r.Output.Format, FormatHLS)
	r.Output.Ladder = cmp.Or(r.Output.Ladder, PresetApple)
	r.Output.Container = r.Output.SegmentContainer()
	r.Output.Encoder = r.Output.encoder()
	r.Output.Codec = r.Output.codec()
	// As in jobs of earlier versions:
	if r.Output.MaxFPS == DefaultMaxFPS {
		r.Output.MaxFPS = 0
	}
	if r.Output.Deinterlace == DeinterlaceAuto {
		r.Output.Deinterlace = ""
	}
	if r.Output.HDR == HDRAuto {
		r.Output.HDR = ""
	}
	return r
}

// maxName is the maximum length of a name in bytes: a file name has 255, and a
// number may be added.
const maxName = 200

// NameOf returns the name of an output for a source: the source's own name as far
// as a directory can have it.
func NameOf(source string) string {
	base := path.Base(source)
	name := strings.TrimLeft(strings.TrimSuffix(base, path.Ext(base)), ".")
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	for len(name) > maxName {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	return cmp.Or(name, "video")
}

func validName(name string) bool {
	return len(name) <= maxName && utf8.ValidString(name) && !strings.HasPrefix(name, ".") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
}

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
	if err := checkRungs(o.Rungs); err != nil {
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
	return o.checkStream()
}

// checkTracks checks the choice of tracks.
func (o Output) checkTracks() error {
	if len(o.AudioTracks) > 0 && len(o.AudioLangs) > 0 {
		return wrong("", "audio tracks by number and by language; want one of them")
	}
	for i, n := range o.AudioTracks {
		if n < 1 || n > maxStreams || slices.Contains(o.AudioTracks[:i], n) {
			return wrong("audio_tracks", "audio track %d; want 1 to %d, each once", n, maxStreams)
		}
	}
	for i, lang := range o.AudioLangs {
		if Language(lang) == "" || slices.Contains(o.AudioLangs[:i], lang) || len(o.AudioLangs) > maxStreams {
			return wrong("audio_langs", "audio in %.50q; want languages, each once, e.g. de or deu", lang)
		}
	}
	return nil
}

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
	soft := o.encoder() == EncoderX264 || o.encoder() == EncoderX265
	switch {
	case o.CRF < 0 || o.CRF > maxCRF:
		return wrong("crf", "CRF %d; want 1 to %d, or 0 for a bitrate", o.CRF, maxCRF)
	case o.CRF != 0 && (o.Constant || o.TwoPass) || o.Constant && o.TwoPass:
		return wrong("", "two of a CRF, a constant bitrate and two passes; want one")
	case (o.CRF != 0 || o.TwoPass) && !soft:
		return wrong("encoder", "CRF or two passes by %s; want libx264 or libx265", o.encoder())
	case o.IsFile() && len(o.Options) > 0 && (o.CRF != 0 || o.Constant || o.TwoPass || o.Audio != ""):
		return wrong("", "ffmpeg options beside CRF, constant bitrate, two passes or an audio codec; want one or the other")
	}
	return nil
}

func checkRungs(rungs []Rung) error {
	if len(rungs) > maxRungs {
		return wrong("rungs", "%d rungs; want %d at most", len(rungs), maxRungs)
	}
	for i, r := range rungs {
		if err := r.check(); err != nil {
			return err
		}
		if slices.Contains(rungs[:i], r) {
			return wrong("rungs", "rung %s is there twice", r)
		}
	}
	return nil
}

func (r Rung) check() error {
	sized := r.Width != 0 || r.Height != 0
	side := func(n int) bool { return n >= minSide && n <= maxRequestLines && n%2 == 0 }
	switch {
	case sized && (r.Lines != 0 || !side(r.Width) || !side(r.Height)):
		return wrong("rungs", "rung of %dx%d and %d lines; want even sides of %d to %d, or lines", r.Width, r.Height, r.Lines, minSide, maxRequestLines)
	case !sized && r.Lines == 0 && r.BitrateBPS == 0:
		return wrong("rungs", "rung of the source's size without a bitrate; want one, e.g. source:128k")
	case r.Lines != 0 && (r.Lines < minSide || r.Lines > maxRequestLines):
		return wrong("rungs", "rung of %d lines; want %d to %d", r.Lines, minSide, maxRequestLines)
	case r.BitrateBPS != 0 && (r.BitrateBPS < minAskedBPS || r.BitrateBPS > maxVideoBPS):
		return wrong("rungs", "rung of %d b/s; want %d to %d, or none for the usual one", r.BitrateBPS, minAskedBPS, maxVideoBPS)
	}
	return nil
}

// checkStream checks the fields that concern only HLS.
func (o Output) checkStream() error {
	switch {
	case o.needsCMAF() && o.Container == ContainerTS:
		return wrong("", "h265 or av1 in MPEG-TS segments, which players do not take; want cmaf segments")
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
	case options.Whole != "" && len(o.Options) > 0:
		return fmt.Errorf("ffmpeg options for a stream: %s; want them with mp4 or mkv only", options.Whole)
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
	case o.Encrypted || o.KeyURI != "":
		return wrong("", "an encrypted %s file; want encryption with hls only", o.Format)
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
	case o.IsFile() || o.needsCMAF() || o.audioCMAF():
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

// String formats r as ParseRung parses it.
func (r Rung) String() string {
	size := strconv.Itoa(r.Lines)
	switch {
	case r.Width != 0:
		size = fmt.Sprintf("%dx%d", r.Width, r.Height)
	case r.Lines == 0:
		size = sourceSize
	}
	if r.BitrateBPS == 0 {
		return size
	}
	return fmt.Sprintf("%s:%d", size, r.BitrateBPS)
}

// sourceSize stands for the source's size.
const sourceSize = "source"

// ParseRung parses a size and perhaps a bitrate: 720, 720:2500k, 600x400:128k or
// source:2M.
func ParseRung(text string) (Rung, error) {
	size, bitrate, both := strings.Cut(text, ":")
	width, height, sized := strings.Cut(size, "x")
	var r Rung
	var err error
	switch {
	case size == sourceSize:
	case sized:
		var errHeight error
		r.Width, err = strconv.Atoi(width)
		r.Height, errHeight = strconv.Atoi(height)
		err = errors.Join(err, errHeight)
	default:
		r.Lines, err = strconv.Atoi(strings.TrimSuffix(size, "p"))
	}
	if err != nil {
		return Rung{}, fmt.Errorf("rung %.50q; want lines, WIDTHxHEIGHT or source, and perhaps a bitrate, e.g. 720:2500k", text)
	}
	if both {
		if r.BitrateBPS, err = ParseBitrate(bitrate); err != nil {
			return Rung{}, fmt.Errorf("rung %.50q: %w", text, err)
		}
	}
	return r, nil
}

// ParseBitrate parses bits per second as ffmpeg does: 200000, 200k or 2.5M.
func ParseBitrate(text string) (int, error) {
	factor := 1.0
	switch {
	case strings.HasSuffix(text, "k"), strings.HasSuffix(text, "K"):
		factor = 1e3
	case strings.HasSuffix(text, "M"):
		factor = 1e6
	}
	digits := text
	if factor > 1 {
		digits = text[:len(text)-1]
	}
	n, err := strconv.ParseFloat(digits, 64)
	if n *= factor; err != nil || !(n >= 1 && n <= maxBitrateBPS) {
		return 0, fmt.Errorf("bitrate %.50q; want bits per second, e.g. 200k or 2.5M", text)
	}
	return int(math.Round(n)), nil
}
