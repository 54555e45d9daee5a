package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// What has only sound becomes a stream of sound, with its cover as the poster.
func TestSoundOnly(t *testing.T) {
	cover := makeSource(t, "cover.png", "-f lavfi -i testsrc2=s=300x300 -frames:v 1")
	const tone = "-f lavfi -i sine=600:d=3 "
	withCover := tone + "-i " + cover + " -map 0 -map 1 -disposition:v attached_pic "
	tests := []struct {
		file, args string
		cover      bool
	}{
		{"a.mp3", tone + "-c:a libmp3lame", false},
		{"b.mp3", withCover + "-c:a libmp3lame -c:v copy -id3v2_version 3 -metadata title=Song", true},
		{"a.flac", withCover + "-c:a flac -c:v copy", true},
		{"a.m4a", withCover + "-c:a aac -c:v copy", true},
		{"a.wav", tone, false},
		{"a.opus", tone + "-c:a libopus", false},
		{"short.wav", "-f lavfi -i sine=600:d=0.05", false},
	}
	for _, tt := range tests {
		for _, container := range []transcode.Container{transcode.ContainerTS, transcode.ContainerCMAF} {
			t.Run(fmt.Sprint(tt.file, " ", container), func(t *testing.T) {
				t.Parallel()
				source := makeSource(t, tt.file, tt.args)
				j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: transcode.Output{Container: container}}, 0)
				if want := []string{"audio 600 1"}; tt.file != "short.wav" && !slices.Equal(j.audioOfStream(), want) {
					t.Errorf("audio %q; want %q", j.audioOfStream(), want)
				}
				_, err := os.Stat(filepath.Join(j.dir, transcode.PosterName))
				if (err == nil) != tt.cover {
					t.Errorf("poster: %v; want one: %t", err, tt.cover)
				}
				if tt.cover {
					if got := ffprobeOf(t, filepath.Join(j.dir, transcode.PosterName), "v", "stream=codec_name,width,height"); got[0] != "mjpeg,300,300" {
						t.Errorf("poster is %q; want mjpeg,300,300", got)
					}
				}
				if text, err := os.ReadFile(filepath.Join(j.dir, transcode.MasterName)); err != nil || !strings.HasSuffix(string(text), "CODECS=\"mp4a.40.2\"\naudio/index.m3u8\n") {
					t.Errorf("master playlist %s, %v; want the audio as its variant stream", text, err)
				}
			})
		}
	}
}

// Several tracks of sound are a group, of which the first is the variant stream.
func TestSoundOnlyOfTwoTracks(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mka", "-f lavfi -i sine=600:d=3 -f lavfi -i sine=300:d=3 -map 0 -map 1 -c:a aac -ac:a:0 6 -ac:a:1 2 -metadata:s:a:0 language=ger -metadata:s:a:1 language=eng")
	j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1}, 0)
	if got, want := j.audioOfStream(), []string{"audio 600 2", "audio-6ch 600 6", "audio-2 300 2"}; !slices.Equal(got, want) {
		t.Errorf("audio %q; want %q", got, want)
	}
	j.wantInMaster(`GROUP-ID="audio",NAME="Deutsch",LANGUAGE="de",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2"`+"\n",
		`GROUP-ID="surround",NAME="English",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="audio-2/index.m3u8"`,
		`AUDIO="surround"`+"\naudio-6ch/index.m3u8\n")
	if _, err := transcode.NewPlan(transcode.Request{Source: "a.mka", Output: transcode.Output{Format: transcode.FormatMP4}}, j.probe, 0); err == nil ||
		err.Error() != `planning "a.mka": it has only sound, of which a stream can be made; an mp4 file needs video` {
		t.Errorf("a file of it: %v", err)
	}
}
