package transcode

import (
	"fmt"
	"regexp"
)

// An optionClass is the effect of an option on the work.
type optionClass int

const (
	classVideo optionClass = iota // the same for every unit
	classAudio                    // of the audio unit
	classBoth                     // of every unit
	classFile                     // of the joined file
	classWhole                    // cannot be done in units
	classDrop                     // requests what happens in any case, or nothing
)

// A knownOption is an option that is passed on if its value is valid.
type knownOption struct {
	class       optionClass
	value       *regexp.Regexp // nil: the option has no value
	least, most float64        // of a number; equal: any
}

// The patterns of values. No match can name a file, because a word has no slash,
// and no known option opens its value.
var (
	numberValue   = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?[kKMG]?$`)
	wordValue     = regexp.MustCompile(`^[A-Za-z0-9_.+-]+$`)
	timeValue     = regexp.MustCompile(`^[0-9:.]+(ms|us|s)?$`)
	fractionValue = regexp.MustCompile(`^[0-9.]+([:/x][0-9.]+)?$`)
	mapValue      = regexp.MustCompile(`^-?0(:([vVasdt](:[0-9]{1,3})?|[0-9]{1,3}))?\??$`)
	metadataValue = regexp.MustCompile(`^[A-Za-z0-9_-]+=[^\x00-\x1f]*$`)
	passValue     = regexp.MustCompile(`^[12]$`)
	flagsValue    = regexp.MustCompile(`^[+-]?(faststart|use_metadata_tags|write_colr|disable_chpl|negative_cts_offsets)([+-](faststart|use_metadata_tags|write_colr|disable_chpl|negative_cts_offsets))*$`)
	genptsValue   = regexp.MustCompile(`^[+]?(genpts|igndts|discardcorrupt|bitexact|nobuffer|fastseek|sortdts)([+](genpts|igndts|discardcorrupt|bitexact|nobuffer|fastseek|sortdts))*$`)
	copyMapValue  = regexp.MustCompile(`^(-1|0(:g)?)$`)
	keyValue      = regexp.MustCompile(`^[a-z0-9_:.,()*+]+$`)
	anyValue      = regexp.MustCompile(`^[^\x00-\x1f]+$`) // checked separately
)

// maxThreads is the largest number of threads that an encoder may be given.
const maxThreads = 64

// knownOptions returns the options that are passed on, without stream specifier.
func knownOptions() map[string]knownOption {
	known := map[string]knownOption{
		"s": {class: classVideo, value: fractionValue}, "aspect": {class: classVideo, value: fractionValue},
		"ac": {classAudio, numberValue, 1, 8}, "cutoff": {classAudio, numberValue, 0, 96_000},
		"metadata": {class: classFile, value: metadataValue}, "disposition": {class: classFile, value: wordValue},
		"flags": {class: classWhole, value: wordValue}, "strict": {class: classBoth, value: wordValue}, "pass": {class: classWhole, value: passValue},
		"shortest": {class: classWhole}, "an": {class: classDrop}, "r": {class: classVideo, value: fractionValue}, "ar": {class: classAudio, value: numberValue},
		"g": {classVideo, numberValue, 1, 1e6}, "force_key_frames": {class: classVideo, value: keyValue}, "map": {class: classDrop, value: anyValue},
		"fps_mode": {class: classDrop, value: wordValue}, "vsync": {class: classDrop, value: wordValue},
	}
	addTo(known, classWhole, timeValue, 0, 0, "ss", "t", "to")
	addTo(known, classWhole, numberValue, 1, 1e9, "frames", "vframes")
	addTo(known, classVideo, numberValue, 0, maxVideoBPS, "b", "maxrate", "minrate")
	addTo(known, classVideo, numberValue, 0, 10*maxVideoBPS, "bufsize")
	addTo(known, classVideo, numberValue, -1, 1024, "crf", "qp", "q", "qscale", "qmin", "qmax", "trellis", "me_range", "subq")
	addTo(known, classVideo, numberValue, -1, 16, "bf", "refs", "row-mt")
	addTo(known, classVideo, numberValue, -16, 16, "cpu-used")
	addTo(known, classVideo, numberValue, 0, 250, "rc-lookahead", "lag-in-frames")
	addTo(known, classVideo, numberValue, 0, maxThreads, "threads")
	addTo(known, classVideo, numberValue, -1e9, 1e9, "keyint_min", "sc_threshold")
	addTo(known, classVideo, wordValue, 0, 0, "preset", "tune", "profile", "level", "pix_fmt", "deadline", "color_primaries", "color_trc", "colorspace", "color_range", "tag", "vtag")
	addTo(known, classVideo, anyValue, 0, 0, "c", "codec", "vcodec", "acodec", "scodec", "filter", "vf", "af", "x264-params", "x264opts", "x265-params", "f")
	addNoise(known)
	return known
}

// addNoise adds options that many command lines have and that change nothing here.
func addNoise(known map[string]knownOption) {
	addTo(known, classDrop, nil, 0, 0, "sn", "dn", "y", "n", "hide_banner", "nostdin", "stats", "nostats", "ignore_unknown")
	addTo(known, classDrop, wordValue, 0, 0, "loglevel", "v", "sws_flags", "stats_period")
	addTo(known, classDrop, numberValue, 0, 1e9, "max_muxing_queue_size", "thread_queue_size", "max_interleave_delta")
	known["fflags"] = knownOption{class: classDrop, value: genptsValue}
	known["movflags"] = knownOption{class: classDrop, value: flagsValue}
	known["avoid_negative_ts"] = knownOption{class: classDrop, value: wordValue}
	known["map_metadata"] = knownOption{class: classFile, value: copyMapValue}
	known["map_chapters"] = knownOption{class: classFile, value: copyMapValue}
}

func addTo(known map[string]knownOption, class optionClass, value *regexp.Regexp, least, most float64, names ...string) {
	for _, name := range names {
		known[name] = knownOption{class, value, least, most}
	}
}

// refusedOption names what to use instead of an option.
func refusedOption(base, name string) error {
	why := "it is not one that pibootd passes on"
	switch base {
	case "i":
		why = "a source is given once, before the options"
	case "filter_complex", "lavfi":
		why = "a complex filter may read other files; want -vf or -af"
	case "filter_script", "filter_complex_script":
		why = "it reads a file; want -vf or -af"
	case "passlogfile":
		why = "it names a file; -pass alone suffices"
	case "vn":
		why = "a file without video is not made here"
	case "aframes":
		why = "audio ends with its track; want -t or -to"
	case "attach", "dump_attachment":
		why = "it names a file; attachments are not made here"
	case "fpre", "vpre", "apre", "spre", "pre":
		why = "it reads a file; want -preset and -tune"
	case "hwaccel", "hwaccel_device", "init_hw_device", "vaapi_device":
		why = "each worker has its own devices; want --encoder, or muxhwdec for decoding"
	case "hls_time", "segment_time":
		why = "want --segment-length"
	case "hls_segment_filename", "segment_list", "hls_key_info_file", "hls_base_url":
		why = "it names a file; want --segment-name, --playlist-name, --encrypt or --url-prefix"
	case "report", "progress", "vstats", "vstats_file":
		why = "it writes a file; see pibootd jobs show"
	}
	return fmt.Errorf("ffmpeg option -%.50s: %s", name, why)
}

var (
	streamSpecifiers = []string{"", "v", "V", "v:0", "a", "a:0"}
	// ofFile matches the stream specifiers of options for the finished file.
	ofFile = regexp.MustCompile(`^(|g|s:[va](:[0-9]{1,2})?|[vas](:[0-9]{1,2})?)$`)
)

// maxOutputRate is the highest frame rate that a user can ask for.
const maxOutputRate = 240

// keyEvery matches the only expression for key frames that units can follow.
var keyEvery = regexp.MustCompile(`^expr:gte\(t,n_forced\*([0-9]+(?:\.[0-9]+)?)\)$`)

// audioRates are the sample rates that audio encoders have.
var audioRates = []int{8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000}

// paramKeys are the parameters of x264 and x265 that can be the same for every
// unit. The others name files, or make key frames that are none.
var paramKeys = regexp.MustCompile(`^(aq-mode|aq-strength|b-adapt|bframes|ref|me|subme|merange|trellis|deblock|psy-rd|psy-rdoq|psy|rc-lookahead|` +
	`crf|qp|qpmin|qpmax|qpstep|ipratio|pbratio|vbv-maxrate|vbv-bufsize|bitrate|level|level-idc|high-tier|cabac|weightp|weightb|mixed-refs|8x8dct|` +
	`direct|partitions|nr|mbtree|cutree|sao|rd|rdoq-level|ctu|colorprim|transfer|colormatrix|range|threads|pools|log-level|` +
	`keyint|min-keyint|scenecut|no-scenecut|force-cfr)$`)

var paramLimits = map[string]float64{
	"threads": maxThreads, "pools": maxThreads, "ref": 16, "bframes": 16, "rc-lookahead": 250, "merange": 1024, "keyint": 1e6, "min-keyint": 1e6,
}
