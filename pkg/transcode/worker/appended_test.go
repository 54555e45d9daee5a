package worker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// joinedRows are films that were appended to one another, with texts.
func joinedRows() []mediaRow {
	files := transcode.Request{Output: transcode.Output{Format: transcode.FormatMKV}}
	return []mediaRow{
		{
			name: "joined with subtitles and chapters", file: "a.mkv", build: joinedTexts(motion(25, 4), "srt"),
			want: mediaWant{frames: 200, within: 2, rate: "25/1", also: textsFollow},
		},
		{
			name: "joined with ASS", file: "a.mkv", long: true, build: joinedTexts(motion(25, 4), "ass"), request: files,
			want: mediaWant{frames: 200, within: 2, rate: "25/1", also: textsFollow},
		},
		{
			name: "joined MP4", file: "a.mp4",
			build: func(t *testing.T, dir, file string) {
				joinFiles(t, dir, file, motion(25, 2)+x264, motion(25, 3)+x264, motion(25, 4)+x264+"-movflags faststart")
			},
			want: mediaWant{frames: 50, seconds: 2, note: []string{"not in the output: 7.0 s of 2 more films that were appended to an MP4 file: players see the first alone"}},
		},
		{
			name: "joined MP4 in fragments", file: "a.mp4", long: true,
			build: func(t *testing.T, dir, file string) {
				film := motion(25, 3) + x264 + "-g 25 -movflags frag_keyframe+empty_moov "
				joinFiles(t, dir, file, film, film)
			},
			want: mediaWant{frames: 75, within: 1, note: []string{"not in the output: 1 more film that was appended to an MP4 file: players see the first alone"}, also: followsOn},
		},
		{
			name: "joined WMV", file: "a.wmv", long: true,
			build: func(t *testing.T, dir, file string) {
				film := motion(25, 3) + "-c:v wmv2 -b:v 2M "
				joinFiles(t, dir, file, film, film)
			},
			want: mediaWant{frames: 75, within: 1, note: []string{"nothing could be read of the last "}},
		},
		{
			name: "joined AVI", file: "a.avi", long: true,
			build: func(t *testing.T, dir, file string) {
				film := motion(25, 3) + "-c:v mpeg4 "
				joinFiles(t, dir, file, film, film)
			},
			want: mediaWant{frames: 150, within: 1, also: followsOn},
		},
		{
			name: "joined FLV", file: "a.flv", long: true,
			build: func(t *testing.T, dir, file string) {
				film := motion(25, 3) + x264 + "-g 25 "
				joinFiles(t, dir, file, film, film)
			},
			want: mediaWant{frames: 75, within: 1, note: []string{"nothing could be read of the last "}},
		},
		{
			name: "joined, burnt SRT", file: "a.mkv", build: joinedTexts("-f lavfi -i color=black:s=160x90:r=25:d=4 ", "srt"),
			request: transcode.Request{Output: transcode.Output{BurnSubtitles: "und"}},
			want:    mediaWant{frames: 200, within: 2, rate: "25/1", also: textLit},
		},
		{
			name: "joined, burnt PGS", file: "a.mkv", build: joinedPGS, request: transcode.Request{Output: transcode.Output{BurnSubtitles: "de"}},
			want: mediaWant{frames: 200, within: 2, rate: "25/1", also: textLit},
		},
		{
			name: "joined, burnt PGS of the second file", file: "a.mkv", long: true, build: joinedPGSLast, request: transcode.Request{Output: transcode.Output{BurnSubtitles: "de"}},
			want: mediaWant{fails: "it has no subtitles in Deutsch to burn in; it has none"},
		},
		{
			name: "joined of two codecs", file: "a.mkv",
			build: func(t *testing.T, dir, file string) {
				sound := "-f lavfi -i sine=440:d=4 "
				joinFiles(t, dir, file, motion(25, 4)+sound+x264+"-c:a aac", motion(25, 4)+sound+x265+"-c:a ac3")
			},
			want: mediaWant{frames: 200, within: 2, rate: "25/1", size: "160x90", seconds: 8, tracks: []string{"video h264", "audio aac"}, also: followsOn},
		},
		{
			name: "joined of one codec, encoded in two ways", file: "a.mkv", long: true,
			build: func(t *testing.T, dir, file string) {
				joinFiles(t, dir, file, motion(25, 4)+"-c:v libx264 -bf 3 -refs 3 -pix_fmt yuv420p", motion(25, 4)+"-c:v libx264 -profile:v baseline -pix_fmt yuv420p")
			},
			want: mediaWant{frames: 200, within: 2, rate: "25/1", size: "160x90", seconds: 8, also: followsOn},
		},
		{
			name: "joined of two sizes", file: "a.mkv",
			build: func(t *testing.T, dir, file string) {
				joinFiles(t, dir, file, shaped("160x90", 0), shaped("240x180", 0))
			},
			want: mediaWant{frames: 150, within: 2, size: "160x90", seconds: 6, also: bars(4, 20, 0)},
		},
		{
			name: "joined, HDR10 after SDR", file: "a.mkv", long: true,
			build: func(t *testing.T, dir, file string) { joinFiles(t, dir, file, sdrH265, hdr10) },
			want:  mediaWant{frames: 100, within: 2, colors: "yuv420p tv bt709 bt709 bt709", note: []string{"HDR (PQ) from 2.0 s on is tone-mapped to SDR, in which the source begins"}, also: lights([2]int{120, 132}, [2]int{180, 230})},
		},
		{
			name: "joined, a part of it", file: "a.mkv", build: joinedTexts(motion(25, 4), "srt"), long: true,
			request: transcode.Request{Output: transcode.Output{InputOptions: []string{"-ss", "2"}}},
			want:    mediaWant{frames: 150, within: 2, rate: "25/1", also: textsFollowCut},
		},
	}
}

// joinedTexts makes two films with subtitles and chapters, and appends one to the other. The
// second one's first subtitle is one that could follow in the first film.
func joinedTexts(picture, codec string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		film := func(cues, chapters string) string {
			return picture + "-f lavfi -i sine=440:d=4 -i " + written(t, "cues.srt", cues) + " -f ffmetadata -i " + written(t, "meta", ";FFMETADATA1\n"+chapters) +
				" -map 0 -map 1 -map 2 -map_metadata 3 -map_chapters 3 " + x264 + "-c:a aac -c:s " + codec + " "
		}
		joinFiles(t, dir, file,
			film("1\n00:00:01,000 --> 00:00:01,500\none\n\n2\n00:00:03,000 --> 00:00:09,000\nlong\n",
				"[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=3000\ntitle=A\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=3000\nEND=4000\ntitle=B\n"),
			film("1\n00:00:03,200 --> 00:00:03,700\nlast\n", "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=C\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=4000\ntitle=D\n"))
	}
}

// joinedPGS makes what joinedTexts makes, with pictures of text.
func joinedPGS(t *testing.T, dir, file string) {
	film := func(after string, boxes ...box) string { // ffmpeg shifts the first picture of text to 0
		return "-f lavfi -i color=black:s=160x90:r=25:d=4 -itsoffset " + after + " -i " + written(t, "cues.sup", string(pgs(160, 90, boxes...))) +
			" -map 0 -map 1 -t 4 " + x264 + "-g 25 -c:s copy -metadata:s:s:0 language=ger "
	}
	joinFiles(t, dir, file, film("1", box{0, 0.5, 20}, box{2, 9, 40}), film("3.2", box{0, 0.5, 30}))
}

// joinedPGSLast makes two films, of which the second has pictures of text.
func joinedPGSLast(t *testing.T, dir, file string) {
	plain := "-f lavfi -i color=black:s=160x90:r=25:d=4 "
	joinFiles(t, dir, file, plain+x264, plain+"-i "+written(t, "cues.sup", string(pgs(160, 90, box{0, 0.5, 20})))+" -map 0 -map 1 "+x264+"-c:s copy -metadata:s:s:0 language=ger")
}

func textsFollow(t *testing.T, o mediaOutput) {
	t.Helper()
	compareTexts(t, o, []string{"1.0-1.5 one", "3.0-4.0 long", "7.2-7.7 last"}, []string{"0.0-3.0 A", "3.0-4.0 B", "4.0-5.0 C", "5.0-8.0 D"})
}

func textsFollowCut(t *testing.T, o mediaOutput) {
	t.Helper()
	compareTexts(t, o, []string{"1.0-2.0 long", "5.2-5.7 last"}, []string{"0.0-1.0 A", "1.0-2.0 B", "2.0-3.0 C", "3.0-6.0 D"})
}

// compareTexts compares the subtitles and the chapters of an output, whose times are within
// a tenth of a second.
func compareTexts(t *testing.T, o mediaOutput, cues, chapters []string) {
	t.Helper()
	for kind, texts := range map[string][2][]string{"cues": {shownCues(t, o), cues}, "chapters": {shownChapters(t, o), chapters}} {
		if !slices.EqualFunc(texts[0], texts[1], sameMoment) {
			t.Errorf("%s: %s %q; want %q", o.entry, kind, texts[0], texts[1])
		}
	}
}

// sameMoment compares two texts of the form FROM-TO TEXT.
func sameMoment(a, b string) bool {
	var from, to [2]float64
	var text [2]string
	for i, s := range []string{a, b} {
		if _, err := fmt.Sscanf(s, "%f-%f %s", &from[i], &to[i], &text[i]); err != nil {
			return false
		}
	}
	near := func(x [2]float64) bool { return x[0]-x[1] < 0.11 && x[1]-x[0] < 0.11 }
	return near(from) && near(to) && text[0] == text[1]
}

func shownCues(t *testing.T, o mediaOutput) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(o.entry), "subtitles-1", "*.vtt"))
	if err != nil {
		t.Fatal(err)
	}
	if o.job.Request.IsFile() {
		whole := filepath.Join(t.TempDir(), "whole.vtt")
		ffmpegRun(t, "", "ffmpeg", "-v", "error", "-i", o.entry, "-map", "0:s:0", whole)
		names = []string{whole}
	}
	var list []string
	for _, name := range names {
		list = append(list, readCues(t, name)...)
	}
	return list
}

func readCues(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	track, err := mediafile.ReadWebVTT(f)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, c := range track.Cues {
		list = append(list, fmt.Sprintf("%.1f-%.1f %s", c.Start.Seconds(), c.End.Seconds(), styles.ReplaceAllString(strings.TrimSpace(c.Text), "")))
	}
	return list
}

// shownChapters reads the chapters of a file, or those beside a stream.
func shownChapters(t *testing.T, o mediaOutput) []string {
	t.Helper()
	var found struct {
		Chapters []struct {
			Start string `json:"start_time"`
			End   string `json:"end_time"`
			Tags  tags   `json:"tags"`
		} `json:"chapters"`
	}
	if !o.job.Request.IsFile() {
		return readCues(t, filepath.Join(filepath.Dir(o.entry), transcode.ChaptersVTTName))
	}
	out := ffmpegRun(t, "", "ffprobe", "-v", "error", "-show_chapters", "-of", "json", o.entry)
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, c := range found.Chapters {
		list = append(list, fmt.Sprintf("%.1f-%.1f %s", number(c.Start), number(c.End), c.Tags.get("title")))
	}
	return list
}

// textLit makes sure that a dark film is bright when its subtitles are shown, and only then.
func textLit(t *testing.T, o mediaOutput) {
	t.Helper()
	dir := t.TempDir()
	ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-i", o.video, "-map", "0:v", "-vf", "signalstats,metadata=print:key=lavfi.signalstats.YMAX:file=report", "-f", "null", "-")
	text, err := os.ReadFile(filepath.Join(dir, "report"))
	if err != nil {
		t.Fatal(err)
	}
	var lit []string
	begin := -1
	found := brightestSample.FindAllSubmatch(text, -1)
	for i, f := range append(found, [][]byte{nil, []byte("0")}) {
		switch bright := number(string(f[1])) > 60; {
		case bright && begin < 0:
			begin = i
		case !bright && begin >= 0:
			lit = append(lit, fmt.Sprintf("%.1f-%.1f lit", float64(begin)/25, float64(i)/25))
			begin = -1
		}
	}
	if want := []string{"1.0-1.5 lit", "3.0-4.0 lit", "7.2-7.7 lit"}; !slices.EqualFunc(lit, want, sameMoment) {
		t.Errorf("%s: text in the picture at %q; want %q", o.entry, lit, want)
	}
}

// A worker that does not mount the media share finds out the same over HTTP.
func TestAppendedOverHTTP(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	joinedTexts(motion(25, 1), "srt")(t, dir, "a.mkv")
	film := motion(25, 1) + x264
	joinFiles(t, dir, "a.mp4", film, film)
	server := httptest.NewServer(http.StripPrefix(transcode.PathShare, http.FileServer(http.Dir(dir))))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := &Worker{Log: testLog(t)}
	if w.remote, err = newRemote(w, base, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	defer w.remote.close()
	for _, name := range []string{"a.mkv", "a.mp4"} {
		source, err := w.remote.source(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		remote, stderr, err := w.probe(t.Context(), source, newPulse(time.Now()))
		if err != nil {
			t.Fatalf("%s: %v, %q", name, err, stderr)
		}
		local, _, err := (&Worker{Log: testLog(t)}).probe(t.Context(), filepath.Join(dir, name), newPulse(time.Now()))
		if err != nil || !reflect.DeepEqual(remote, local) || len(remote.Chapters) < 3 && remote.MoreFilms != 1 {
			t.Errorf("%s: over HTTP %+v; from a mount %+v, %v", name, remote, local, err)
		}
	}
}
