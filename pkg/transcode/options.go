package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Options are a user's output options for ffmpeg, sorted by purpose. They are
// untrusted input to a process on a board: an option is passed on only if it is
// known to affect nothing but the output.
type Options struct {
	Encoder string   // of the video; "" means the default
	Filter  string   // of the video; "" means none
	Video   []string // options and values for every video unit
	Rate    Rational // frames per second; zero means the source's
	// KeySeconds is the time between two key frames, besides those at the start of
	// each segment; 0 means that there are no others.
	KeySeconds   float64
	AudioEncoder string // "" means the default
	AudioFilter  string // "" means none
	AudioRate    int    // samples per second; 0 means the default
	Audio        []string
	File         []string // for the whole file, such as metadata
	NoAudio      bool
	NoMetadata   bool // the source's title and tags are not wanted
	NoChapters   bool
	NoSubtitles  bool
	TwoPass      bool // ffmpeg is run twice
	Trimmed      bool // the output can be shorter or longer than its source
	// Whole is the reason why the video cannot be divided into units; "" means that
	// it can.
	Whole string
	// All has all options, for one run over the whole source, except those that
	// select two passes.
	All []string

	maps []string // values of -map
}

const (
	maxOptions     = 100  // words
	maxOptionBytes = 1000 // of one word
)

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
	o.finish()
	return o, nil
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
	if option.most > option.least {
		if n, err := parseNumber(value); err != nil || n < option.least || n > option.most {
			return "", nil, fmt.Errorf("%.100q is out of range; want %.10g to %.10g", value, option.least, option.most)
		}
	}
	return value, args[2:], nil
}

// parseNumber reads a number as ffmpeg does, with the suffixes k, M and G.
func parseNumber(text string) (float64, error) {
	factor := 1.0
	for suffix, f := range map[string]float64{"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9} {
		if strings.HasSuffix(text, suffix) {
			factor = f
		}
	}
	n, err := strconv.ParseFloat(strings.TrimRight(text, "kKMG"), 64)
	return n * factor, err
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

var (
	streamSpecifiers = []string{"", "v", "V", "v:0", "a", "a:0"}
	// ofFile matches the stream specifiers of options for the finished file.
	ofFile = regexp.MustCompile(`^(|g|s:[va](:[0-9]{1,2})?|[vas](:[0-9]{1,2})?)$`)
)

// add adds one option.
func (o *Options) add(format Format, w optionWord, option knownOption) error {
	switch w.base {
	case "c", "codec", "vcodec", "acodec", "scodec":
		return o.addCodec(w)
	case "metadata", "disposition":
		if !ofFile.MatchString(w.stream) {
			return fmt.Errorf("stream %q; want none, or one such as s:a:0", w.stream)
		}
		o.sort(w, option.class)
		return nil
	}
	if !slices.Contains(streamSpecifiers, w.stream) && option.class != classDrop {
		return fmt.Errorf("stream %q; want the first video (v) or the first audio (a)", w.stream)
	}
	switch w.base {
	case "vf", "af", "filter":
		return o.addFilter(w)
	case "x264-params", "x264opts", "x265-params":
		return o.addParams(w)
	case "f":
		return checkMuxer(format, w.value)
	case "map":
		return o.addMap(w.value)
	case "r", "ar", "g", "force_key_frames":
		return o.addClock(w)
	}
	return o.addFlag(w, option)
}

// addFlag adds an option that switches something on or off, or any other.
func (o *Options) addFlag(w optionWord, option knownOption) error {
	switch w.base {
	case "an":
		o.NoAudio = true
		o.All = append(o.All, "-an")
		return nil
	case "sn":
		o.NoSubtitles = true
	case "map_metadata", "map_chapters":
		none := w.value == "-1"
		o.NoMetadata, o.NoChapters = o.NoMetadata || none && w.base == "map_metadata", o.NoChapters || none && w.base == "map_chapters"
		o.All = append(o.All, w.words()...)
		return nil
	case "pass":
		o.TwoPass = true
		o.whole("two passes need the whole video")
		return nil
	case "vsync", "fps_mode":
		if w.value != "cfr" && w.value != "1" && w.value != "auto" && w.value != "-1" {
			o.whole("-" + w.base + " " + w.value + " is about the whole video")
		}
	case "s":
		if err := checkSize(w.value); err != nil {
			return err
		}
	case "ss", "t", "to", "frames", "vframes":
		o.Trimmed = true
	}
	o.sort(w, option.class)
	return nil
}

func checkSize(value string) error {
	width, height, _ := strings.Cut(value, "x")
	for _, side := range []string{width, height} {
		if n, err := strconv.Atoi(side); err != nil || n < minSide || n > maxSide {
			return fmt.Errorf("%.50q; want WIDTHxHEIGHT, %d to %d each", value, minSide, maxSide)
		}
	}
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
	case class == classBoth:
		o.Video, o.Audio = append(o.Video, words...), append(o.Audio, words...)
	case class == classAudio || w.audio():
		o.Audio = append(o.Audio, words...)
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

// maxOutputRate is the highest frame rate that a user can ask for.
const maxOutputRate = 240

// keyEvery matches the only expression for key frames that units can follow.
var keyEvery = regexp.MustCompile(`^expr:gte\(t,n_forced\*([0-9]+(?:\.[0-9]+)?)\)$`)

// addClock adds an option that determines frames, samples or key frames in time.
func (o *Options) addClock(w optionWord) error {
	switch w.base {
	case "r":
		rate, err := ParseRate(w.value)
		if err != nil {
			return err
		}
		o.Rate = rate
	case "ar":
		rate, err := strconv.Atoi(w.value)
		if err != nil || !slices.Contains(audioRates, rate) {
			return fmt.Errorf("%.50q; want one of %v", w.value, audioRates)
		}
		o.AudioRate = rate
	case "g":
		o.Video = append(o.Video, "-g", w.value)
	case "force_key_frames":
		every := keyEvery.FindStringSubmatch(w.value)
		if every == nil {
			o.whole("-force_key_frames " + w.value + " is about the whole video")
			break
		}
		seconds, err := strconv.ParseFloat(every[1], 64)
		if err != nil || seconds < 0.01 || seconds > maxSeconds {
			return fmt.Errorf("%.50q; want key frames 0.01 to %d seconds apart", w.value, maxSeconds)
		}
		o.KeySeconds = seconds
	}
	o.All = append(o.All, "-"+w.base, w.value)
	return nil
}

// audioRates are the sample rates that audio encoders have.
var audioRates = []int{8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000}

// ParseRate reads frames per second: 25, 23.976 or 30000/1001.
func ParseRate(text string) (Rational, error) {
	num, den, fraction := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(num, 64)
	d := 1.0
	if err == nil && fraction {
		d, err = strconv.ParseFloat(den, 64)
	}
	if err != nil || !(n > 0 && d > 0 && n/d >= 0.1 && n/d <= maxOutputRate) {
		return Rational{}, fmt.Errorf("rate %.50q; want 0.1 to %d frames per second, e.g. 25 or 30000/1001", text, maxOutputRate)
	}
	if fraction && n == float64(int(n)) && d == float64(int(d)) && n < 1e6 && d < 1e6 {
		return Rational{Num: int(n), Den: int(d)}, nil
	}
	for _, known := range usualRates {
		if off := known.Float() - n/d; off < 0.001 && off > -0.001 {
			return known, nil
		}
	}
	thousandths := int(n/d*1000 + 0.5)
	divisor := gcd(thousandths, 1000)
	return Rational{Num: thousandths / divisor, Den: 1000 / divisor}, nil
}

func (o *Options) addCodec(w optionWord) error {
	subtitles := w.base == "scodec" || w.stream == "s" || strings.HasPrefix(w.stream, "s:")
	if !subtitles && !slices.Contains(streamSpecifiers, w.stream) {
		return fmt.Errorf("stream %q; want the first video (v) or the first audio (a)", w.stream)
	}
	switch {
	case subtitles && !slices.Contains([]string{"copy", "mov_text", "srt", "subrip", "ass", "ssa", "webvtt"}, w.value):
		return fmt.Errorf("%.50q; want copy or mov_text", w.value)
	case subtitles:
		return nil // text subtitles are kept in what the format has for them
	case w.base == "acodec" || w.audio():
		return o.addAudioCodec(w.value)
	case w.base != "vcodec" && w.stream == "": // concerns both streams
		if w.value != "copy" {
			return fmt.Errorf("%.50q for video and audio; want -c:v and -c:a", w.value)
		}
		o.All = append(o.All, "-c", w.value)
		o.whole("-c " + w.value + " is not joined from units")
		return nil
	}
	if !slices.Contains(optionEncoders, w.value) {
		return fmt.Errorf("%.50q is no encoder that is known here; want one of %s", w.value, strings.Join(optionEncoders, ", "))
	}
	o.Encoder = w.value
	o.All = append(o.All, "-c:v", w.value)
	return nil
}

func (o *Options) addAudioCodec(name string) error {
	if !slices.Contains(optionAudioEncoders, name) {
		return fmt.Errorf("%.50q is no audio encoder that is known here; want one of %s", name, strings.Join(optionAudioEncoders, ", "))
	}
	o.AudioEncoder = name
	o.All = append(o.All, "-c:a", name)
	return nil
}

func (o *Options) addFilter(w optionWord) error {
	if w.base == "af" || w.audio() {
		why, err := checkFilters(w.value, audioKind())
		if err != nil {
			return err
		}
		if o.AudioFilter != "" {
			return errors.New("there are two audio filters; want one, its parts joined by commas")
		}
		o.AudioFilter = w.value
		o.All = append(o.All, "-af", w.value)
		if why != "" {
			o.whole(why)
		}
		return nil
	}
	why, err := checkFilters(w.value, videoKind())
	if err != nil {
		return err
	}
	if _, _, err := filteredSize(w.value, 1000, 1000); err != nil {
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

// addMap adds a choice of streams. Choices of the streams that are encoded in any
// case are no reason to do the whole video in one go.
func (o *Options) addMap(value string) error {
	if !mapValue.MatchString(value) {
		return fmt.Errorf("%.50q; want streams of the source, such as 0:v:0 or 0:a", value)
	}
	o.maps = append(o.maps, value)
	return nil
}

// finish completes o after its last option.
func (o *Options) finish() {
	o.finishMaps()
	switch encoder := cmp.Or(o.Encoder, EncoderX264); {
	case !slices.Contains(chunkEncoders, encoder):
		o.whole("video by " + encoder + " is not joined from units")
	case slices.Contains(countingEncoders, encoder) && !has(o.Video, "-q:v", "-qscale:v"):
		o.whole(encoder + " counts bits from the beginning of the video; with -q:v, all workers share the work")
	case slices.Contains(learningEncoders, encoder) && !o.constantQuality():
		o.whole(encoder + " needs the whole video for a bitrate; with -crf and without -b:v, all workers share the work")
	case fixedKeys(encoder) && has(o.Video, "-g"):
		o.whole(encoder + " makes key frames only every so many frames; without -g, all workers share the work")
	}
	audio := cmp.Or(o.AudioEncoder, EncoderAAC)
	switch codec, known := audioCodecs()[audio]; {
	case o.NoAudio:
	case !known:
		o.whole("audio by " + audio + " is not joined from units")
	case o.AudioRate != 0 && !slices.Contains(codec.rates, o.AudioRate):
		o.whole(fmt.Sprintf("audio of %d Hz by %s is not joined from units", o.AudioRate, audio))
	}
}

// setKeys turns the time between key frames into a number of frames.
func (o *Options) setKeys(g Grid) {
	if o.KeySeconds > 0 {
		frames := max(int(math.Round(o.KeySeconds*g.Rate.Float())), 1)
		o.Video = append(o.Video, "-g", strconv.Itoa(frames))
	}
}

// finishMaps decides by the values of -map what is encoded.
func (o *Options) finishMaps() {
	video, audio, other := false, false, false
	for _, m := range o.maps {
		switch strings.TrimSuffix(m, "?") {
		case "0":
			video, audio = true, true
		case "0:v", "0:V", "0:v:0", "0:V:0":
			video = true
		case "0:a", "0:a:0":
			audio = true
		case "0:s", "0:d", "0:t", "-0:d", "-0:t":
		case "-0:s":
			o.NoSubtitles = true
		case "-0:a":
			audio, o.NoAudio = false, true
		default:
			other = true
		}
	}
	switch {
	case len(o.maps) == 0:
	case other || !video:
		for _, m := range o.maps {
			o.All = append(o.All, "-map", m)
		}
		o.whole("-map " + o.maps[0] + " is about the whole video")
	case !audio:
		o.NoAudio = true
		o.All = append(o.All, "-an")
	}
}

// constantQuality reports whether the video has a quality, and no bitrate beside it.
func (o *Options) constantQuality() bool {
	for i, word := range o.Video {
		if (word == "-b:v" || word == "-maxrate:v" || word == "-maxrate") && o.Video[i+1] != "0" {
			return false
		}
	}
	return has(o.Video, "-crf:v", "-crf")
}

// has reports whether options have one of these names.
func has(options []string, names ...string) bool {
	return slices.ContainsFunc(options, func(word string) bool { return slices.Contains(names, word) })
}

// paramKeys are the parameters of x264 and x265 that can be the same for every
// unit. The others name files, or make key frames that are none.
var paramKeys = regexp.MustCompile(`^(aq-mode|aq-strength|b-adapt|bframes|ref|me|subme|merange|trellis|deblock|psy-rd|psy-rdoq|psy|rc-lookahead|` +
	`crf|qp|qpmin|qpmax|qpstep|ipratio|pbratio|vbv-maxrate|vbv-bufsize|bitrate|level|level-idc|high-tier|cabac|weightp|weightb|mixed-refs|8x8dct|` +
	`direct|partitions|nr|mbtree|cutree|sao|rd|rdoq-level|ctu|colorprim|transfer|colormatrix|range|threads|pools|log-level|` +
	`keyint|min-keyint|scenecut|no-scenecut|force-cfr)$`)

var paramLimits = map[string]float64{
	"threads": maxThreads, "pools": maxThreads, "ref": 16, "bframes": 16, "rc-lookahead": 250, "merange": 1024, "keyint": 1e6, "min-keyint": 1e6,
}

func (o *Options) addParams(w optionWord) error {
	for pair := range strings.SplitSeq(w.value, ":") {
		key, value, _ := strings.Cut(pair, "=")
		if !paramKeys.MatchString(key) || strings.ContainsAny(value, "/\\'\"") {
			return fmt.Errorf("%.50q is not among the parameters that are passed on", pair)
		}
		most, limited := paramLimits[key]
		if n, err := strconv.ParseFloat(value, 64); err == nil && limited && !(n >= -1 && n <= most) {
			return fmt.Errorf("%.50q is out of range; want %g at most", pair, most)
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
