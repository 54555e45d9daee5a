package worker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// described is a source with chapters, and a title with what ffmpeg escapes.
func described(t *testing.T, name string) string {
	t.Helper()
	meta := written(t, "meta", ";FFMETADATA1\ntitle=A \\= B\\; \\#1\nartist=Somebody\n"+
		"[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=Begin\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\ntitle=<End> \\\\ Ende\n")
	return makeSource(t, name, "-f lavfi -i testsrc2=s=64x64:r=25:d=3 -f lavfi -i sine=300:d=3 -f ffmetadata -i "+meta+
		" -map 0 -map 1 -map_metadata 2 -map_chapters 2 "+x264+"-c:a aac")
}

func TestChaptersAndTagsInFiles(t *testing.T) {
	for _, tt := range []struct {
		source string
		format transcode.Format
	}{{"a.mkv", transcode.FormatMP4}, {"a.mp4", transcode.FormatMKV}, {"a.mp4", transcode.FormatMP4}} {
		t.Run(fmt.Sprint(tt.source, " ", tt.format), func(t *testing.T) {
			t.Parallel()
			j := transcodeAll(t, described(t, tt.source), transcode.Request{SegmentSeconds: 1, Output: transcode.Output{Format: tt.format}}, 0)
			if j.plan.Note != "" {
				t.Errorf("note %q; want none", j.plan.Note)
			}
			out := ffmpegRun(t, j.dir, "ffprobe", "-v", "error", "-show_chapters", "-show_entries", "format_tags=title,artist", "-of", "json", j.file().Name)
			var got struct {
				Chapters []struct {
					Start string `json:"start_time"`
					End   string `json:"end_time"`
					Tags  tags   `json:"tags"`
				} `json:"chapters"`
				Format format `json:"format"`
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			var list []string
			for _, c := range got.Chapters {
				list = append(list, fmt.Sprintf("%.1f-%.1f %s", number(c.Start), number(c.End), c.Tags.get("title")))
			}
			if want := []string{"0.0-1.0 Begin", `1.0-3.0 <End> \ Ende`}; !slices.Equal(list, want) {
				t.Errorf("chapters %q; want %q", list, want)
			}
			if title, artist := got.Format.Tags.get("title"), got.Format.Tags.get("artist"); title != "A = B; #1" || artist != "Somebody" {
				t.Errorf("title %q of %q; want A = B; #1 of Somebody", title, artist)
			}
		})
	}
}

func TestChaptersAndTagsBesideStreams(t *testing.T) {
	t.Parallel()
	j := transcodeAll(t, described(t, "a.mkv"), transcode.Request{SegmentSeconds: 1}, 0)
	for name, want := range map[string]string{
		transcode.ChaptersVTTName: "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nBegin\n\n00:00:01.000 --> 00:00:03.000\n&lt;End&gt; \\ Ende\n",
		transcode.TagsName:        `"title": "A = B; #1"`,
		transcode.ChaptersJSONName: `"start-time": 1,
		"duration": 2,`,
		transcode.MasterName: `#EXT-X-SESSION-DATA:DATA-ID="com.apple.hls.chapters",URI="chapters.json"`,
	} {
		text, err := os.ReadFile(filepath.Join(j.dir, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s is %q, %v; want %q in it", name, text, err, want)
		}
	}
	j.verify()
}
