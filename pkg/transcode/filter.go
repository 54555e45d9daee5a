package transcode

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A filterKind is a table of the filters of one medium.
type filterKind struct {
	table, medium string
}

// A filterSpec is a filter that is passed on.
type filterSpec struct {
	memory  bool
	options [][]string // in ffmpeg's order, each with its aliases
}

// lookup returns the filter of this name, if it is passed on.
func (k filterKind) lookup(name string) (filterSpec, bool) {
	for line := range strings.SplitSeq(strings.TrimSpace(k.table), "\n") {
		words := strings.Fields(line)
		if words[0] != name {
			continue
		}
		spec := filterSpec{memory: words[1] == "memory"}
		for _, option := range words[2:] {
			spec.options = append(spec.options, strings.Split(option, "/"))
		}
		return spec, true
	}
	return filterSpec{}, false
}

// maxFilters bounds a chain: each filter holds at least one frame.
const maxFilters = 20

// checkFilters refuses filters and options that are not in the table. If a chain
// cannot be used on units, why is the reason.
func checkFilters(graph string, kind filterKind) (why string, err error) {
	filters, err := splitFilters(graph)
	if err != nil {
		return "", err
	}
	if len(filters) > maxFilters {
		return "", fmt.Errorf("%d filters; want %d at most", len(filters), maxFilters)
	}
	for _, f := range filters {
		name, args, _ := strings.Cut(f, "=")
		spec, known := kind.lookup(name)
		if !known {
			return "", refusedFilter(name, kind)
		}
		if err := spec.check(name, unquoted(args)); err != nil {
			return "", err
		}
		switch {
		case spec.memory && kind.medium == "video":
			why = "filter " + name + " looks at more than one frame"
		case spec.memory:
			why = "filter " + name + " changes the length of the audio"
		case kind.medium == "video" && frameNumbers.MatchString(args):
			why = "filter " + name + " counts frames"
		}
	}
	return why, nil
}

// refusedFilter names what to use instead of a filter.
func refusedFilter(name string, kind filterKind) error {
	instead := "it is not one that pibootd passes on"
	switch name {
	case "subtitles", "ass":
		instead = "it reads a file; subtitles beside the video, such as film.de.srt, are kept as tracks"
	case "movie", "amovie", "overlay", "amix", "amerge", "concat", "hstack", "vstack":
		instead = "it needs another input; join or mix the sources before"
	case "lut3d", "haldclut", "lut1d":
		instead = "it reads a file; want curves, colorbalance or eq"
	case "arnndn", "ladspa", "lv2":
		instead = "it reads a file; want afftdn or anlmdn"
	case "sofalizer", "afir", "headphone":
		instead = "it reads a file; want pan or stereotools"
	case "vidstabdetect", "vidstabtransform":
		instead = "it writes a file; want deshake"
	case "libvmaf", "psnr", "ssim", "metadata", "ametadata":
		instead = "it writes a file; measure the output where it is published"
	case "sendcmd", "asendcmd", "zmq", "azmq":
		instead = "it takes commands from elsewhere; want enable='between(t,1,2)' of a filter"
	}
	if other, ok := otherKind(kind).lookup(name); ok && other.options != nil {
		instead = "it is not for " + kind.medium
	}
	return fmt.Errorf("filter %.50q: %s", name, instead)
}

func videoKind() filterKind { return filterKind{videoFilters, "video"} }
func audioKind() filterKind { return filterKind{audioFilters, "audio"} }

func otherKind(k filterKind) filterKind {
	if k.medium == "video" {
		return audioKind()
	}
	return videoKind()
}

// namedOption matches a name and a value of a filter's option as ffmpeg splits
// them (av_opt_get_key_value): what does not match is a value by its position.
var namedOption = regexp.MustCompile(`(?s)^\s*([A-Za-z0-9_./]*)\s*=(.*)$`)

// check refuses options that are not in the filter's list, and values that no
// video needs. ffmpeg removes quotes before it splits the options, so that they do
// not protect a colon.
func (s filterSpec) check(name, args string) error {
	if args == "" {
		return nil
	}
	for i, arg := range strings.Split(args, ":") {
		key, value := "", arg
		if m := namedOption.FindStringSubmatch(arg); m != nil {
			key, value = m[1], m[2]
		} else if i < len(s.options) {
			key = s.options[i][0]
		}
		if !s.allows(key) {
			return fmt.Errorf("filter %s: %.50q is not an option that is passed on; want %s", name, arg, s.list())
		}
		if err := checkFilterValue(name, key, value); err != nil {
			return fmt.Errorf("filter %s: %w", name, err)
		}
	}
	return nil
}

// allows reports whether an option is in the list. Every filter that can be
// switched on and off by time has the option enable.
func (s filterSpec) allows(key string) bool {
	return key == "enable" || key != "-" && slices.ContainsFunc(s.options, func(names []string) bool { return slices.Contains(names, key) })
}

// list names the options, for a message.
func (s filterSpec) list() string {
	var names []string
	for _, option := range s.options {
		if option[0] != "-" {
			names = append(names, option[0])
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

var (
	number = regexp.MustCompile(`[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?`)
	// endless matches the functions of an expression that can run for ever or print.
	endless  = regexp.MustCompile(`\b(while|print|root|taylor)\s*\(`)
	fontName = regexp.MustCompile(`^[A-Za-z0-9 ._-]+$`)
)

// maxFilterNumber is the largest number of a filter's options: sample rates and
// ticks are the largest that make sense.
const maxFilterNumber = 1e7

func checkFilterValue(filter, key, value string) error {
	if endless.MatchString(value) {
		return fmt.Errorf("%.50q can run for ever; want an expression without while, print, root and taylor", value)
	}
	if filter == "drawtext" && key == "font" && !fontName.MatchString(value) {
		return fmt.Errorf("font %.50q; want the name of a font", value)
	}
	if filter == "drawtext" && key == "text" || strings.Contains(value, "0x") || strings.Contains(value, "#") {
		return nil
	}
	for _, text := range number.FindAllString(value, -1) {
		if n, err := strconv.ParseFloat(text, 64); err != nil || n > maxFilterNumber {
			return fmt.Errorf("%.50q of %s; want numbers of at most %g", value, key, float64(maxFilterNumber))
		}
	}
	return nil
}

// frameNumbers matches the variables of an expression that a unit does not know:
// the frame's number, and values stored with earlier frames.
var frameNumbers = regexp.MustCompile(`\b(n|frame_num|pos|random|st|ld|eval|on|in_n)\b`)

// retimes reports whether a checked chain contains a filter that can make a video
// longer or shorter.
func retimes(graph string) bool {
	filters, err := splitFilters(graph)
	return err == nil && slices.ContainsFunc(filters, func(f string) bool {
		name, _, _ := strings.Cut(f, "=")
		return slices.Contains([]string{"setpts", "trim", "tpad", "select", "thumbnail", "atempo", "atrim", "asetpts", "asetrate", "silenceremove"}, name)
	})
}

// unquoted removes quotes as ffmpeg does before it splits a filter's options.
func unquoted(args string) string { return strings.ReplaceAll(args, "'", "") }

// splitFilters splits a chain of filters at its commas. Quotes protect commas; all
// other syntax that could join or hide filters is refused.
func splitFilters(graph string) ([]string, error) {
	var filters []string
	begin, quoted := 0, false
	for i, r := range graph {
		switch {
		case r == '\'':
			quoted = !quoted
		case strings.ContainsRune("[];\\", r) || r < ' ':
			return nil, fmt.Errorf("%q in a filter; want a chain of filters joined by commas", r)
		case r == ',' && !quoted:
			filters, begin = append(filters, graph[begin:i]), i+1
		}
	}
	if quoted {
		return nil, fmt.Errorf("filter %.100q has a quote without its other", graph)
	}
	return append(filters, graph[begin:]), nil
}
