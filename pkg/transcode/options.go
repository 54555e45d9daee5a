package transcode

import (
	"cmp"
	"errors"
	"fmt"
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
	// AudioTracks are the audio tracks that -map chooses, as in Output; nil: all of them.
	AudioTracks []int
	Window      Input // what of the source is in the output
	Frames      int   // of the video, at most; 0: all
	Shortest    bool  // the output ends with the first of its streams
	// Whole is the reason why the video cannot be divided into units; "" means that
	// it can.
	Whole string
	Free  bool // frames keep their own times: VideoUnit.Free
	// LooseAudio is the reason why the audio is no stream; "": it can be one.
	LooseAudio string

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
	if err := o.Window.check(); err != nil {
		return Options{}, fmt.Errorf("ffmpeg options: %w", err)
	}
	if o.Encoder == EncoderCopy && o.Filter != "" || o.AudioEncoder == EncoderCopy && o.AudioFilter != "" {
		return Options{}, errors.New("ffmpeg options: what is copied cannot be filtered; want an encoder, such as -c:v libx264 and -c:a aac")
	}
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
		return nil
	case "sn":
		o.NoSubtitles = true
	case "map_metadata", "map_chapters":
		none := w.value == "-1"
		o.NoMetadata, o.NoChapters = o.NoMetadata || none && w.base == "map_metadata", o.NoChapters || none && w.base == "map_chapters"
		return nil
	case "pass":
		o.TwoPass = true
		o.whole("two passes need the whole video")
		return nil
	case "vsync", "fps_mode":
		if w.value != "cfr" && w.value != "1" && w.value != "auto" && w.value != "-1" {
			o.whole("-" + w.base + " " + w.value + " is about the whole video")
			o.Free = true
		}
	case "s":
		if err := checkSize(w.value); err != nil {
			return err
		}
	case "ss", "t", "to":
		return o.Window.set(w.base, w.value)
	case "frames", "vframes":
		n, err := parseNumber(w.value)
		o.Frames = int(n)
		return err
	case "shortest":
		o.Shortest = true
		return nil
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
	switch {
	case class == classWhole:
		o.whole("-" + w.base + " is about the whole video")
		o.Video = append(o.Video, words...)
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
		o.Encoder, o.AudioEncoder = EncoderCopy, EncoderCopy
		return nil
	}
	if !slices.Contains(optionEncoders, w.value) {
		return fmt.Errorf("%.50q is no encoder that is known here; want one of %s", w.value, strings.Join(optionEncoders, ", "))
	}
	o.Encoder = w.value
	return nil
}

func (o *Options) addAudioCodec(name string) error {
	if !slices.Contains(optionAudioEncoders, name) {
		return fmt.Errorf("%.50q is no audio encoder that is known here; want one of %s", name, strings.Join(optionAudioEncoders, ", "))
	}
	o.AudioEncoder = name
	return nil
}

func (o *Options) addFilter(w optionWord) error {
	if w.base == "af" || w.audio() {
		if _, err := checkFilters(w.value, audioKind()); err != nil {
			return err
		}
		if o.AudioFilter != "" {
			return errors.New("there are two audio filters; want one, its parts joined by commas")
		}
		o.AudioFilter = w.value
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
	o.Free = o.Free || retimes(w.value) || why != ""
	if why != "" {
		o.whole(why)
	}
	return nil
}

// finish completes o after its last option.
func (o *Options) finish() {
	o.Free = o.Free || o.Encoder == EncoderCopy
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
	audio := AudioRendition{Encoder: cmp.Or(o.AudioEncoder, EncoderAAC), SampleRate: o.AudioRate}
	if !o.NoAudio && audio.loose() {
		o.LooseAudio = fmt.Sprintf("audio by %s is not made in segments", audio.Encoder)
		if o.AudioRate != 0 {
			o.LooseAudio = fmt.Sprintf("audio of %d Hz by %s is not made in segments", o.AudioRate, audio.Encoder)
		}
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
