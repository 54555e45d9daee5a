package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// changeRows are sources that change their codec or their streams midway, or of which a
// part is missing.
func changeRows() []mediaRow {
	const aac, mp2, h264, mpeg2, streams = "-c:a aac ", "-c:a mp2 ", x264 + "-g 25 ", "-c:v mpeg2video -q:v 2 ", "-streamid 0:300 -streamid 1:301 "
	h265 := x265 + "-g 25 "
	film := "-f lavfi -i testsrc2=s=160x90:r=25:d=10 -f lavfi -i sine=440:d=10 " + h264 + aac
	noPicture := mediaWant{frames: 250, within: 2, rate: "25/1", note: []string{
		"the source has no picture for 4.", ": the one before stands still there", "the source has no sound for 4.",
	}}
	decoded := mediaWant{frames: 150, within: 2, rate: "25/1", size: "160x90", seconds: 6, tracks: []string{"video h264", "audio aac"}, also: followsOn}
	narrower := decoded
	narrower.also = bars(4, 20, 0)
	restarted := func(t *testing.T, dir, file string) {
		sound := "-f lavfi -i sine=440:d=3 "
		joinFiles(t, dir, file, at(0, motion(25, 3)+sound+mpeg2+mp2), at(0, motion(25, 3)+sound+h264+aac), at(5000, motion(25, 3)+sound+h265+aac))
	}
	return []mediaRow{
		{name: "H.265 after H.264", file: "a.ts", build: inTurn(h264+aac, h265+aac), want: decoded},
		{name: "H.264 after MPEG-2", file: "a.ts", build: inTurn(mpeg2+mp2, h264+aac), want: decoded},
		{name: "MPEG-2 after H.264", file: "a.ts", long: true, build: inTurn(h264+aac, mpeg2+mp2), want: decoded},
		{name: "H.264 after H.265", file: "a.ts", long: true, build: inTurn(h265+aac, h264+aac), want: decoded},
		{name: "MP2 after AAC", file: "a.ts", build: inTurn(h264+aac, h264+mp2), want: decoded},
		{name: "AC-3 after AAC", file: "a.ts", long: true, build: inTurn(h264+aac, h264+"-c:a ac3 "), want: decoded},
		{name: "other streams midway", file: "a.ts", build: inTurn(h264+aac, h264+aac+streams), want: decoded},
		{name: "three codecs with times of their own", file: "a.ts", build: restarted, want: mediaWant{frames: 225, within: 3, rate: "25/1", seconds: 9, also: followsOn}},
		{
			name: "a narrower picture of another codec", file: "a.ts", long: true, want: narrower,
			build: func(t *testing.T, dir, file string) {
				white := "-f lavfi -i color=white:s=%s:r=25:d=3 -f lavfi -i sine=440:d=3 "
				joinFiles(t, dir, file, at(0, fmt.Sprintf(white, "160x90")+mpeg2+mp2), at(3, fmt.Sprintf(white, "240x180")+h264+aac))
			},
		},
		{
			name: "Matroska joined to itself", file: "a.mkv", long: true,
			build: func(t *testing.T, dir, file string) {
				args := motion(25, 3) + h264
				joinFiles(t, dir, file, args, args)
			},
			want: mediaWant{frames: 150, within: 1, also: followsOn},
		},
		{name: "four seconds lost in a transport stream", file: "a.ts", build: without(0.3, 0.7, film+"-muxdelay 0 -muxpreload 0"), want: noPicture},
		{name: "four seconds lost in FLV", file: "a.flv", long: true, build: without(0.3, 0.7, film+"-ar 44100"), want: mediaWant{frames: 250, within: 2, note: []string{"the source has no picture for ", "the source has no sound for "}}},
		{name: "four seconds lost in Matroska", file: "a.mkv", long: true, build: without(0.3, 0.7, film), want: mediaWant{note: noPicture.note[1:2]}},
		{
			name: "the rest cannot be read", file: "a.ts", long: true,
			build: func(t *testing.T, dir, file string) { blank(t, dir, file, 0.3, 0.7, film) },
			want:  mediaWant{fails: "it ends after 4.4 of 10.0 s"},
		},
	}
}

// inTurn makes a transport stream of parts of 3 s that follow on each other.
func inTurn(encodings ...string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		var parts []string
		for i, encoding := range encodings {
			parts = append(parts, at(3*i, motion(25, 3)+"-f lavfi -i sine=440:d=3 "+encoding))
		}
		joinFiles(t, dir, file, parts...)
	}
}

// without makes a file of which a part, in shares of its length, is left out.
func without(from, to float64, args string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		data, err := os.ReadFile(makeSource(t, file, args))
		if err != nil {
			t.Fatal(err)
		}
		a, b := int(from*float64(len(data)))/188*188, int(to*float64(len(data)))/188*188
		if err := os.WriteFile(filepath.Join(dir, file), append(data[:a:a], data[b:]...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// at returns arguments whose transport stream begins at this second.
func at(second int, args string) string {
	return fmt.Sprintf("%s -muxdelay 0 -muxpreload 0 -output_ts_offset %d", args, second)
}
