package worker

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// editRows are sources of MP4 whose tracks are shown by an edit list. Each second of the
// media has its own grey, and its own tone.
func editRows() []mediaRow {
	const all, dwell, empty = 1, 0, -1
	still := []string{"by the edit list of the source, the picture stands still for 1.0 s, from 1.0 s on", "there is no sound for 1.0 s, from 1.0 s on"}
	gap := editedBy(true, edit{1, 0, all}, edit{1, empty, all}, edit{2, 2, all})
	return []mediaRow{
		{name: "edits, late", file: "a.mp4", long: true, build: editedBy(true, edit{1, empty, all}, edit{4, 0, all}), want: mediaWant{frames: 100, also: secondsShown("0 1 2 3", "0 1 2 3")}},
		{name: "edits, a late picture", file: "a.mp4", build: editedBy(false, edit{1, empty, all}, edit{4, 0, all}), want: mediaWant{frames: 125, also: secondsShown("0 0 1 2 3", "0 1 2 3")}},
		{name: "edits, a part left out", file: "a.mp4", build: editedBy(true, edit{1, 0, all}, edit{1, 2, all}), want: mediaWant{frames: 50, within: 1, also: secondsShown("0 2", "0 2")}},
		{name: "edits, in another order", file: "a.mp4", long: true, build: editedBy(true, edit{1, 3, all}, edit{2, 1, all}), want: mediaWant{frames: 75, within: 1, also: secondsShown("3 1 2", "3 1 2")}},
		{name: "edits, a gap", file: "a.mp4", build: gap, want: mediaWant{frames: 100, within: 1, note: still, also: secondsShown("0 0 2 3", "0 - 2 3")}},
		{name: "edits, a dwell", file: "a.mp4", long: true, build: editedBy(true, edit{1, 0, all}, edit{1, 1.6, dwell}, edit{2, 2, all}), want: mediaWant{frames: 100, within: 1, note: still[:1], also: secondsShown("0 1 2 3", "0 - 2 3")}},
		{
			name: "edits, a gap in frames with their own times", file: "a.mp4", build: gap, request: transcode.Request{Output: transcode.Output{Format: transcode.FormatMKV, Options: []string{"-c:v", "libx264", "-fps_mode", "vfr"}}},
			want: mediaWant{uneven: true, note: append(still, "is about the whole video"), also: secondsShown("0 0 2 3", "0 - 2 3")},
		},
		{
			name: "edits, a gap by another encoder", file: "a.mp4", long: true, build: gap, request: transcode.Request{Output: transcode.Output{Format: transcode.FormatMKV, Options: []string{"-c:v", "ffv1"}}},
			want: mediaWant{frames: 100, within: 1, note: append(still, "one worker does the whole video"), also: secondsShown("0 0 2 3", "0 - 2 3")},
		},
		{
			name: "edits, a gap and a filter of the whole video", file: "a.mp4", long: true, build: gap, request: transcode.Request{Output: transcode.Output{Format: transcode.FormatMP4, Options: []string{"-c:v", "libx264", "-vf", "hqdn3d"}}},
			want: mediaWant{frames: 100, within: 1, note: append(still, "one worker does the whole video"), also: secondsShown("0 0 2 3", "0 - 2 3")},
		},
		{
			name: "edits, a gap in a copy", file: "a.mp4", long: true, build: gap, request: transcode.Request{Output: transcode.Output{Format: transcode.FormatMKV, Options: []string{"-c", "copy"}}},
			want: mediaWant{uneven: true, note: []string{still[0] + ": a copy does not keep that; -c:v libx264 does", still[1] + ": a copy does not keep that; -c:a aac does"}},
		},
	}
}

// An edit shows so many seconds of the media from one second on, at a rate.
type edit struct {
	seconds, media float64
	rate           uint16
}

// editedBy makes a film of four seconds whose picture, and whose sound too if that is wanted,
// has an edit list.
func editedBy(sound bool, edits ...edit) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		plain, err := os.ReadFile(makeSource(t, "plain.mp4", "-f lavfi -i color=s=64x64:r=25:d=4,geq=lum='40+50*floor(T)':cb=128:cr=128 "+
			"-f lavfi -i aevalsrc=sin(2*PI*t*300*(1+floor(t))):d=4:s=48000 "+x264+"-g 10 -c:a aac"))
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		for kind, body := range mp4Boxes(plain) {
			if kind == "moov" {
				body = withEdits(body, sound, edits)
			}
			out = append(out, mp4Box(kind, body)...)
		}
		if err := os.WriteFile(filepath.Join(dir, file), out, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// withEdits replaces edit lists of the tracks in a moov box, the first of which is the picture.
func withEdits(moov []byte, sound bool, edits []edit) []byte {
	var out []byte
	tracks := 0
	for kind, body := range mp4Boxes(moov) {
		if kind == "trak" {
			if tracks++; tracks == 1 || sound {
				body = withEdit(body, edits)
			}
		}
		out = append(out, mp4Box(kind, body)...)
	}
	return out
}

func withEdit(track []byte, edits []edit) []byte {
	var out []byte
	var scale uint32
	for kind, body := range mp4Boxes(track) {
		if kind == "mdia" {
			for kind, body := range mp4Boxes(body) {
				if kind == "mdhd" {
					scale = binary.BigEndian.Uint32(body[12:])
				}
			}
		}
	}
	list := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0}, uint32(len(edits)))
	for _, e := range edits {
		list = binary.BigEndian.AppendUint32(list, uint32(e.seconds*1000))
		media := int32(-1)
		if e.media >= 0 {
			media = int32(e.media * float64(scale))
		}
		list = binary.BigEndian.AppendUint32(list, uint32(media))
		list = binary.BigEndian.AppendUint32(list, uint32(e.rate)<<16)
	}
	for kind, body := range mp4Boxes(track) {
		switch kind {
		case "edts":
			continue
		case "mdia":
			out = append(out, mp4Box("edts", mp4Box("elst", list))...)
		}
		out = append(out, mp4Box(kind, body)...)
	}
	return out
}

// mp4Boxes yields boxes of less than 4 GB.
func mp4Boxes(data []byte) func(yield func(kind string, body []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for len(data) >= 8 {
			size := binary.BigEndian.Uint32(data)
			if !yield(string(data[4:8]), data[8:size]) {
				return
			}
			data = data[size:]
		}
	}
}

func mp4Box(kind string, body []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(append(out, kind...), body...)
}

// secondsShown makes sure which second of the media each second of the output shows and plays;
// "-" is silence.
func secondsShown(pictures, sounds string) func(*testing.T, mediaOutput) {
	return func(t *testing.T, o mediaOutput) {
		t.Helper()
		gray := ffmpegRun(t, ".", "ffmpeg", "-v", "error", "-i", o.video, "-map", "0:v", "-vf", "scale=2:2,format=gray", "-r", "25", "-f", "rawvideo", "-")
		var shown []string
		for at := 12; at < len(gray)/4; at += 25 {
			shown = append(shown, strconv.Itoa((int(gray[4*at])-15)/50))
		}
		if want := strings.Fields(pictures); !slices.Equal(shown, want) {
			t.Errorf("%s: shows seconds %q; want %q", o.entry, shown, want)
		}
		if got, want := secondsPlayed(t, o), strings.Fields(sounds); !slices.Equal(got[:min(len(got), len(want))], want) {
			t.Errorf("%s: plays seconds %q; want %q", o.entry, got, want)
		}
	}
}

// secondsPlayed returns which second of the media each second of the output plays.
func secondsPlayed(t *testing.T, o mediaOutput) []string {
	t.Helper()
	const rate = 8000
	args := []string{"-v", "error", "-i", o.entry, "-map", "0:a:0", "-ac", "1", "-ar", strconv.Itoa(rate), "-f", "s16le", "-"}
	if !o.job.Request.IsFile() {
		args = append([]string{"-allowed_extensions", "ALL"}, args...)
	}
	samples := []byte(ffmpegRun(t, ".", "ffmpeg", args...))
	var played []string
	for begin := rate / 4; 2*(begin+rate/2) <= len(samples); begin += rate {
		crossings, before, loud := 0, int16(0), false
		for i := range rate / 2 {
			s := int16(binary.LittleEndian.Uint16(samples[2*(begin+i):]))
			loud = loud || s > 2000
			if before < 0 && s >= 0 {
				crossings++
			}
			before = s
		}
		if !loud {
			played = append(played, "-")
			continue
		}
		played = append(played, strconv.Itoa((2*crossings+150)/300-1))
	}
	return played
}
