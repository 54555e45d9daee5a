package worker

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// twoLanguages has a commentary first, and a default track in German with six
// channels, each of which has a tone of its own.
const twoLanguages = "-f lavfi -i testsrc2=s=64x64:r=25:d=3 -f lavfi -i sine=300:d=3 -f lavfi -i sine=600:d=3 " +
	"-map 0:v -map 1:a -map 2:a -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -ac:a:0 1 -ac:a:1 6 " +
	"-metadata:s:a:0 language=eng -metadata:s:a:0 title=Commentary -disposition:a:0 comment " +
	"-metadata:s:a:1 language=ger -disposition:a:1 default"

func TestProbeListsTracks(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mkv", twoLanguages)
	p, _, err := (&Worker{}).probe(t.Context(), source, newPulse(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range p.AudioStreams() {
		got = append(got, fmt.Sprintf("%d %s %q %dch commentary %t", a.Stream, a.Language, a.Title, a.Channels, a.Commentary))
	}
	want := []string{`1 de "" 6ch commentary false`, `0 en "Commentary" 1ch commentary true`}
	if !slices.Equal(got, want) {
		t.Errorf("audio streams %q; want %q", got, want)
	}
}

// Every audio track is a rendition, or a track of the file, with its language and its
// own sound; the default one is the source's.
func TestEveryAudioTrackIsKept(t *testing.T) {
	tests := []struct {
		name   string
		output transcode.Output
		want   []string
	}{
		{"ts", transcode.Output{}, []string{"audio 600 2", "audio-6ch 600 6", "audio-2 300 1"}},
		{"cmaf", transcode.Output{Container: transcode.ContainerCMAF}, []string{"audio 600 2", "audio-6ch 600 6", "audio-2 300 1"}},
		{"mp4", transcode.Output{Format: transcode.FormatMP4}, []string{"de 600 6 default", "en 300 1 comment Commentary"}},
		{"mkv", transcode.Output{Format: transcode.FormatMKV}, []string{"de 600 6 default", "en 300 1 comment Commentary"}},
		{"whole", transcode.Output{Format: transcode.FormatMKV, Options: []string{"-vf", "hqdn3d"}}, []string{"de 600 6 default", "en 300 1 comment Commentary"}},
	}
	source := makeSource(t, "a.mkv", twoLanguages)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: tt.output}, 2)
			got := j.audioOfFile()
			if !tt.output.IsFile() {
				got = j.audioOfStream()
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("audio %q; want %q", got, tt.want)
			}
		})
	}
}

// audioOfStream returns name, tone and channels of each audio rendition.
func (j *job) audioOfStream() []string {
	j.Helper()
	var list []string
	for _, r := range j.plan.AudioRenditions() {
		file := filepath.Join(j.dir, r.Dir(), transcode.MediaName)
		list = append(list, fmt.Sprintf("%s %d %s", r.Dir(), tone(j.T, file, 0), ffprobeOf(j.T, file, "a", "stream=channels")[0]))
	}
	return list
}

// audioOfFile returns language, tone, channels and more of each audio track.
func (j *job) audioOfFile() []string {
	j.Helper()
	if !j.plan.Output.IsFile() {
		return nil
	}
	file := filepath.Join(j.dir, j.file().Name)
	var list []string
	for i, line := range ffprobeOf(j.T, file, "a", "stream=channels:stream_disposition=default,comment:stream_tags=language,title,handler_name") {
		// channels, default, comment, language, and title or handler
		f := append(strings.Split(line, ","), "")
		text := fmt.Sprintf("%s %d %s", transcode.Language(f[3]), tone(j.T, file, i), f[0])
		if f[1] == "1" {
			text += " default"
		}
		if f[2] == "1" {
			text += " comment"
		}
		list = append(list, strings.TrimSpace(text+" "+handlerTitle(f[4])))
	}
	return list
}

// ffprobeOf returns what ffprobe says of each stream of a kind, a line each.
func ffprobeOf(t *testing.T, file, kind, entries string) []string {
	t.Helper()
	args := []string{"-v", "error", "-allowed_extensions", "ALL", "-select_streams", kind, "-show_entries", entries, "-of", "csv=p=0", file}
	if !strings.HasSuffix(file, ".m3u8") {
		args = slices.Delete(args, 2, 4)
	}
	var lines []string
	for line := range strings.Lines(ffmpegRun(t, "", "ffprobe", args...)) {
		if line = strings.Trim(line, ",\n"); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// tone returns the frequency of a sine in an audio stream, to the nearest 100 Hz, by
// the number of its zero crossings.
func tone(t *testing.T, file string, stream int) int {
	t.Helper()
	args := []string{"-v", "error", "-i", file, "-map", fmt.Sprintf("0:a:%d", stream), "-ac", "1", "-ar", "8000", "-f", "s8", "-"}
	samples := []byte(ffmpegRun(t, "", "ffmpeg", args...))
	crossings := 0
	for i := 1; i < len(samples); i++ {
		if int8(samples[i-1]) < 0 && int8(samples[i]) >= 0 {
			crossings++
		}
	}
	return (crossings*8000/len(samples) + 50) / 100 * 100
}
