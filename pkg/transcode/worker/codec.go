package worker

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
)

// encoderOf returns the encoder that a unit asks for: each has one, since units
// of one playlist must not come from different ones.
func encoderOf(u transcode.VideoUnit) string { return cmp.Or(u.Encoder, transcode.EncoderX264) }

// encoderArgs make the encoder of u put key frames where they are forced and,
// as far as it can be told, nowhere else.
func encoderArgs(u transcode.VideoUnit) []string {
	encoder := encoderOf(u)
	args := append([]string{"-c:v", encoder}, passArgs(encoder, u)...)
	if u.Custom {
		args = append(args, u.Options...)
	} else {
		args = append(append(args, qualityArgs(encoder, u.Rendition)...), u.Options...)
	}
	if u.NoCaptions && encoder == transcode.EncoderX264 {
		args = append(args, "-a53cc", "0")
	}
	if u.Container == transcode.ContainerNUT && !choosesKeys(u) && encoder != transcode.EncoderX265 {
		return args
	}
	return append(args, unlessGiven(u.Options, keyArgs(encoder, u))...)
}

// unlessGiven returns the options, all of which have values, that a user has not
// given already, with or without a stream.
func unlessGiven(given, args []string) []string {
	var rest []string
	for i := 0; i+1 < len(args); i += 2 {
		name, _, _ := strings.Cut(args[i], ":")
		user := func(word string) bool { base, _, _ := strings.Cut(word, ":"); return base == name }
		if name == "-x265-params" || !slices.ContainsFunc(given, user) {
			rest = append(rest, args[i], args[i+1])
		}
	}
	return rest
}

// av1Excess is how many seconds of its bitrate libsvtav1 spends more than it was asked for
// at the beginning of a unit: 0.36 to 0.68 in units of 4 to 40 s.
const av1Excess = 0.55

// shareParam asks libsvtav1 for so much less that all units together have the bitrate of
// their rendition. A parameter leaves alone what they must have in common.
func shareParam(u transcode.VideoUnit) string {
	if u.Custom || u.Rendition.CRF > 0 {
		return ""
	}
	length := max(u.Grid.Seconds(u.EndFrame-u.FirstFrame), 1)
	return fmt.Sprintf(":tbr=%.0f", max(float64(u.Rendition.BitrateBPS)/1000/(1+av1Excess/length), 1))
}

// capParam has libsvtav1 keep to a maximum beside a quality.
func capParam(r transcode.Rendition) string {
	if r.CRF == 0 || r.MaxrateBPS == 0 {
		return ""
	}
	return fmt.Sprintf(":mbr=%d", max(r.MaxrateBPS/1000, 1))
}

// qualityArgs are the bitrate, or the quality, of a rendition and how it is kept to.
func qualityArgs(encoder string, r transcode.Rendition) []string {
	args := []string{"-b:v", strconv.Itoa(r.BitrateBPS)}
	if r.CRF > 0 {
		args = []string{"-crf", strconv.FormatFloat(cmp.Or(r.ExactCRF, float64(r.CRF)), 'f', -1, 64)}
	}
	switch encoder {
	case "h264_v4l2m2m", "h264_omx":
		return args // know no more than that
	case transcode.EncoderX264:
		args = append(args, "-preset", "veryfast", "-profile:v", "main", "-bf", "3")
	case transcode.EncoderX265:
		args = append(args, "-preset", "veryfast")
	case transcode.EncoderAV1:
		return append(args, "-preset", "10") // knows a maximum only beside a constant quality
	}
	if r.Constant {
		args = append(args, "-minrate", strconv.Itoa(r.MaxrateBPS))
	}
	return append(args, "-maxrate", strconv.Itoa(r.MaxrateBPS), "-bufsize", strconv.Itoa(r.BufferBits))
}

// passLog is what the names of the files begin with that are left between two passes.
const passLog = "pass-"

// passArgs choose one of two passes. x265 has its own parameters for that.
func passArgs(encoder string, u transcode.VideoUnit) []string {
	if u.Pass == 0 || encoder == transcode.EncoderX265 {
		return nil
	}
	return []string{"-pass", strconv.Itoa(u.Pass), "-passlogfile", passLog + u.Rendition.Name}
}

// constantParams have x264 and x265 fill what is missing to a constant bitrate.
func constantParams(encoder string, r transcode.Rendition) string {
	switch {
	case !r.Constant:
		return ""
	case encoder == transcode.EncoderX265:
		return ":hrd=1:strict-cbr=1"
	}
	return ":nal-hrd=cbr"
}

// budgetParam gives a unit a bitrate of its own.
func budgetParam(r transcode.Rendition) string {
	if r.BudgetBPS == 0 || r.CRF > 0 {
		return ""
	}
	return fmt.Sprintf(":bitrate=%d", max((r.BudgetBPS+500)/1000, 1))
}

// stitchParam keeps x264 from parameter sets that suit only the unit of which it knows
// the statistics.
func stitchParam(u transcode.VideoUnit) string {
	if !u.Rendition.TwoPass {
		return ""
	}
	return ":stitchable=1"
}

// What x264 does at the edges of a unit and not in the middle of a run: the first key frame has
// no average of frames before it, and lacks the factor by which key frames are better than that
// (ipratio); the last frames have a lookahead that ends, and look as if no other refers to them.
const (
	firstFactor = 1.4
	lastFactor  = 1.25
	lastFrames  = 6
)

// edgeParam gives the first and the last frames of a unit the bits that they have in the middle
// of a run, so that the quality does not dip where units meet.
func edgeParam(u transcode.VideoUnit) string {
	frames := u.EndFrame - u.FirstFrame
	if u.Rendition.CRF == 0 || frames <= lastFrames {
		return ""
	}
	return fmt.Sprintf(":zones=0,0,b=%g/%d,%d,b=%g", firstFactor, frames-lastFrames, frames-1, lastFactor)
}

// noSceneCut is for the MPEG-4 encoder: 0 would make every frame a scene.
const noSceneCut = "1000000000"

// keyArgs keep an encoder from key frames of its own.
func keyArgs(encoder string, u transcode.VideoUnit) []string {
	switch encoder {
	case transcode.EncoderX264:
		args := []string{"-g", "9999", "-sc_threshold", "0"}
		if !u.Custom { // has no parameters of a user
			args = append(args, "-x264-params", "open-gop=0"+constantParams(encoder, u.Rendition)+budgetParam(u.Rendition)+stitchParam(u)+edgeParam(u))
		}
		return args // ffmpeg's own default is closed
	case transcode.EncoderX265:
		return []string{"-tag:v", "hvc1", "-forced-idr", "1", "-x265-params", x265Params(u) + hdrParams(u)}
	case transcode.EncoderAV1:
		// It cannot be told where, but makes them at a fixed distance.
		first, end := u.Segments()
		frames := u.Grid.SegmentFrames
		if end-first == 1 {
			frames = u.EndFrame - u.FirstFrame
		}
		return []string{"-g", strconv.Itoa(frames), "-svtav1-params", "scd=0" + shareParam(u) + capParam(u.Rendition)}
	case "mpeg4":
		return []string{"-g", "600", "-sc_threshold", noSceneCut}
	case "h264_v4l2m2m", "h264_omx":
		return nil // refuse -g
	case "h264_nvenc", "hevc_nvenc":
		return []string{"-g", "9999", "-forced-idr", "1", "-no-scenecut", "1"}
	case "h264_qsv", "hevc_qsv":
		return []string{"-g", "9999", "-forced_idr", "1"}
	}
	return []string{"-g", "9999"}
}

// x265Params are x265's own. info would put the command line into what all
// units must have in common.
func x265Params(u transcode.VideoUnit) string {
	fixed := "open-gop=0:info=0:log-level=error" + constantParams(transcode.EncoderX265, u.Rendition) + budgetParam(u.Rendition)
	if u.Pass > 0 {
		fixed += fmt.Sprintf(":pass=%d:stats=%s%s", u.Pass, passLog, u.Rendition.Name)
	}
	keys, given := []string{"keyint=9999", "min-keyint=1", "scenecut=0"}, ""
	for i := 0; i+1 < len(u.Options); i += 2 {
		switch {
		case strings.HasPrefix(u.Options[i], "-x265-params"):
			given = u.Options[i+1] + ":"
		case u.Options[i] == "-g":
			keys[0] = "keyint=" + u.Options[i+1]
		}
	}
	keys = slices.DeleteFunc(keys, func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return strings.Contains(":"+given, ":"+name+"=")
	})
	return given + strings.Join(append(keys, fixed), ":")
}

// pixelFormat is the filter that gives an encoder what every player shows.
func pixelFormat(encoder string) string {
	if strings.HasSuffix(encoder, "_vaapi") {
		return "format=nv12"
	}
	return "format=yuv420p"
}

// uploadFilter is the filter that brings pictures to the encoder's device; "" if it has
// none.
func uploadFilter(encoder string) string {
	if strings.HasSuffix(encoder, "_vaapi") {
		return "hwupload"
	}
	return ""
}

// deviceArgs are what an encoder wants said before the source.
func deviceArgs(encoder string) []string {
	if strings.HasSuffix(encoder, "_vaapi") {
		return []string{"-vaapi_device", renderDevice}
	}
	return nil
}

// renderDevice is the first graphics card.
const renderDevice = "/dev/dri/renderD128"
