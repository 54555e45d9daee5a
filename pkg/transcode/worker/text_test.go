package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
	"pibootd/pkg/transcode/queue"
)

// someCues are shown within a segment of a second, and across the border of two.
const someCues = "1\n00:00:00,200 --> 00:00:00,700\n<i>Grüße</i>\n\n2\n00:00:01,500 --> 00:00:02,500\nzwei\nZeilen\n"

// subtitled makes a source with someCues in a codec, or two tracks of them.
func subtitled(t *testing.T, name, codec string) string {
	t.Helper()
	text := written(t, "cues.srt", someCues)
	return makeSource(t, name, "-f lavfi -i testsrc2=s=64x64:r=25:d=3 -f lavfi -i sine=300:d=3 -i "+text+" -map 0 -map 1 -map 2 -map 2 "+
		x264+"-c:a aac -c:s "+codec+" -metadata:s:s:0 language=ger -metadata:s:s:1 language=eng -metadata:s:s:1 title=Hard -disposition:s:1 hearing_impaired+forced")
}

func TestTextSubtitlesInStreams(t *testing.T) {
	for _, tt := range []struct{ name, codec string }{{"a.mkv", "srt"}, {"a.mkv", "ass"}, {"a.mkv", "webvtt"}, {"a.mp4", "mov_text"}} {
		for _, container := range []transcode.Container{transcode.ContainerTS, transcode.ContainerCMAF} {
			t.Run(fmt.Sprint(tt.codec, " ", container), func(t *testing.T) {
				t.Parallel()
				j := transcodeAll(t, subtitled(t, tt.name, tt.codec), transcode.Request{SegmentSeconds: 1, Output: transcode.Output{Container: container}}, 0)
				for _, s := range j.plan.Subtitles {
					j.wantCues(s.Name, transcode.StartPTS)
				}
				j.wantInMaster(`TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="Deutsch",LANGUAGE="de",DEFAULT=`,
					`CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound",FORCED=YES,URI="subtitles-2/index.m3u8"`,
					`,SUBTITLES="subtitles"`)
			})
		}
	}
}

// wantCues reads what a player sees of someCues in a directory.
func (j *job) wantCues(dir string, mpegts int64) {
	j.Helper()
	f, err := os.Open(filepath.Join(j.dir, dir, "00000.vtt"))
	if err != nil {
		j.Fatal(err)
	}
	defer f.Close()
	track, err := mediafile.ReadWebVTT(f)
	if err != nil || track.MPEGTS != mpegts {
		j.Fatalf("%s: MPEGTS %d, %v; want %d", dir, track.MPEGTS, err, mpegts)
	}
	want := []mediafile.Cue{
		{Start: 200 * time.Millisecond, End: 700 * time.Millisecond, Text: "Grüße"},
		{Start: 1500 * time.Millisecond, End: 2500 * time.Millisecond, Text: "zwei\nZeilen"},
	}
	same := slices.EqualFunc(track.Cues, want, func(a, b mediafile.Cue) bool {
		return (a.Start-b.Start).Abs() < nearly && (a.End-b.End).Abs() < nearly && styles.ReplaceAllString(a.Text, "") == b.Text
	})
	if !same {
		j.Errorf("%s: cues %+v; want %+v", dir, track.Cues, want)
	}
}

// nearly is how far off times may be: a container may begin with the sound that primes
// the decoder.
const nearly = 50 * time.Millisecond

var styles = regexp.MustCompile(`</?[a-z]+>`)

func (j *job) wantInMaster(parts ...string) {
	j.Helper()
	text, err := os.ReadFile(filepath.Join(j.dir, transcode.MasterName))
	if err != nil {
		j.Fatal(err)
	}
	for _, part := range parts {
		if !strings.Contains(string(text), part) {
			j.Errorf("the master playlist lacks %s:\n%s", part, text)
		}
	}
}

func TestTextSubtitlesInFiles(t *testing.T) {
	for _, tt := range []struct {
		name, codec string
		format      transcode.Format
		want        string
	}{
		{"a.mkv", "srt", transcode.FormatMP4, "mov_text"}, {"a.mkv", "srt", transcode.FormatMKV, "subrip"},
		{"a.mkv", "ass", transcode.FormatMKV, "ass"}, {"a.mp4", "mov_text", transcode.FormatMP4, "mov_text"},
	} {
		t.Run(fmt.Sprint(tt.codec, " ", tt.format), func(t *testing.T) {
			t.Parallel()
			j := transcodeAll(t, subtitled(t, tt.name, tt.codec), transcode.Request{SegmentSeconds: 1, Output: transcode.Output{Format: tt.format}}, 0)
			file := filepath.Join(j.dir, j.file().Name)
			got := ffprobeOf(t, file, "s", "stream=codec_name:stream_disposition=forced,hearing_impaired:stream_tags=language")
			if want := []string{tt.want + ",0,0,deu", tt.want + ",1,1,eng"}; !slices.Equal(got, want) {
				t.Errorf("subtitles %q; want %q", got, want)
			}
			back := ffmpegRun(t, "", "ffmpeg", "-v", "error", "-i", file, "-map", "0:s:0", "-f", "webvtt", "-")
			if err := os.WriteFile(filepath.Join(j.dir, "00000.vtt"), []byte(strings.ReplaceAll(back, "\r", "")), 0o644); err != nil {
				t.Fatal(err)
			}
			j.wantCues(".", -1)
		})
	}
}

// A file with subtitles beside the video is a track, whatever its characters are
// stored as.
func TestSidecars(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=25:d=3 "+x264)
	utf16le := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(someCues)) {
		utf16le = append(utf16le, byte(u), byte(u>>8))
	}
	request := transcode.Request{Source: "a.mp4", SegmentSeconds: 1}
	for name, text := range map[string]string{
		"a.de.srt": someCues, "a.fr.srt": strings.NewReplacer("ü", "\xfc", "ß", "\xdf").Replace(someCues), "a.en.forced.srt": string(utf16le),
	} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(source), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		request.Sidecars = append(request.Sidecars, name)
	}
	slices.Sort(request.Sidecars)
	j := transcodeAll(t, source, request, 0)
	for _, s := range j.plan.Subtitles {
		j.wantCues(s.Name, transcode.StartPTS)
	}
	j.wantInMaster(`NAME="Deutsch",LANGUAGE="de"`, `NAME="English",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES`, `NAME="Français"`)
}

// A file beside the source that is no subtitles costs none of the others, and is
// noted.
func TestBrokenSidecar(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.provide("a.mp4", makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=25:d=3 "+x264))
	for name, text := range map[string]string{"a.de.srt": someCues, "a.en.srt": "this is\nno file of subtitles\n", "a.fr.ass": "\x00\x01\x02"} {
		if err := os.WriteFile(filepath.Join(c.media, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const why = ", which cannot be read (Invalid data found when processing input)"
	note := "not in the output: the subtitles of a.en.srt" + why + "\nnot in the output: the subtitles of a.fr.ass" + why
	for _, format := range []transcode.Format{transcode.FormatHLS, transcode.FormatMP4, transcode.FormatMKV} {
		job := c.do(transcode.Request{Source: "a.mp4", SegmentSeconds: 1, Output: transcode.Output{Format: format}})
		if job.State != queue.Done || job.Note != note {
			t.Errorf("%s: the job is %s, %s; its note is %q; want %q", format, job.State, job.Reason, job.Note, note)
			continue
		}
		if format != transcode.FormatHLS {
			out := ffmpegRun(t, c.media, "ffprobe", "-v", "error", "-select_streams", "s", "-show_entries", "stream_tags=language", "-of", "csv=p=0", job.Output)
			if strings.TrimSpace(out) != "ger" && strings.TrimSpace(out) != "deu" {
				t.Errorf("%s: the subtitles are %q; want German ones alone", format, out)
			}
			continue
		}
		master, err := os.ReadFile(filepath.Join(c.media, job.Output))
		if err != nil || strings.Count(string(master), "TYPE=SUBTITLES") != 1 || !strings.Contains(string(master), `LANGUAGE="de"`) {
			t.Errorf("%v: the master playlist is\n%s\nwant German subtitles alone", err, master)
		}
	}
	c.checkSwept()
}
