package transcode

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A filterClass is the effect of a known filter on the work.
type filterClass int

const (
	filterEachFrame filterClass = iota + 1 // reads one frame at a time
	filterMemory                           // reads other frames as well
)

// videoFilters returns the class of a video filter; 0 if it is refused. Filters
// that read or write files are refused.
func videoFilters(name string) filterClass {
	switch name {
	case "scale", "crop", "pad", "setsar", "setdar", "hflip", "vflip", "transpose", "format", "eq", "hue",
		"colorbalance", "colorchannelmixer", "colorlevels", "unsharp", "gblur", "boxblur", "avgblur", "median",
		"drawbox", "drawgrid", "negate", "lut", "lutyuv", "lutrgb", "nlmeans", "deblock", "deband", "smartblur",
		"zscale", "tonemap", "colorspace", "null", "vibrance", "monochrome", "rotate", "vignette":
		return filterEachFrame
	case "minterpolate", "tinterlace", "telecine", "interlace", "yadif", "bwdif", "w3fdif", "kerndeint", "fieldmatch",
		"decimate", "mpdecimate", "fps", "framerate", "framestep", "hqdn3d", "atadenoise", "vaguedenoiser", "dctdnoiz",
		"tblend", "tmix", "deshake", "deflicker", "fade", "reverse", "setpts", "select", "trim", "noise", "thumbnail",
		"normalize", "lagfun", "idet", "pullup", "detelecine", "separatefields", "weave", "fieldorder", "random":
		return filterMemory
	}
	return 0
}

// audioFilters returns the class of an audio filter; 0 if it is refused.
func audioFilters(name string) filterClass {
	switch name {
	case "loudnorm", "dynaudnorm", "volume", "acompressor", "alimiter", "aresample", "aformat", "highpass", "lowpass",
		"equalizer", "bass", "treble", "pan", "afade", "anull", "agate", "compand", "speechnorm", "adelay", "apad",
		"afftdn", "deesser", "stereotools", "extrastereo", "crystalizer", "anlmdn":
		return filterMemory
	}
	return 0
}

// filterFiles matches the parameters by which some filters read and write files.
var filterFiles = regexp.MustCompile(`(?i)(^|_)(file|filename|stats|stat|result|input|path|dir|url|psfile|model|log|device|cache)`)

// frameNumbers matches the variables of an expression that a unit does not know:
// the frame's number, and values stored with earlier frames.
var frameNumbers = regexp.MustCompile(`\b(n|pos|random|st|ld|eval|on|in_n)\b`)

// checkFilters refuses filters that are not known to read only their input. If a
// filter cannot be used on units, why is the reason.
func checkFilters(graph string, class func(string) filterClass) (why string, err error) {
	filters, err := splitFilters(graph)
	if err != nil {
		return "", err
	}
	for _, f := range filters {
		name, args, _ := strings.Cut(f, "=")
		kind := class(name)
		if kind == 0 {
			return "", fmt.Errorf("filter %.50q is not one that pibootd passes on", name)
		}
		if err := checkFilterArgs(name, args); err != nil {
			return "", err
		}
		switch {
		case kind == filterMemory:
			why = "filter " + name + " looks at more than one frame"
		case frameNumbers.MatchString(args):
			why = "filter " + name + " counts frames"
		}
	}
	return why, nil
}

// retimes reports whether a checked chain contains a filter that can make a video
// longer or shorter.
func retimes(graph string) bool {
	filters, err := splitFilters(graph)
	return err == nil && slices.ContainsFunc(filters, func(f string) bool {
		name, _, _ := strings.Cut(f, "=")
		return slices.Contains([]string{"setpts", "trim", "select", "thumbnail"}, name)
	})
}

func checkFilterArgs(name, args string) error {
	for arg := range strings.SplitSeq(args, ":") {
		key, _, named := strings.Cut(arg, "=")
		if named && filterFiles.MatchString(key) {
			return fmt.Errorf("filter %s: %.50q may name a file", name, arg)
		}
		// The last parameter of deshake is a file name, whether named or not.
		if name == "deshake" && !named && arg != "" {
			return fmt.Errorf("filter %s: %.50q; want parameters with their names", name, arg)
		}
	}
	return nil
}

// splitFilters splits a chain of filters at its commas. Quotes protect commas; all
// other syntax that could join or hide filters is refused.
func splitFilters(graph string) ([]string, error) {
	var filters []string
	begin, quoted := 0, false
	for i, r := range graph {
		switch {
		case r == '\'':
			quoted = !quoted
		case strings.ContainsRune("[];\\@", r) || r < ' ':
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
