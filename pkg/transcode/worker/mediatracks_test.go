package worker

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// trackRows are sources with more than one audio track, with subtitles, chapters and
// covers, or without video.
func trackRows() []mediaRow {
	const pictureOf = "-f lavfi -i testsrc2=s=64x64:r=25:d=3 "
	const languages = pictureOf + "-f lavfi -i sine=300:d=3 -f lavfi -i sine=600:d=3 -map 0 -map 1 -map 2 " + x264 +
		"-c:a aac -metadata:s:a:0 language=eng -metadata:s:a:0 title=Commentary -metadata:s:a:1 language=ger "
	stillUntil := mediaWant{
		frames: 10, seconds: 0.4, also: hasTracks("video", "audio"),
		note: []string{"the last picture stands still until 0.4 s: browsers do not play shorter streams with sound"},
	}
	return []mediaRow{
		{
			name: "default track second", file: "default-second.mkv",
			args: languages + "-disposition:a:0 comment -disposition:a:1 default",
			want: mediaWant{frames: 75, within: 1, also: hasTracks("video", "audio de", "audio en")},
		},
		{
			name: "audio by language", file: "a.mp4", args: languages, long: true,
			request: transcode.Request{Output: transcode.Output{AudioLangs: []string{"de"}}},
			want:    mediaWant{note: []string{"not in the output, because others were asked for: audio 1, English"}, also: hasTracks("video", "audio de")},
		},
		{
			name: "5.1", file: "a.mkv", args: pictureOf + "-f lavfi -i sine=300:d=3 " + x264 + "-c:a ac3 -ac 6",
			want: mediaWant{frames: 75, seconds: 3, also: hasTracks("video", "audio")},
		},
		{
			name: "7.1", file: "a.mkv", args: pictureOf + "-f lavfi -i sine=300:d=3 " + x264 + "-c:a flac -ac 8", long: true,
			want: mediaWant{frames: 75, seconds: 3, also: hasTracks("video", "audio")},
		},
		{
			name: "stereo, then 5.1", file: "a.ts", build: soundChanges("-c:a ac3 -ac 2", "-c:a ac3 -ac 6"),
			want: mediaWant{frames: 150, within: 1, seconds: 6, also: changesTone},
		},
		{
			name: "48 kHz, then 32 kHz", file: "a.ts", long: true, build: soundChanges("-c:a mp2 -ar 48000", "-c:a mp2 -ar 32000"),
			want: mediaWant{frames: 150, within: 1, seconds: 6, also: changesTone},
		},
		{name: "SRT", file: "a.mkv", build: subtitledBy("srt"), want: mediaWant{also: hasTracks("video", "subtitle de", "subtitle en")}},
		{name: "ASS", file: "a.mkv", build: subtitledBy("ass"), long: true, want: mediaWant{also: hasTracks("video", "subtitle de", "subtitle en")}},
		{name: "mov_text", file: "a.mp4", build: subtitledBy("mov_text"), long: true, want: mediaWant{also: hasTracks("video", "subtitle de", "subtitle en")}},
		{
			name: "PGS", file: "a.mkv", build: picturesOfText("copy"),
			want: mediaWant{note: []string{"not in the output: subtitles 1, Deutsch (PGS, which is pictures)"}, also: hasTracks("video")},
		},
		{
			name: "VobSub", file: "a.mkv", build: picturesOfText("dvdsub"), long: true,
			want: mediaWant{note: []string{"not in the output: subtitles 1, Deutsch (VobSub, which is pictures)"}, also: hasTracks("video")},
		},
		{
			name: "DVB subtitles", file: "a.ts", build: picturesOfText("dvbsub"), long: true,
			want: mediaWant{note: []string{"not in the output: subtitles 1, Deutsch (DVB, which is pictures)"}, also: hasTracks("video")},
		},
		{
			name: "cover last", file: "a.mp4", build: coveredBy("-map 0 -map 1 -disposition:v:1 attached_pic"),
			want: mediaWant{frames: 75, size: "64x64", also: hasTracks("video")},
		},
		{
			name: "cover first", file: "a.mp4", build: coveredBy("-map 1 -map 0 -disposition:v:0 attached_pic"), long: true,
			want: mediaWant{frames: 75, size: "64x64", also: hasTracks("video")},
		},
		{
			name: "MP3 with cover", file: "a.mp3", build: songWithCover("libmp3lame"), request: transcode.Request{Output: transcode.Output{Format: transcode.FormatHLS}},
			want: mediaWant{seconds: 3, also: hasTracks("audio")},
		},
		{
			name: "FLAC with cover", file: "a.flac", build: songWithCover("flac"), long: true, request: transcode.Request{Output: transcode.Output{Format: transcode.FormatHLS, Container: transcode.ContainerCMAF}},
			want: mediaWant{seconds: 3, also: hasTracks("audio")},
		},
		{
			name: "a fifth of a second", file: "a.mp4", args: briefly("0.2"), request: transcode.Request{Output: transcode.Output{Format: transcode.FormatMP4}},
			want: mediaWant{frames: 5, also: hasTracks("video", "audio")},
		},
		{
			name: "one frame with sound", file: "a.mp4", args: briefly("0.04"), long: true, request: transcode.Request{Output: transcode.Output{Format: transcode.FormatMKV}},
			want: mediaWant{frames: 1, also: hasTracks("video", "audio")},
		},
		{
			name: "one frame with sound as a stream", file: "a.mp4", args: briefly("0.04"), request: transcode.Request{Output: transcode.Output{Format: transcode.FormatHLS}},
			want: stillUntil,
		},
		{
			name: "a fifth of a second as a stream of CMAF", file: "a.mp4", args: briefly("0.2"), long: true,
			request: transcode.Request{Output: transcode.Output{Format: transcode.FormatHLS, Container: transcode.ContainerCMAF}},
			want:    stillUntil,
		},
		{
			name: "three frames in three seconds", file: "a.mp4", args: "-f lavfi -i testsrc2=s=64x64:r=1:d=3 -f lavfi -i sine=300:d=3 " + x264 + "-c:a aac",
			request: transcode.Request{Output: transcode.Output{Format: transcode.FormatHLS}},
			want:    mediaWant{frames: 9, rate: "3/1", seconds: 3, also: hasTracks("video", "audio")},
		},
	}
}

// briefly returns arguments for a film that ends at once.
func briefly(seconds string) string {
	return "-f lavfi -i testsrc2=s=64x64:r=25:d=" + seconds + " -f lavfi -i sine=300:d=" + seconds + " " + x264 + "-c:a aac"
}

// hasTracks compares kinds and languages of the tracks.
func hasTracks(want ...string) func(t *testing.T, o mediaOutput) {
	slices.Sort(want)
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		got := subtitlesOf(t, o.entry)
		for _, s := range o.tracks {
			name := strings.TrimSpace(s.Kind + " " + transcode.Language(s.Tags.Language))
			if !slices.Contains(got, name) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: tracks %q; want %q", o.entry, got, want)
		}
	}
}

// subtitlesOf returns the languages of the subtitles of a master playlist, which
// ffmpeg's reader passes over.
func subtitlesOf(t *testing.T, entry string) []string {
	t.Helper()
	if filepath.Ext(entry) != ".m3u8" {
		return nil
	}
	text, err := os.ReadFile(entry)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, found := range subtitleTag.FindAllStringSubmatch(string(text), -1) {
		list = append(list, "subtitle "+found[1])
	}
	return list
}

var subtitleTag = regexp.MustCompile(`TYPE=SUBTITLES,.*LANGUAGE="([^"]*)"`)

func subtitledBy(codec string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		moveSource(t, makeSource(t, file, "-f lavfi -i testsrc2=s=64x64:r=25:d=3 -i "+written(t, "cues.srt", someCues)+" -map 0 -map 1 -map 1 "+
			x264+"-c:s "+codec+" -metadata:s:s:0 language=ger -metadata:s:s:1 language=eng"), dir)
	}
}

func coveredBy(maps string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		picture := makeSource(t, "cover.png", "-f lavfi -i testsrc2=s=200x200 -frames:v 1")
		film := makeSource(t, "film.mp4", "-f lavfi -i testsrc2=s=64x64:r=25:d=3 "+x264)
		moveSource(t, makeSource(t, file, "-i "+film+" -i "+picture+" "+maps+" -c copy"), dir)
	}
}

func songWithCover(codec string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		picture := makeSource(t, "cover.png", "-f lavfi -i testsrc2=s=200x200 -frames:v 1")
		moveSource(t, makeSource(t, file, "-f lavfi -i sine=600:d=3 -i "+picture+" -map 0 -map 1 -disposition:v attached_pic -c:v copy -c:a "+codec), dir)
	}
}

// picturesOfText has one picture of a subtitle, in a codec; copy is PGS.
func picturesOfText(codec string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		text := written(t, "cues.sup", string(onePGS()))
		moveSource(t, makeSource(t, file, "-f lavfi -i testsrc2=s=64x64:r=25:d=3 -i "+text+" -map 0 -map 1 "+x264+"-c:s "+codec+" -metadata:s:s:0 language=ger"), dir)
	}
}

// onePGS is a file of PGS with a white square from 0.5 to 2 s.
func onePGS() []byte {
	var sup []byte
	segment := func(at uint32, kind byte, body ...byte) {
		sup = append(sup, 'P', 'G')
		sup = binary.BigEndian.AppendUint32(sup, at)
		sup = append(sup, 0, 0, 0, 0, kind)
		sup = binary.BigEndian.AppendUint16(sup, uint16(len(body)))
		sup = append(sup, body...)
	}
	line := []byte{0, 0x88, 1, 0, 0} // eight pixels of color 1, end of line
	object := append([]byte{0, 0, 0, 0xc0, 0, 0, byte(4 + 8*len(line)), 0, 8, 0, 8}, slices.Repeat(line, 8)...)
	const show, hide, presentation, window, palette, picture, end = 45_000, 180_000, 0x16, 0x17, 0x14, 0x15, 0x80
	segment(show, presentation, 0, 64, 0, 64, 0x10, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, 8)
	segment(show, window, 1, 0, 0, 8, 0, 8, 0, 8, 0, 8)
	segment(show, palette, 0, 0, 1, 235, 128, 128, 255)
	segment(show, picture, object...)
	segment(show, end)
	segment(hide, presentation, 0, 64, 0, 64, 0x10, 0, 1, 0, 0, 0, 0)
	segment(hide, window, 1, 0, 0, 8, 0, 8, 0, 8, 0, 8)
	segment(hide, end)
	return sup
}

func moveSource(t *testing.T, source, dir string) {
	t.Helper()
	if err := os.Rename(source, filepath.Join(dir, filepath.Base(source))); err != nil {
		t.Fatal(err)
	}
}

// soundChanges makes a source of two parts of 3 s, of 300 and of 600 Hz, whose sound is
// encoded in two ways.
func soundChanges(first, second string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		var joined []byte
		for i, audio := range []string{first, second} {
			part := makeSource(t, "part.ts", fmt.Sprintf("-f lavfi -i testsrc2=s=64x64:r=25:d=3 -f lavfi -i sine=%d:r=48000:d=3 ", 300*(i+1))+
				x264+audio+fmt.Sprintf(" -output_ts_offset %d -muxdelay 0 -muxpreload 0", 3*i))
			content, err := os.ReadFile(part)
			if err != nil {
				t.Fatal(err)
			}
			joined = append(joined, content...)
		}
		if err := os.WriteFile(filepath.Join(dir, file), joined, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// changesTone makes sure that each part of what soundChanges makes is at its time.
func changesTone(t *testing.T, o mediaOutput) {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "whole.wav")
	args := []string{"-v", "error"}
	if !o.job.Request.IsFile() {
		args = append(args, "-allowed_extensions", "ALL") // of the key
	}
	ffmpegRun(t, "", "ffmpeg", append(args, "-i", o.entry, "-map", "0:a:0", whole)...)
	for _, at := range []int{1, 4} {
		part := filepath.Join(t.TempDir(), "part.wav")
		ffmpegRun(t, "", "ffmpeg", "-v", "error", "-ss", strconv.Itoa(at), "-t", "1", "-i", whole, part)
		if got, want := tone(t, part, 0), 300*(1+at/3); got != want {
			t.Errorf("the sound at %d s has %d Hz; want %d", at, got, want)
		}
	}
}
