package transcode

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An Input is what a user's input options ask of the source. They act on what the probe
// has found, so that the plan and its units follow.
type Input struct {
	From float64  // seconds that are left out at the beginning
	To   float64  // the end in seconds, or from From if Long; 0: the source's
	Long bool     // To is a length
	Rate Rational // frames per second of a source without time stamps; 0: its own
}

// maxInputOptions is the number of words of input options.
const maxInputOptions = 30

// errorValue matches how ffmpeg may treat damage, which is reported here and never refused.
var errorValue = regexp.MustCompile(`^\+?(ignore_err|careful|compliant|aggressive|crccheck|bitstream|buffer)([+](ignore_err|careful|compliant|aggressive|crccheck|bitstream|buffer))*$`)

// ParseInputOptions reads ffmpeg's options for its input. Its errors name the option that
// is refused, and what to use instead.
func ParseInputOptions(words []string) (Input, error) {
	var in Input
	if len(words) > maxInputOptions {
		return in, fmt.Errorf("%d words of input options; want %d at most", len(words), maxInputOptions)
	}
	for len(words) > 0 {
		name, ok := strings.CutPrefix(words[0], "-")
		if !ok || name == "" {
			return in, fmt.Errorf("input options: %.100q stands where an option is expected; want options only, no file names", words[0])
		}
		values, known := inputValues()[name]
		switch {
		case !known:
			return in, refusedInput(name)
		case values == nil:
			words = words[1:]
			continue
		case len(words) < 2:
			return in, fmt.Errorf("input option -%s: its value is missing", name)
		case len(words[1]) > maxOptionBytes || !values.MatchString(words[1]):
			return in, fmt.Errorf("input option -%s: %.100q is no value that it may have", name, words[1])
		}
		if err := in.set(name, words[1]); err != nil {
			return in, fmt.Errorf("input option -%s: %w", name, err)
		}
		words = words[2:]
	}
	if err := in.check(); err != nil {
		return in, fmt.Errorf("input options: %w", err)
	}
	return in, nil
}

func (in Input) check() error {
	if in.To > 0 && !in.Long && in.To <= in.From {
		return fmt.Errorf("from %g to %g s; want an end after the beginning", in.From, in.To)
	}
	return nil
}

// inputValues returns the input options that are known, with their values; nil: none. Those
// that set does not know ask for what happens in any case.
func inputValues() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"ss": timeValue, "t": timeValue, "to": timeValue, "r": fractionValue, "framerate": fractionValue,
		"fflags": genptsValue, "err_detect": errorValue,
		"accurate_seek": nil, "hide_banner": nil, "nostdin": nil, "y": nil, "n": nil,
	}
}

func (in *Input) set(name, value string) (err error) {
	switch name {
	case "ss":
		in.From, err = ParseTime(value)
	case "t", "to":
		if in.To > 0 {
			return errors.New("there is an end already; want -t or -to, once")
		}
		in.Long = name == "t"
		if in.To, err = ParseTime(value); err == nil && in.To == 0 {
			err = errors.New("an end at 0 s; want a later one")
		}
	case "r", "framerate":
		in.Rate, err = ParseRate(value)
	}
	return err
}

// refusedInput names what to use instead of an input option.
func refusedInput(name string) error {
	why := "it is not one that pibootd passes on"
	switch base, _, _ := strings.Cut(name, ":"); base {
	case "i":
		why = "the source is the video that was handed in"
	case "f":
		why = "the format is found out by the contents of the file"
	case "probesize", "analyzeduration":
		why = "all packets of the source are read before it is planned"
	case "hwaccel", "hwaccel_device", "hwaccel_output_format", "init_hw_device", "c", "vcodec", "codec":
		why = "each worker chooses its decoder; want muxhwdec for decoding by hardware"
	case "stream_loop", "concat", "loop":
		why = "join the video with itself before"
	case "itsoffset", "itsscale":
		why = "time stamps are the source's; want -af adelay after --, or setpts in -vf"
	case "re", "readrate":
		why = "live streams are not made here"
	case "sseof":
		why = "want -ss, from the beginning"
	case "s", "video_size", "pix_fmt", "pixel_format", "ar", "ac", "sample_rate", "channels":
		why = "raw pictures and samples say nothing of themselves; want them in a container, such as Matroska or Y4M"
	case "protocol_whitelist", "safe", "allowed_extensions", "format_whitelist", "codec_whitelist":
		why = "a source is one file, and refers to no other"
	}
	return fmt.Errorf("input option -%.50s: %s", name, why)
}

// ParseTime reads a time as ffmpeg does: 90, 1:30, 0:01:30.5 or 90000ms. It returns
// seconds.
func ParseTime(text string) (float64, error) {
	wrong := fmt.Errorf("time %.50q; want 0 s to a day, e.g. 90, 1:30 or 0:01:30.5", text)
	scale, number := 1.0, text
	for suffix, s := range map[string]float64{"ms": 1e-3, "us": 1e-6} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			number, scale = rest, s
		}
	}
	if scale == 1 {
		number = strings.TrimSuffix(number, "s")
	}
	parts := strings.Split(number, ":")
	if len(parts) > 3 || len(parts) > 1 && number != text {
		return 0, wrong
	}
	seconds := 0.0
	for i, part := range parts {
		n, err := strconv.ParseFloat(part, 64)
		whole := i < len(parts)-1
		if err != nil || !(n >= 0) || whole && strings.Contains(part, ".") || len(parts) > 1 && i > 0 && n >= 60 {
			return 0, wrong
		}
		seconds = 60*seconds + n
	}
	if seconds *= scale; !(seconds <= maxSeconds) {
		return 0, wrong
	}
	return seconds, nil
}

// apply returns the probe of what in leaves of a source.
func (in Input) apply(p Probe) (Probe, error) {
	if p.Video != nil {
		v := *p.Video
		p.Video = &v
	}
	if in.Rate.Num > 0 {
		if p.Video == nil || !p.Untimed {
			return p, errors.New("-r before the input is for video without time stamps, and this one has some; want -r after -- for another rate of the output")
		}
		p.slow(in.Rate)
	}
	if in.From == 0 && in.To == 0 {
		return p, nil
	}
	length := 0.0
	if p.Video != nil {
		length = videoSeconds(p)
	} else if p.Audio != nil {
		length = audioSeconds(p, *p.Audio)
	}
	if in.From >= length {
		return p, fmt.Errorf("it is %.1f s long, and -ss leaves out %.1f", length, in.From)
	}
	to := math.Inf(1)
	switch {
	case in.Long:
		to = in.From + in.To
	case in.To > 0:
		to = in.To
	}
	p.window(in.From, to)
	return p, nil
}

// slow gives a source without time stamps another rate.
func (p *Probe) slow(rate Rational) {
	v := p.Video
	v.Slow = v.Rate.Float() / rate.Float()
	v.EndSeconds, v.MaxGapSeconds, v.MaxGOPSeconds = videoSeconds(*p)*v.Slow, v.MaxGapSeconds*v.Slow, v.MaxGOPSeconds*v.Slow
	v.Rate = rate
	p.Entries = slices.Clone(p.Entries)
	for i := range p.Entries {
		p.Entries[i].Seconds *= v.Slow
	}
}

// later returns stretches that are so many seconds later; those before 0 are left out.
func later(list []Held, seconds float64) []Held {
	var moved []Held
	for _, h := range list {
		if h.To+seconds > 0 {
			moved = append(moved, Held{From: max(h.From+seconds, 0), To: h.To + seconds})
		}
	}
	return moved
}

// window leaves of p what is shown from one time to another.
func (p *Probe) window(from, to float64) {
	end := func(seconds float64) float64 { return max(min(seconds, to)-from, 0.001) }
	if p.Video != nil {
		p.Video.EndSeconds, p.Video.Still = end(videoSeconds(*p)), later(p.Video.Still, -from)
	}
	audio := func(a AudioStream) AudioStream {
		a.EndSeconds, a.Still = end(audioSeconds(*p, a)), later(a.Still, -from)
		return a
	}
	if p.Audio != nil {
		first := audio(*p.Audio)
		p.MoreAudio = slices.Clone(p.MoreAudio)
		for i, a := range p.MoreAudio {
			p.MoreAudio[i] = audio(a)
		}
		p.Audio = &first
	}
	p.Start, p.CutSeconds, p.Windowed = p.Start+from, p.CutSeconds+from, true
	p.Spans, p.Entries, p.Subtitles, p.Parts = slices.Clone(p.Spans), slices.Clone(p.Entries), slices.Clone(p.Subtitles), slices.Clone(p.Parts)
	for i := range p.Parts {
		p.Parts[i].Seconds -= from
	}
	for i := range p.Spans {
		p.Spans[i].At -= from
	}
	for i := range p.Entries {
		p.Entries[i].Seconds -= from
	}
	for i := range p.Subtitles {
		p.Subtitles[i].Long = slices.Clone(p.Subtitles[i].Long)
		for j := range p.Subtitles[i].Long {
			p.Subtitles[i].Long[j].From -= from
			p.Subtitles[i].Long[j].To -= from
		}
	}
	chapters := p.Chapters
	p.Chapters = nil
	for _, c := range chapters {
		if c.StartSeconds < to && c.EndSeconds > from {
			p.Chapters = append(p.Chapters, Chapter{max(c.StartSeconds-from, 0), min(c.EndSeconds, to) - from, c.Title})
		}
	}
}
