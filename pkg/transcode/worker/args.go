package worker

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
)

// indexName is the playlist that ffmpeg writes beside the segments. It is not
// part of the result: the published ones are written from what was measured.
const indexName = "ffmpeg.m3u8"

// inputArgs are what every reading of a source begins with: progress on
// standard output, and no protocol but what it takes to read it, so that a
// playlist sent as a video makes nobody's network requests. decoder is one of ffmpeg's names, or
// "" for its own choice.
func inputArgs(source, decoder string, at position) []string {
	args := readingArgs()
	if decoder != "" {
		args = append(args, "-c:v", decoder)
	}
	args = append(args, at.args()...)
	return append(args, sourceArgs(source)...)
}

// readingArgs are the options of every reading of a source.
func readingArgs() []string {
	return []string{
		"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning",
		"-progress", "pipe:1", "-stats_period", "1",
		"-copyts", "-max_error_rate", "1", // what cannot be decoded is reported, not refused
	}
}

// A position is where in a source reading begins.
type position struct {
	seek  float64 // seconds after the container's start; 0: at the first packet
	raw   bool    // bytes counts, and time stamps are as they are in the source
	bytes int64
	// sized says that the filters take pictures of any size: where those change, they
	// need not begin anew, which would lose their place on the grid.
	sized bool
	// canvas is the size of the picture that pictures of text are for, where ffmpeg does
	// not see it.
	canvas string
	// untimed says that the source has no time stamps.
	untimed bool
}

// args returns the options before a source that is read from there on.
func (at position) args() []string {
	var args []string
	if at.sized {
		args = append(args, "-reinit_filter", "0")
	}
	if at.canvas != "" {
		args = append(args, "-canvas_size", at.canvas)
	}
	if at.seek > 0 {
		args = append(args, "-ss", seconds(at.seek))
	}
	if at.raw {
		args = append(args, "-correct_ts_overflow", "0", "-skip_initial_bytes", strconv.FormatInt(at.bytes, 10))
	}
	if at.raw && !at.untimed {
		args = append(args, "-itsoffset", strconv.Itoa(rawOffset))
	}
	return args
}

// rawOffset is added to all time stamps of a source that is read from a byte on. If
// they begin at exactly 0, ffmpeg takes the first of the streams that it decodes for
// 0, in spite of -copyts.
const rawOffset = 1

// sourceArgs have ffmpeg read a source that is a path, or a URL of the media store.
func sourceArgs(source string) []string {
	if source == fromPipe {
		return []string{"-protocol_whitelist", "pipe", "-f", "nut", "-i", source}
	}
	if isURL(source) {
		return []string{"-protocol_whitelist", "http,tcp", "-i", source}
	}
	if strings.HasPrefix(source, subfile) {
		return []string{"-protocol_whitelist", "subfile,file,http,tcp", "-i", source}
	}
	return []string{"-protocol_whitelist", "file", "-i", "file:" + source}
}

// fromPipe is the source that is what another ffmpeg makes, in NUT.
const fromPipe = "pipe:0"

func isURL(source string) bool { return strings.HasPrefix(source, "http://") }

// VideoArgs returns ffmpeg's arguments that encode u from the file source into
// segments in its working directory. decoder is one of
// ffmpeg's names, or "" for its own choice; threads are those of each rendition's
// encoder, 0 for its own choice.
//
// Frames are numbered on the grid before they are cut, so that units of any
// length meet without a frame lost or doubled; segments are cut at each forced
// key frame, so that no rounding of lengths decides where.
func VideoArgs(u transcode.VideoUnit, source, decoder string, threads int) []string {
	if u.Encoder == transcode.EncoderCopy {
		return copyArgs(source, cmp.Or(u.Map, "0:V:0"), u.CutSeconds, u.Grid.Seconds(u.EndFrame), u.Options)
	}
	u, args := readingVideo(u, source, decoder)
	for _, p := range transcode.Pieces(transcode.Unit{Video: &u}, transcode.Result{}) {
		args = append(args, renditionArgs(*p.Unit.Video, p.Dir, threads)...)
	}
	return append(args, pictureArgs(u)...)
}

// readingVideo returns the arguments up to the source of u, and u as its filters have it.
func readingVideo(u transcode.VideoUnit, source, decoder string) (transcode.VideoUnit, []string) {
	if len(u.Parts) > 0 && u.ToneMap { // each by its own colors
		u.Color, u.ToneMap = &transcode.Color{Range: "tv", Matrix: "bt709", Transfer: "bt709", Primaries: "bt709"}, false
	}
	at := position{seek: u.SeekSeconds, raw: len(u.Spans) > 0, bytes: u.SkipBytes, untimed: u.Untimed, sized: u.Aspect > 0}
	if u.Burn != nil {
		at.canvas = u.Burn.Canvas
	}
	inputs := inputArgs(source, decoder, at)
	if len(u.Parts) > 0 {
		inputs = append(readingArgs(), partsArgs(u.Parts, source, at)...)
	}
	return u, append(deviceArgs(encoderOf(u)), inputs...)
}

// renditionArgs make the one rendition of u, in dir.
func renditionArgs(u transcode.VideoUnit, dir string, threads int) []string {
	first, _ := u.Segments()
	args := append(filterArgs(u, dir), "-an", "-sn", "-dn", "-map_chapters", "-1")
	if u.Free {
		args = append(args, "-fps_mode", "vfr")
	} else {
		args = append(args, "-fps_mode", "passthrough", "-enc_time_base", fmt.Sprintf("%d:%d", u.Grid.Rate.Den, u.Grid.Rate.Num))
	}
	args = append(args, noMetadata()...)
	args = append(args, encoderArgs(u)...)
	if threads > 0 {
		args = append(args, "-threads", strconv.Itoa(threads))
	}
	if choosesKeys(u) {
		args = append(args, "-force_key_frames", keyFrames(u))
	}
	if u.Pass == 1 {
		return append(args, "-f", "null", os.DevNull)
	}
	args = append(args,
		"-output_ts_offset", strconv.Itoa(startSeconds), "-muxdelay", "0", "-muxpreload", "0")
	if u.Container == transcode.ContainerNUT {
		return append(args, nutArgs()...)
	}
	args = append(args,
		"-f", "hls", "-hls_time", cutAfter(u), "-hls_list_size", "0", "-hls_playlist_type", "vod",
		"-hls_flags", "independent_segments", "-start_number", strconv.Itoa(first),
	)
	if u.Container == transcode.ContainerCMAF {
		args = append(args, "-video_track_timescale", strconv.Itoa(u.Grid.Rate.Num))
	}
	if encoderOf(u) == transcode.EncoderAV1 {
		// shareParam makes the bitrates of units differ, but not what they have in common.
		return append(args, segmentArgs(u.Container, dir, ":write_btrt=0")...)
	}
	return append(args, segmentArgs(u.Container, dir, "")...)
}

// noMetadata keeps out of the output what the source says of itself, and
// ffmpeg's version: the initialization section has to be the same for units that
// machines with other versions make.
func noMetadata() []string {
	return []string{"-map_metadata", "-1", "-fflags", "+bitexact", "-metadata", "encoding_tool=pibootd"}
}

// cutAfter is how long a segment at least is. What makes key frames only where
// they are forced is cut at each; where others may come between, those are
// passed over. ffmpeg multiplies it by the number of the segment within the unit, so
// that what is missing from it must stay below a frame for all segments of a unit.
func cutAfter(u transcode.VideoUnit) string {
	if e := encoderOf(u); len(u.Options) == 0 && (e == transcode.EncoderX264 || e == transcode.EncoderX265 || e == transcode.EncoderAV1) {
		return "0.1"
	}
	return seconds(u.Grid.Seconds(u.Grid.SegmentFrames) - 20e-6)
}

const startSeconds = transcode.StartPTS / 90000

// clockFilter puts the frames of u on the clock of the grid, and leaves out those that an edit
// list does not show. first has it print when frames are shown.
func clockFilter(u transcode.VideoUnit, first bool) string {
	filter := "setpts=" + timeline(u.Spans, u.SourceStart, u.Untimed)
	if len(u.Parts) > 0 {
		filter = "null" // each has been put on the grid's clock
	}
	if u.Slow > 0 {
		filter = fmt.Sprintf("setpts=PTS*%g,", u.Slow) + filter
	}
	if first {
		filter += "," + printTimes
	}
	if still := between(u.Still); still != "" {
		filter += ",select='not(" + still + ")'"
	}
	return filter + fieldFilter(u)
}

// gridFilter puts the frames of u on the grid, and passes on those of u alone. first
// has it print when frames are shown.
func gridFilter(u transcode.VideoUnit, first bool) string {
	// A first frame that is late is shown from the start of its unit: the film may begin after its
	// sound, or between two key frames.
	filter := clockFilter(u, first) + fmt.Sprintf(",fps=%s:round=near:start_time=%s", u.Grid.Rate, seconds(u.Grid.Seconds(u.FirstFrame)))
	// The last frame is shown on where the decoder yields less than the packets
	// promised. The result says for how long.
	filter += ",tpad=stop=-1:stop_mode=clone"
	return filter + fmt.Sprintf(",trim=start_pts=%d:end_pts=%d", u.FirstFrame, u.EndFrame)
}

// filterArgs have ffmpeg filter the one rendition of u, which goes to dir. The first one
// prints when frames are shown.
func filterArgs(u transcode.VideoUnit, dir string) []string {
	grid := gridFilter(u, dir == "")
	if u.Free && u.Filter == "" { // frames keep their own times
		grid = clockFilter(u, true)
	}
	before, after := pictureFilters(u)
	switch layers := u.Burn != nil && (u.Burn.Map != "" || burnWhite(u) < 1); {
	case layers:
		to := "burnt" + dir
		return []string{"-filter_complex", burnLayers(u, join(grid, before), after, to), "-map", "[" + to + "]"}
	case u.Burn != nil:
		before = join(before, burnText(u, ""))
	}
	return filmArgs(u, join(grid, before, after), "film"+dir)
}

// filmArgs have ffmpeg filter the pictures of u. to is a label that no other output has.
func filmArgs(u transcode.VideoUnit, filter, to string) []string {
	label, parts := videoSource(u)
	if parts == "" {
		return []string{"-map", label, "-vf", filter}
	}
	return []string{"-filter_complex", fmt.Sprintf("%s[%s]%s[%s]", parts, label, filter, "of"+to), "-map", "[of" + to + "]"}
}

// join joins chains of filters, of which some may be empty.
func join(chains ...string) string {
	return strings.Join(slices.DeleteFunc(chains, func(c string) bool { return c == "" }), ",")
}

// pictureFilters returns the filters that make a rendition of pictures on the grid:
// before subtitles are drawn into them, and after.
func pictureFilters(u transcode.VideoUnit) (before, after string) {
	if u.Custom {
		var custom []string
		if u.SourceWidth > 0 && u.Aspect > 0 {
			custom = append(custom, letterbox(u.SourceWidth, u.SourceHeight, u.Aspect))
		}
		if u.ToneMap && u.Color != nil {
			custom = append(custom, toneMap(u.Color))
		}
		return join(append(custom, u.Filter)...), ""
	}
	before = join(u.Filter, sizeFilter(u), "setsar=1")
	return join(before, colorFilter(u)), uploadFilter(encoderOf(u))
}

// sizeFilter gives pictures the size of a rendition, with black bars around them if the
// rendition has another shape.
func sizeFilter(u transcode.VideoUnit) string {
	r := u.Rendition
	width, height := cmp.Or(r.PictureWidth, r.Width), cmp.Or(r.PictureHeight, r.Height)
	size := fmt.Sprintf("scale=%d:%d", width, height)
	aspect := u.Aspect
	if u.Filter != "" && aspect == 0 { // a filter may have changed the shape
		aspect = float64(width) / float64(height)
	}
	if aspect > 0 {
		size = letterbox(width, height, aspect)
	}
	if r.PictureWidth > 0 {
		size += fmt.Sprintf(",pad=%d:%d:(ow-iw)/2:(oh-ih)/2", r.Width, r.Height)
	}
	return size
}

// sized gives all pictures of u one size.
func sized(u transcode.VideoUnit, width, height int) string {
	if u.Aspect > 0 {
		return letterbox(width, height, u.Aspect)
	}
	return fmt.Sprintf("scale=%d:%d", width, height)
}

// keyFrames forces a key frame at the start of each segment, but not within
// the last one, which may be longer than the others.
func keyFrames(u transcode.VideoUnit) string {
	_, end := u.Segments()
	last, _ := u.Grid.Segment(end - 1)
	return fmt.Sprintf("expr:not(mod(n,%d))*lte(n,%d)", u.Grid.SegmentFrames, last-u.FirstFrame)
}

// AudioArgs returns ffmpeg's arguments that encode u from the file source into
// segments in its working directory.
func AudioArgs(u transcode.AudioUnit, source string) []string {
	if u.Rendition.Encoder == transcode.EncoderCopy {
		return copyArgs(source, fmt.Sprintf("0:a:%d", u.Rendition.Stream), u.CutSeconds, u.Rendition.Seconds, u.Options)
	}
	args := append(soundArgs(u, source, readingArgs(), true, audioFilter(u)),
		"-vn", "-sn", "-dn", "-map_chapters", "-1",
		"-c:a", u.Rendition.EncoderName(), "-b:a", strconv.Itoa(u.Rendition.BitrateBPS),
		"-ac", strconv.Itoa(u.Rendition.Channels), "-ar", strconv.Itoa(u.Rendition.Rate()),
		"-output_ts_offset", strconv.Itoa(startSeconds), "-muxdelay", "0", "-muxpreload", "0")
	args = append(args, noMetadata()...)
	args = append(args, u.Options...)
	if u.Container == transcode.ContainerNUT {
		return append(args, nutArgs()...)
	}
	args = append(args, "-f", "hls", "-hls_time", seconds(u.SegmentSeconds), "-hls_list_size", "0", "-hls_playlist_type", "vod")
	if u.First > 0 {
		args = append(args, "-start_number", strconv.Itoa(u.First-u.Lead()))
	}
	return append(args, segmentArgs(u.Container, "", "")...)
}

// soundArgs have ffmpeg read the sound of u, in the time of the video, and filter it. options
// come before the source.
func soundArgs(u transcode.AudioUnit, source string, options []string, print bool, filter string) []string {
	inputs, stream, clock := audioSource(u, source, print)
	args := append(options, inputs...)
	if stream == "" {
		return append(args, "-filter_complex", clock+","+filter+"[sound]", "-map", "[sound]")
	}
	return append(args, "-map", stream, "-af", clock+","+filter)
}

// audioFilter gives audio that is on the video's clock its planned length, with silence
// where nothing could be decoded.
func audioFilter(u transcode.AudioUnit) string {
	filter := ""
	if u.Filter != "" {
		filter = u.Filter + ","
	}
	portion := ""
	if start := u.StartSeconds(); start > 0 {
		// Samples are counted from the source's beginning: its time stamps may be rounded.
		portion = fmt.Sprintf("atrim=start_pts=%.0f,", start*float64(u.Rendition.Rate()))
	}
	silence := ""
	if still := between(u.Still); still != "" {
		silence = "volume=0:enable='" + still + "',"
	}
	return fmt.Sprintf("aresample=async=1:first_pts=0,%s%s%sapad,atrim=end=%s", silence, portion, filter, seconds(u.EndSeconds()))
}

// between returns an expression that is not 0 in any of the stretches, of which the first
// moment belongs to them and the last does not; "" without any.
func between(list []transcode.Held) string {
	const rounding = 0.002 // more than time stamps are
	var parts []string
	for _, h := range list {
		parts = append(parts, fmt.Sprintf("gte(t,%s)*lt(t,%s)", seconds(h.From-rounding), seconds(h.To-rounding)))
	}
	return strings.Join(parts, "+")
}

// segmentArgs are the end of the arguments: segments in dir. frag_discont makes
// each fragment say when it is decoded, as if all that came before it were there. more are
// other options of the muxer of CMAF.
func segmentArgs(c transcode.Container, dir, more string) []string {
	name, index := filepath.Join(dir, "%05d."), filepath.Join(dir, indexName)
	if c == transcode.ContainerCMAF {
		return []string{
			"-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", transcode.InitName, // beside the index
			"-hls_segment_options", "movflags=+frag_discont" + more, "-hls_segment_filename", name + "m4s", index,
		}
	}
	return []string{"-hls_segment_type", "mpegts", "-hls_segment_filename", name + "ts", index}
}

// seconds writes a time as ffmpeg's options and expressions take it.
func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 6, 64) }
