package worker

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// burnRows are sources with subtitles that are burnt in. Each has one that is shown across
// the borders of units, and one that stays for longer than a unit reads before its first
// frame.
func burnRows() []mediaRow {
	german := transcode.Request{Output: transcode.Output{BurnSubtitles: "de"}}
	const sdh = "1\n00:00:00,500 --> 00:00:08,500\nOTHER\n"
	return []mediaRow{
		{name: "burnt PGS", file: "a.mkv", request: german, build: burntSource("copy", ""), want: mediaWant{frames: 100, also: likePlain(overPicture)}},
		{name: "burnt PGS in a transport stream", file: "a.m2ts", long: true, request: transcode.Request{Output: transcode.Output{BurnSubtitles: "und"}}, build: burntSource("copy", ""), want: mediaWant{frames: 100, within: 1, also: likePlain(overPicture)}},
		{name: "burnt VobSub", file: "a.mkv", request: german, build: burntSource("dvdsub", ""), want: mediaWant{frames: 100, also: likePlain(overPicture)}},
		{name: "burnt DVB", file: "a.ts", request: german, build: burntSource("dvbsub", ""), want: mediaWant{frames: 250, within: 1, also: likePlain(overPicture)}},
		{
			name: "burnt DVB of another size", file: "a.ts", request: german, long: true,
			build: func(t *testing.T, dir, file string) { // subtitles in SD, the picture is larger
				sup := written(t, "cues.sup", string(pgs(160, 90, box{0.3, 0.9, 10}, box{1.2, 9.1, 30}, box{9.5, 9.9, 50})))
				moveSource(t, makeSource(t, file, strings.Replace(gradients, "r=10", "r=25", 1)+"-fix_sub_duration -i "+sup+" -map 0 -map 1 "+x264+"-c:s dvbsub -metadata:s:s:0 language=ger"), dir)
			},
			want: mediaWant{frames: 250, within: 1, also: likePlain("[0:s:0]crop=160:90:0:0,scale=320:180[s];[0:v][s]overlay")},
		},
		{name: "burnt SRT", file: "a.mkv", request: german, build: burntSource("srt", burntCues), want: mediaWant{frames: 100, also: likePlain("subtitles=%s")}},
		{name: "burnt ASS", file: "a.mkv", long: true, request: german, build: burntSource("ass", burntCues), want: mediaWant{frames: 100, also: likePlain("subtitles=%s")}},
		{name: "burnt mov_text", file: "a.mp4", long: true, request: german, build: burntSource("mov_text", burntCues), want: mediaWant{frames: 100, also: likePlain("subtitles=%s")}},
		{name: "burnt WebVTT", file: "a.mkv", long: true, request: german, build: burntSource("webvtt", burntCues), want: mediaWant{frames: 100, also: likePlain("subtitles=%s")}},
		{
			name: "burnt PGS behind a filter", file: "a.mkv", long: true, build: burntSource("copy", ""),
			request: transcode.Request{Output: transcode.Output{
				Format: transcode.FormatMP4, BurnSubtitles: "de", Options: []string{"-c:v", "libx264", "-crf", "12", "-vf", "hflip,scale=160:90"},
			}},
			want: mediaWant{frames: 100, size: "160x90", also: likePlain("[0:s:0]scale=160:90[s];[0:v]hflip,scale=160:90[p];[p][s]overlay")},
		},
		{
			name: "burnt SRT behind a filter", file: "a.mkv", build: burntSource("srt", burntCues),
			request: transcode.Request{Output: transcode.Output{
				Format: transcode.FormatMKV, BurnSubtitles: "de", Options: []string{"-c:v", "libx264", "-crf", "12", "-vf", "hflip,scale=160:90"},
			}},
			want: mediaWant{frames: 100, size: "160x90", also: likePlain("hflip,scale=160:90,subtitles=%s")},
		},
		{
			name: "burnt PGS of a wider picture", file: "a.mkv", request: german, long: true,
			build: func(t *testing.T, dir, file string) {
				sup := written(t, "cues.sup", string(pgs(320, 180, box{0.3, 0.9, 20}, box{1.2, 9.1, 60}, box{9.5, 9.9, 100})))
				moveSource(t, makeSource(t, file, gradients+"-i "+sup+" -map 0 -map 1 -vf crop=320:140 "+x264+"-c:s copy -metadata:s:s:0 language=ger"), dir)
			},
			want: mediaWant{frames: 100, also: likePlain("[0:s:0]scale=248:140[s];[0:v][s]overlay=x=36")},
		},
		{
			name: "burnt PGS in HDR10", file: "a.mkv", build: burntHDR("copy", string(pgs(160, 90, box{0, 2, 20}))), long: true,
			request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265, BurnSubtitles: "de"}},
			want:    mediaWant{frames: 50, colors: "yuv420p10le tv bt2020nc smpte2084 bt2020", also: brightest(560, 585)},
		},
		{
			name: "burnt SRT in HDR10", file: "a.mkv", build: burntHDR("srt", "1\n00:00:00,000 --> 00:00:02,000\nTEXT TEXT\nTEXT TEXT\n"),
			request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265, Container: transcode.ContainerCMAF, BurnSubtitles: "de"}},
			want:    mediaWant{frames: 50, colors: "yuv420p10le tv bt2020nc smpte2084 bt2020", also: brightest(560, 640)},
		},
		{
			name: "burnt SRT of HDR10, tone-mapped", file: "a.mkv", build: burntHDR("srt", "1\n00:00:00,000 --> 00:00:02,000\nTEXT TEXT\nTEXT TEXT\n"), long: true,
			request: german, want: mediaWant{frames: 50, colors: "yuv420p tv bt709 bt709 bt709", note: []string{"tone-mapped"}, also: brightest(225, 245)},
		},
		{
			name: "burnt in a language that is not there", file: "a.mkv", request: transcode.Request{Output: transcode.Output{BurnSubtitles: "fr"}},
			build: burntSource("srt", sdh), want: mediaWant{fails: "it has no subtitles in Français to burn in; it has subtitles 1, Deutsch"},
		},
	}
}

// burntCues begin and end between frames of no unit's first one.
const burntCues = "1\n00:00:00,300 --> 00:00:00,900\nONE ONE ONE ONE\n\n2\n00:00:01,200 --> 00:00:09,100\nTWO TWO TWO TWO\nTWO TWO TWO TWO\n\n" +
	"3\n00:00:09,500 --> 00:00:09,900\nTHREE THREE THREE\n"

// burntSource makes a grey film of 10 s with subtitles in a codec. Those of pictures are
// boxes; copy is PGS.
func burntSource(codec, text string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		name, content := "cues.srt", text
		if text == "" {
			name, content = "cues.sup", string(pgs(320, 180, box{0.3, 0.9, 20}, box{1.25, 9.15, 60}, box{9.55, 9.9, 100}))
		}
		film, cues := gradients, "-i "+written(t, name, content)
		if codec == "dvbsub" { // seldom reads far back by chance
			film = strings.Replace(film, "r=10", "r=25", 1)
			cues = "-fix_sub_duration " + cues
		}
		moveSource(t, makeSource(t, file, film+cues+" -map 0 -map 1 "+
			x264+"-g 25 -c:s "+codec+" -metadata:s:s:0 language=ger"), dir)
	}
}

// gradients are a film that hardly moves.
const gradients = "-f lavfi -i gradients=s=320x180:r=10:d=10:speed=0.01:seed=1:c0=black:c1=gray "

// burntHDR adds subtitles in a codec to hdr10; copy is PGS.
func burntHDR(codec, content string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		name := "cues.srt"
		if codec == "copy" {
			name = "cues.sup"
		}
		film := makeSource(t, "film.mkv", hdr10)
		moveSource(t, makeSource(t, file, "-i "+film+" -i "+written(t, name, content)+" -map 0 -map 1 -c copy -c:s "+codec+" -metadata:s:s:0 language=ger"), dir)
	}
}

var brightestSample = regexp.MustCompile(`YMAX=([0-9]+)`)

// brightest makes sure that the brightest sample of all frames is within these.
func brightest(least, most float64) func(t *testing.T, o mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		args := []string{"-v", "error"}
		if filepath.Ext(o.video) == ".m3u8" {
			args = append(args, "-allowed_extensions", "ALL")
		}
		args = append(args, "-i", o.video, "-vf", "signalstats,metadata=print:key=lavfi.signalstats.YMAX:file=-", "-f", "null", "-")
		found := brightestSample.FindAllStringSubmatch(ffmpegRun(t, "", "ffmpeg", args...), -1)
		got := 0.0
		for _, f := range found {
			got = max(got, number(f[1]))
		}
		if got < least || got > most {
			t.Errorf("%s: the brightest sample is %g; want %g to %g", o.video, got, least, most)
		}
	}
}

const overPicture = "[0:v][0:s:0]overlay"

// likePlain compares each frame with one plain run of ffmpeg over the whole source, with
// these filters.
func likePlain(filter string) func(t *testing.T, o mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		dir := t.TempDir()
		if err := os.Link(o.source, filepath.Join(dir, "source")); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(filter, "%s") {
			filter = fmt.Sprintf("[0:v]"+filter, "source")
		}
		ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-i", "source", "-filter_complex", filter+",format=yuv420p[v]", "-map", "[v]", "-c:v", "ffv1", "plain.mkv")
		compareFrames(t, o.video, filepath.Join(dir, "plain.mkv"), len(o.frames), 0.955)
	}
}

// All renditions that one unit makes have the text, also of a file beside the source.
func TestBurntIntoRenditions(t *testing.T) {
	t.Parallel()
	c := newShortCluster(t, 2, 1)
	source := makeSource(t, "a.mp4", "-f lavfi -i gradients=s=320x180:r=5:d=24:speed=0.01:seed=1:c0=black:c1=gray "+x264+"-g 20")
	c.provide("a.mp4", source)
	c.provide("a.de.srt", written(t, "a.srt", burntCues))
	job := c.do(transcode.Request{Source: "a.mp4", SegmentSeconds: 1, Output: transcode.Output{
		BurnSubtitles: "deu", Rungs: []transcode.Rung{{Lines: 180}, {Lines: 90}, {Width: 200, Height: 200, BitrateBPS: 200_000}},
	}})
	if job.State != queue.Done || job.Note != "" {
		t.Fatalf("the job is %s: %s, %q; want it done without a note", job.State, job.Reason, job.Note)
	}
	if !slices.ContainsFunc(job.Units, func(u queue.UnitState) bool { return u.ID == "v-0001" }) {
		t.Errorf("units %v; want some that make all renditions", job.Units)
	}
	text := "subtitles=" + written(t, "b.srt", burntCues)
	for rendition, size := range map[string]string{"180p": "scale=320:180", "90p": "scale=160:90", "200x200": "scale=200:112,pad=200:200:0:44"} {
		plain := filepath.Join(t.TempDir(), "plain.mkv")
		ffmpegRun(t, "", "ffmpeg", "-v", "error", "-i", source, "-vf", size+",setsar=1,"+text, "-c:v", "ffv1", plain)
		compareFrames(t, filepath.Join(c.media, filepath.Dir(job.Output), rendition, transcode.MediaName), plain, 120, 0.96)
	}
	master, err := os.ReadFile(filepath.Join(c.media, job.Output))
	if err != nil || strings.Contains(string(master), "SUBTITLES") {
		t.Errorf("%v: the master playlist is\n%s\nwant no track of what is burnt in", err, master)
	}
}

var frameSSIM = regexp.MustCompile(`(?m)^n:(\d+) .*All:([0-9.]+)`)

// compareFrames makes sure that each frame of two videos is the same but for this SSIM.
func compareFrames(t *testing.T, video, plain string, count int, least float64) {
	t.Helper()
	args := []string{"-v", "error"}
	if filepath.Ext(video) == ".m3u8" {
		args = append(args, "-allowed_extensions", "ALL")
	}
	args = append(args, "-i", video, "-i", plain, "-lavfi", "[0:v]settb=1,setpts=N[a];[1:v]settb=1,setpts=N[b];[a][b]ssim=stats_file=-", "-f", "null", "-")
	frames := frameSSIM.FindAllStringSubmatch(ffmpegRun(t, t.TempDir(), "ffmpeg", args...), -1)
	if len(frames) < count {
		t.Fatalf("%d frames compared; want %d", len(frames), count)
	}
	var wrong []string
	for _, f := range frames[:count] { // a plain run may end later
		if number(f[2]) < least {
			wrong = append(wrong, f[1]+": "+f[2])
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%s: %d frames are not those of a plain run, SSIM %q; want %g", video, len(wrong), wrong[:min(len(wrong), 8)], least)
	}
}

// A box is a white picture of text.
type box struct {
	from, to float64 // seconds
	top      int     // line
}

// pgs is a file of PGS for a picture of this size, with boxes of three quarters of
// its width and a third of its height, one after the other.
func pgs(width, height int, boxes ...box) []byte {
	var sup []byte
	segment := func(at float64, kind byte, body ...byte) {
		sup = append(sup, 'P', 'G')
		sup = binary.BigEndian.AppendUint32(sup, uint32(at*90000))
		sup = append(sup, 0, 0, 0, 0, kind)
		sup = binary.BigEndian.AppendUint16(sup, uint16(len(body)))
		sup = append(sup, body...)
	}
	two := func(n int) []byte { return []byte{byte(n >> 8), byte(n)} }
	const presentation, window, palette, picture, end = 0x16, 0x17, 0x14, 0x15, 0x80
	wide, high := width*3/4, height/3
	line := []byte{0, 0xc0, byte(wide), 1, 0, 0} // so many pixels of color 1, end of line
	object := slices.Concat([]byte{0, 0, 0, 0xc0, 0}, two(4+high*len(line)), two(wide), two(high), slices.Repeat(line, high))
	size := append(two(width), two(height)...)
	for i, b := range boxes {
		at := append(append([]byte{0, 0, 0, 0}, two(width/8)...), two(b.top)...)
		windowAt := append(append([]byte{1, 0}, at[4:]...), slices.Concat(two(wide), two(high))...)
		segment(b.from, presentation, slices.Concat(size, []byte{0x10, 0, byte(2 * i), 0x80, 0, 0, 1}, at)...)
		segment(b.from, window, windowAt...)
		segment(b.from, palette, 0, 0, 1, 235, 128, 128, 255)
		segment(b.from, picture, object...)
		segment(b.from, end)
		segment(b.to, presentation, slices.Concat(size, []byte{0x10, 0, byte(2*i + 1), 0, 0, 0, 0})...)
		segment(b.to, window, windowAt...)
		segment(b.to, end)
	}
	return sup
}
