package transcode

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Options are a user's output options for ffmpeg, sorted by purpose. They are
// untrusted input to a process on a board: an option is passed on only if it is
// known to affect nothing but the output.
type Options struct {
	Encoder string   // of the video; "" means the default
	Filter  string   // of the video; "" means none
	Video   []string // options and values for every video unit
	Audio   []string // for the audio unit
	File    []string // for the whole file, such as metadata
	NoAudio bool
	TwoPass bool // ffmpeg is run twice
	Trimmed bool // the output can be shorter or longer than its source
	// Whole is the reason why the video cannot be divided into units; "" means that
	// it can.
	Whole string
	// All has all options, for one run over the whole source, except those that
	// select two passes.
	All []string
}

const (
	maxOptions     = 100  // words
	maxOptionBytes = 1000 // of one word
)

// An optionClass is the effect of an option on the work.
type optionClass int

const (
	classVideo optionClass = iota // the same for every unit
	classAudio                    // of the audio unit
	classFile                     // of the joined file
	classWhole                    // cannot be done in units
	classDrop                     // requests what happens in any case
)

// A knownOption is an option that is passed on if its value is valid.
type knownOption struct {
	class optionClass
	value *regexp.Regexp // nil: the option has no value
}

// The patterns of values. No match can name a file, because a word has no slash,
// and no known option opens its value.
var (
	numberValue   = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?[kKMG]?$`)
	wordValue     = regexp.MustCompile(`^[A-Za-z0-9_.+-]+$`)
	timeValue     = regexp.MustCompile(`^[0-9:.]+(ms|us|s)?$`)
	fractionValue = regexp.MustCompile(`^[0-9.]+([:/x][0-9.]+)?$`)
	mapValue      = regexp.MustCompile(`^0(:[vVa](:[0-9]+)?)?\??$`)
	metadataValue = regexp.MustCompile(`^[A-Za-z0-9_-]+=[^\x00-\x1f]*$`)
	passValue     = regexp.MustCompile(`^[12]$`)
	flagsValue    = regexp.MustCompile(`^[+]?faststart$`)
	anyValue      = regexp.MustCompile(`^[^\x00-\x1f]+$`) // checked separately
)

// knownOptions returns the options that are passed on, without stream specifier.
func knownOptions() map[string]knownOption {
	known := map[string]knownOption{
		"s": {classVideo, fractionValue}, "aspect": {classVideo, fractionValue},
		"ac": {classAudio, numberValue}, "ar": {classWhole, numberValue}, "cutoff": {classWhole, numberValue},
		"metadata": {classFile, metadataValue}, "movflags": {classDrop, flagsValue},
		"ss": {classWhole, timeValue}, "t": {classWhole, timeValue}, "to": {classWhole, timeValue},
		"frames": {classWhole, numberValue}, "vframes": {classWhole, numberValue}, "aframes": {classWhole, numberValue},
		"r": {classWhole, fractionValue}, "map": {classWhole, mapValue}, "pass": {classWhole, passValue},
		"flags": {classWhole, wordValue}, "strict": {classWhole, wordValue}, "fps_mode": {classWhole, wordValue},
		"vsync": {classWhole, wordValue}, "shortest": {classWhole, nil},
		"sn": {classDrop, nil}, "dn": {classDrop, nil}, "y": {classDrop, nil}, "an": {classDrop, nil},
	}
	for _, name := range []string{"b", "maxrate", "minrate", "bufsize", "crf", "qp", "q", "qscale", "qmin", "qmax", "bf", "refs", "threads"} {
		known[name] = knownOption{classVideo, numberValue}
	}
	for _, name := range []string{"preset", "tune", "profile", "level", "pix_fmt", "color_primaries", "color_trc", "colorspace", "color_range", "tag", "vtag"} {
		known[name] = knownOption{classVideo, wordValue}
	}
	for _, name := range []string{"g", "keyint_min", "sc_threshold", "trellis", "me_range", "subq", "rc-lookahead", "lag-in-frames", "cpu-used", "row-mt"} {
		known[name] = knownOption{classWhole, numberValue}
	}
	for _, name := range []string{"c", "codec", "vcodec", "acodec", "filter", "vf", "af", "x264-params", "x264opts", "x265-params", "f"} {
		known[name] = knownOption{classVideo, anyValue}
	}
	return known
}

// chunkEncoders are the encoders whose units were verified to join to what a single
// run makes.
var chunkEncoders = []string{EncoderX264, EncoderX265, "mpeg4"}

// ParseOptions sorts ffmpeg's output options for a file of this format. Its errors
// name the option that is refused, and the reason.
func ParseOptions(format Format, args []string) (Options, error) {
	if len(args) > maxOptions {
		return Options{}, fmt.Errorf("%d words of ffmpeg options; want %d at most", len(args), maxOptions)
	}
	o := Options{}
	known := knownOptions()
	for len(args) > 0 {
		name, ok := strings.CutPrefix(args[0], "-")
		if !ok || name == "" {
			return Options{}, fmt.Errorf("ffmpeg options: %.100q stands where an option is expected; want options only, no file names", args[0])
		}
		base, stream, _ := strings.Cut(name, ":")
		option, ok := known[base]
		if !ok {
			return Options{}, refusedOption(base, name)
		}
		value, rest, err := optionValue(option, args)
		if err == nil {
			err = o.add(format, optionWord{base: base, stream: stream, value: value}, option)
		}
		if err != nil {
			return Options{}, fmt.Errorf("ffmpeg option -%.50s: %w", name, err)
		}
		args = rest
	}
	return o, nil
}

func refusedOption(base, name string) error {
	why := "it is not one that pibootd passes on"
	switch base {
	case "i":
		why = "a source is given once, before the options"
	case "filter_complex", "lavfi":
		why = "a complex filter may read other files; want -vf or -af"
	case "passlogfile":
		why = "it names a file; -pass alone suffices"
	case "vn":
		why = "a file without video is not made here"
	}
	return fmt.Errorf("ffmpeg option -%.50s: %s", name, why)
}

// optionValue removes the option's value from args, if it has one, and checks it.
func optionValue(option knownOption, args []string) (value string, rest []string, err error) {
	if option.value == nil {
		return "", args[1:], nil
	}
	if len(args) < 2 {
		return "", nil, errors.New("its value is missing")
	}
	value = args[1]
	if len(value) > maxOptionBytes || !option.value.MatchString(value) {
		return "", nil, fmt.Errorf("%.100q is no value that it may have", value)
	}
	return value, args[2:], nil
}

// An optionWord is an option with its stream specifier and its value.
type optionWord struct{ base, stream, value string }

// audio reports whether the option concerns audio.
func (w optionWord) audio() bool { return strings.HasPrefix(w.stream, "a") }

// words returns the option in ffmpeg's syntax, with short names spelt out: -b alone
// would apply to every stream.
func (w optionWord) words() []string {
	name := "-" + w.base
	if w.stream != "" {
		name += ":" + w.stream
	}
	if w.value == "" {
		return []string{name}
	}
	return []string{name, w.value}
}

var streamSpecifiers = []string{"", "v", "V", "v:0", "a", "a:0"}

// add adds one option.
func (o *Options) add(format Format, w optionWord, option knownOption) error {
	if w.base != "metadata" && !slices.Contains(streamSpecifiers, w.stream) {
		return fmt.Errorf("stream %q; want the first video (v) or the first audio (a)", w.stream)
	}
	switch w.base {
	case "c", "codec", "vcodec", "acodec":
		return o.addCodec(w)
	case "vf", "af", "filter":
		return o.addFilter(w)
	case "x264-params", "x264opts", "x265-params":
		return o.addParams(w)
	case "f":
		return checkMuxer(format, w.value)
	case "an":
		o.NoAudio = true
		o.All = append(o.All, "-an")
		return nil
	case "pass":
		o.TwoPass = true
		o.whole("two passes need the whole video")
		return nil
	case "ss", "t", "to", "frames", "vframes":
		o.Trimmed = true
	case "metadata":
		if w.stream != "" {
			return errors.New("it is for one stream; want metadata of the whole file")
		}
	}
	o.sort(w, option.class)
	return nil
}

// sort adds a checked option to the fields of its class.
func (o *Options) sort(w optionWord, class optionClass) {
	if class == classDrop {
		return
	}
	if w.stream == "" && class == classVideo && w.base != "s" && w.base != "vtag" {
		w.stream = "v"
	}
	words := w.words()
	o.All = append(o.All, words...)
	switch {
	case class == classWhole:
		o.whole("-" + w.base + " is about the whole video")
	case class == classFile:
		o.File = append(o.File, words...)
	case class == classAudio || w.audio() && w.base == "b":
		o.Audio = append(o.Audio, words...)
	case w.audio():
		o.whole(words[0] + " is not done in units")
	default:
		o.Video = append(o.Video, words...)
	}
}

// whole records the reason why the video cannot be divided. The first reason is
// kept.
func (o *Options) whole(why string) {
	if o.Whole == "" {
		o.Whole = why
	}
}

func (o *Options) addCodec(w optionWord) error {
	if !wordValue.MatchString(w.value) {
		return fmt.Errorf("%.100q is no encoder's name", w.value)
	}
	if w.base == "acodec" || w.audio() {
		o.All = append(o.All, "-c:a", w.value)
		if w.value != EncoderAAC {
			o.whole("audio by " + w.value + " is not joined from units")
		}
		return nil
	}
	if w.base != "vcodec" && w.stream == "" { // concerns both streams
		o.All = append(o.All, "-c", w.value)
		o.whole("-c " + w.value + " is not joined from units")
		return nil
	}
	o.Encoder = w.value
	o.All = append(o.All, "-c:v", w.value)
	if !slices.Contains(chunkEncoders, w.value) {
		o.whole("video by " + w.value + " is not joined from units")
	}
	return nil
}

func (o *Options) addFilter(w optionWord) error {
	if w.base == "af" || w.audio() {
		if _, err := checkFilters(w.value, audioFilters); err != nil {
			return err
		}
		o.All = append(o.All, "-af", w.value)
		o.whole("audio filters see the whole of it")
		return nil
	}
	why, err := checkFilters(w.value, videoFilters)
	if err != nil {
		return err
	}
	if o.Filter != "" {
		return errors.New("there are two video filters; want one, its parts joined by commas")
	}
	o.Filter = w.value
	o.Trimmed = o.Trimmed || retimes(w.value)
	o.All = append(o.All, "-vf", w.value)
	if why != "" {
		o.whole(why)
	}
	return nil
}

// paramKeys are the parameters of x264 and x265 that can be the same for every
// unit. The others name files, or determine where key frames are.
var paramKeys = regexp.MustCompile(`^(aq-mode|aq-strength|b-adapt|bframes|ref|me|subme|merange|trellis|deblock|psy-rd|psy-rdoq|psy|rc-lookahead|` +
	`crf|qp|qpmin|qpmax|qpstep|ipratio|pbratio|vbv-maxrate|vbv-bufsize|bitrate|level|level-idc|high-tier|cabac|weightp|weightb|mixed-refs|8x8dct|` +
	`direct|partitions|nr|mbtree|cutree|sao|rd|rdoq-level|ctu|colorprim|transfer|colormatrix|range|threads|pools|log-level)$`)

func (o *Options) addParams(w optionWord) error {
	for pair := range strings.SplitSeq(w.value, ":") {
		key, value, _ := strings.Cut(pair, "=")
		if !paramKeys.MatchString(key) || strings.ContainsAny(value, "/\\'\"") {
			return fmt.Errorf("%.50q is not among the parameters that are passed on", pair)
		}
	}
	o.sort(w, classVideo)
	return nil
}

// checkMuxer accepts the muxer that the format uses in any case.
func checkMuxer(format Format, name string) error {
	if name == string(format) || name == "matroska" && format == FormatMKV {
		return nil
	}
	return fmt.Errorf("%.50q is not what was asked for; want %s", name, format)
}
