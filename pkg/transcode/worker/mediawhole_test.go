package worker

import (
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// A wholeRow is a source, and options of which the second has one worker do the whole video
// that the first spreads.
type wholeRow struct {
	name, file    string
	build         func(t *testing.T, dir, file string)
	spread, whole string
	output        transcode.Output
	want          mediaWant
}

// wholeRows are what must not depend on how many workers do a video.
func wholeRows() []mediaRow {
	const one = "one worker does the whole video"
	kept := mediaWant{frames: 75, within: 1, rate: "25/1", also: hasEverything}
	narrow := mediaWant{frames: 150, within: 1, size: "160x90", also: bars(4, 20, 0)}
	changes := func(t *testing.T, dir, file string) {
		joinFiles(t, dir, file, shaped("160x90", 0), shaped("120x90", 3))
	}
	const x264 = "-c:v libx264 -preset ultrafast "
	var list []mediaRow
	for _, row := range []wholeRow{
		{"all that a film has", "a.mkv", fullSource, x264, x264 + "-vf hqdn3d", transcode.Output{Format: transcode.FormatMKV}, kept},
		{"all that a film has in MP4", "a.mkv", fullSource, x264, x264 + "-vf hqdn3d", transcode.Output{Format: transcode.FormatMP4}, kept},
		{"another size", "a.ts", changes, x264, x264 + "-pass 2 -b:v 200k", transcode.Output{Format: transcode.FormatMP4}, narrow},
		{"text burnt in", "a.mkv", fullSource, x264, x264 + "-vf hqdn3d", transcode.Output{Format: transcode.FormatMP4, BurnSubtitles: "de"}, mediaWant{frames: 75, within: 1}},
	} {
		for how, options := range map[string]string{"spread": row.spread, "whole": row.whole} {
			r := mediaRow{name: "by one or many: " + row.name + " " + how, file: row.file, build: row.build, want: row.want}
			r.request.Output = row.output
			r.request.Options = strings.Fields(options)
			if r.long = row.output.Format == transcode.FormatMKV && how == "spread"; how == "whole" {
				r.want.note = []string{one}
			}
			list = append(list, r)
		}
	}
	file := func(format transcode.Format, options string, want mediaWant) mediaRow {
		return mediaRow{
			name: "by one or many: " + options, file: "a.mkv", build: fullSource, want: want,
			request: transcode.Request{Output: transcode.Output{Format: format, Options: strings.Fields(options)}},
		}
	}
	codec := func(names ...string) mediaWant {
		return mediaWant{frames: 75, within: 1, note: nil, tracks: append(names, "subtitle subrip deu")}
	}
	copied := codec("video h264", "audio aac eng", "audio aac deu")
	copied.note = []string{one}
	ffv1 := codec("video ffv1", "audio aac eng", "audio aac deu")
	ffv1.note = []string{one}
	chosen := codec("video h264", "audio aac deu")
	chosen.note = []string{"not in the output, because others were asked for: audio 1, English"}
	return append(list,
		file(transcode.FormatMKV, x264+"-c:a copy", codec("video h264", "audio aac eng", "audio aac deu")),
		file(transcode.FormatMKV, x264+"-c:a libvorbis", codec("video h264", "audio vorbis eng", "audio vorbis deu")),
		file(transcode.FormatMKV, x264+"-map 0:0 -map 0:a:1", chosen),
		file(transcode.FormatMKV, "-c copy", copied),
		file(transcode.FormatMKV, "-c:v ffv1", ffv1),
	)
}

// fullSource makes a film with two audio tracks, subtitles, chapters and a title.
func fullSource(t *testing.T, dir, file string) {
	text := written(t, "a.srt", "1\n00:00:00,500 --> 00:00:01,500\nEins\n\n2\n00:00:02,000 --> 00:00:02,800\nZwei\n")
	meta := written(t, "meta.txt", ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\ntitle=Two\n")
	moveSource(t, makeSource(t, file, motion(25, 3)+"-f lavfi -i sine=300:d=3 -f lavfi -i sine=600:d=3 -i "+text+" -i "+meta+
		" -map 0 -map 1 -map 2 -map 3 -map_metadata 4 -map_chapters 4 "+x264+"-g 25 -c:a aac -c:s srt "+
		"-metadata:s:a:0 language=eng -metadata:s:a:1 language=ger -metadata:s:s:0 language=ger"), dir)
}

// hasEverything makes sure that a file has all that fullSource has.
func hasEverything(t *testing.T, o mediaOutput) {
	t.Helper()
	var kinds []string
	for _, s := range o.tracks {
		if s.Kind != "data" { // the titles of chapters in MP4
			kinds = append(kinds, strings.TrimSpace(s.Kind+" "+strings.TrimPrefix(s.Tags.Language, "und")))
		}
	}
	slices.Sort(kinds)
	if want := []string{"audio deu", "audio eng", "subtitle deu", "video"}; !slices.Equal(kinds, want) {
		t.Errorf("%s: tracks %q; want %q", o.entry, kinds, want)
	}
	out := ffmpegRun(t, ".", "ffprobe", "-v", "error", "-show_chapters", "-show_entries", "chapter_tags=title:format_tags=title", "-of", "csv=p=0", o.entry)
	for _, want := range []string{"One", "Two", "A film"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s: chapters and title %q; want %q", o.entry, out, want)
		}
	}
}
