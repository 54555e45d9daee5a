package worker

import (
	"bytes"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
	"pibootd/pkg/transcode/queue"
)

// captionRows are sources with closed captions.
func captionRows() []mediaRow {
	return []mediaRow{
		{
			name: "captions", file: "a.ts", build: captionedSource("h264", "60"),
			want: mediaWant{frames: 180, within: 1, also: keepsCaptions},
		},
		{
			name: "captions in MP4", file: "a.mp4", long: true, build: captionedSource("h264", "60"),
			want: mediaWant{frames: 180, within: 1, also: keepsCaptions},
		},
		{
			name: "captions of which frames are dropped", file: "a.ts", build: captionedSource("h264", "60"), long: true,
			request: transcode.Request{Output: transcode.Output{MaxFPS: 20}},
			want:    mediaWant{note: []string{"not in the output: closed captions (CC1), because its frames are not those of the source"}, also: hasNoCaptions},
		},
		{
			name: "captions by H.265", file: "a.ts", build: captionedSource("h264", "60"),
			request: transcode.Request{Output: transcode.Output{Codec: transcode.CodecH265}},
			want:    mediaWant{note: []string{"not in the output: closed captions (CC1), which libx265 does not pass on; libx264 does"}, also: hasNoCaptions},
		},
	}
}

// captionedSource makes a film of 6 s at 30 frames/s with pop-on captions in the first
// channel of CTA-608.
func captionedSource(codec, gop string) func(t *testing.T, dir, file string) {
	return func(t *testing.T, dir, file string) {
		plain := makeSource(t, "plain.h264", "-f lavfi -i testsrc2=s=320x180:r=30:d=6 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 0 -x264-params aud=1:slices=1:threads=1 -g "+gop)
		stream, err := os.ReadFile(plain)
		if err != nil {
			t.Fatal(err)
		}
		raw := filepath.Join(t.TempDir(), "captioned.h264")
		if err := os.WriteFile(raw, withCaptions(stream, map[int]string{15: "FIRST WORDS", 80: "ACROSS A BORDER", 140: "THE LAST ONES"}), 0o644); err != nil {
			t.Fatal(err)
		}
		ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-r", "30", "-i", raw, "-f", "lavfi", "-i", "sine=300:d=6", "-map", "0", "-map", "1",
			"-c:v", "copy", "-c:a", "aac", "-metadata:s:a:0", "language=eng", file)
	}
}

// withCaptions puts a message of ATSC A/53 into each frame of a stream of H.264 that has
// access unit delimiters. texts are by the frame that they begin with.
func withCaptions(stream []byte, texts map[int]string) []byte {
	var out []byte
	var pairs [][2]byte
	delimiter := []byte{0, 0, 0, 1, 9}
	for frame, unit := range bytes.Split(stream, delimiter)[1:] {
		if text, begins := texts[frame]; begins {
			pairs = popOn(text)
		}
		pair := [2]byte{0x80, 0x80}
		if len(pairs) > 0 {
			pair, pairs = pairs[0], pairs[1:]
		}
		message := []byte{0xb5, 0, 0x31, 'G', 'A', '9', '4', 3, 0x41, 0xff, 0xfc, pair[0], pair[1], 0xff}
		sei := append([]byte{0, 0, 0, 1, 6, 4, byte(len(message))}, append(message, 0x80)...)
		out = append(append(out, delimiter...), unit[:1]...) // its one byte
		out = append(append(out, sei...), unit[1:]...)
	}
	return out
}

// popOn returns what shows a text in the first channel: each control code is sent twice.
func popOn(text string) [][2]byte {
	var pairs [][2]byte
	add := func(first, second byte) { pairs = append(pairs, [2]byte{odd(first), odd(second)}) }
	for _, code := range [][2]byte{{0x14, 0x20}, {0x14, 0x2e}, {0x14, 0x70}} { // load, erase it, last row
		add(code[0], code[1])
		add(code[0], code[1])
	}
	for text += strings.Repeat("\x00", len(text)%2); text != ""; text = text[2:] {
		add(text[0], text[1])
	}
	add(0x14, 0x2f) // show
	add(0x14, 0x2f)
	return pairs
}

// odd gives a byte its parity.
func odd(b byte) byte {
	if bits.OnesCount8(b)%2 == 0 {
		return b | 0x80
	}
	return b
}

// Whether a video has captions is found out from its key frames alone: this ffmpeg, which
// would read them all, runs for those that have some.
func TestCaptionsAreLookedForWithoutFFmpeg(t *testing.T) {
	t.Parallel()
	const message = "\xb5\x00\x31GA94\x03\x41\xff\xfc\x94\x20\xff"
	for _, tt := range []struct{ encoding, raw, containers, mark, message string }{
		{"-c:v libx264 -preset ultrafast -bf 0 -x264-params aud=1", "a.h264", "mp4 mkv flv", "\x00\x00\x00\x01\x09", "\x06\x04\x0e" + message + "\x80"},
		{"-c:v libx265 -preset ultrafast -x265-params aud=1:bframes=0:log-level=error", "a.hevc", "mp4", "\x00\x00\x00\x01\x46\x01", "\x4e\x01\x04\x0e" + message + "\x80"},
		{"-c:v mpeg2video -bf 0", "a.m2v", "mkv avi", "\x00\x00\x01\xb5\x8f", "\xb2GA94\x03\x41\xff\xfc\x94\x20\xff"},
	} {
		plain := makeSource(t, tt.raw, "-f lavfi -i testsrc2=s=64x64:r=25:d=0.4 -pix_fmt yuv420p -g 5 "+tt.encoding)
		stream, err := os.ReadFile(plain)
		if err != nil {
			t.Fatal(err)
		}
		with := written(t, tt.raw, string(afterEach(stream, tt.mark, tt.message)))
		for container := range strings.FieldsSeq(tt.containers) {
			for raw, captions := range map[string]bool{plain: false, with: true} {
				file := makeSource(t, "a."+container, "-fflags +genpts -r 25 -i "+raw+" -c copy")
				_, _, err := (&Worker{FFmpeg: "false"}).probe(t.Context(), file, newPulse(time.Now()))
				if found := err != nil && strings.HasPrefix(err.Error(), "looking at closed captions: false: exit status 1"); found != captions || err != nil && !captions {
					t.Errorf("%s in %s, captions %t: %v; want ffmpeg for captions alone", tt.raw, container, captions, err)
				}
			}
		}
	}
}

// afterEach puts a unit into a stream, after each one that begins with a mark.
func afterEach(stream []byte, mark, unit string) []byte {
	const start = "\x00\x00\x01"
	parts := strings.Split(string(stream), mark)
	for i, part := range parts[1:] {
		at := strings.Index(part, start)
		parts[i+1] = part[:at] + start + unit + part[at:]
	}
	return []byte(strings.Join(parts, mark))
}

// captionsOf decodes the captions of a video. Their times count from its first packet.
func captionsOf(t *testing.T, video string) mediafile.TextTrack {
	t.Helper()
	dir := t.TempDir()
	args := []string{"-v", "error"}
	if filepath.Ext(video) == ".m3u8" {
		args = append(args, "-allowed_extensions", "ALL")
	}
	ffmpegRun(t, dir, "ffmpeg", append(args, "-i", video, "-map", "0:v:0", "-c", "copy", "video.mkv")...)
	text := ffmpegRun(t, dir, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "movie=video.mkv[out+subcc]", "-map", "0:1", "-f", "webvtt", "-")
	track, err := mediafile.ReadWebVTT(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return track
}

// keepsCaptions makes sure that the output has the captions of its source, and that a
// master playlist declares them.
func keepsCaptions(t *testing.T, o mediaOutput) {
	t.Helper()
	want, got := captionsOf(t, o.source).Cues, captionsOf(t, o.video).Cues
	same := slices.EqualFunc(got, want, func(a, b mediafile.Cue) bool {
		return a.Text == b.Text && (a.Start-b.Start).Abs() < 100*time.Millisecond
	})
	if !same || len(got) != 3 || !strings.Contains(got[1].Text, "ACROSS A BORDER") {
		t.Errorf("%s: captions %v; want %v", o.video, got, want)
	}
	if o.job.Request.IsFile() {
		return
	}
	master, err := os.ReadFile(o.entry)
	const tag = `#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="captions",NAME="English",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,INSTREAM-ID="CC1"`
	if err != nil || !strings.Contains(string(master), tag) || !strings.Contains(string(master), `,CLOSED-CAPTIONS="captions"`) {
		t.Errorf("%v: the master playlist is\n%s\nwant %s", err, master, tag)
	}
}

// hasNoCaptions makes sure that there are none, and that a master playlist says so.
func hasNoCaptions(t *testing.T, o mediaOutput) {
	t.Helper()
	if out := ffmpegRun(t, ".", "ffprobe", "-v", "error", "-select_streams", "v:0", "-show_frames", o.video); strings.Contains(out, "Closed Captions") {
		t.Errorf("%s has closed captions; want none", o.video)
	}
	if o.job.Request.IsFile() {
		return
	}
	if master, err := os.ReadFile(o.entry); err != nil || !strings.Contains(string(master), ",CLOSED-CAPTIONS=NONE") {
		t.Errorf("%v: the master playlist is\n%s\nwant CLOSED-CAPTIONS=NONE", err, master)
	}
}

// Of a stream in two codecs, the renditions by libx264 have the captions.
func TestCaptionsInOneCodecOfTwo(t *testing.T) {
	t.Parallel()
	c := newShortCluster(t, 2, 1)
	dir := t.TempDir()
	captionedSource("h264", "60")(t, dir, "a.ts")
	c.provide("a.ts", filepath.Join(dir, "a.ts"))
	job := c.do(transcode.Request{Source: "a.ts", SegmentSeconds: 1, Output: transcode.Output{
		MoreCodecs: []transcode.Codec{transcode.CodecH265}, Rungs: []transcode.Rung{{Lines: 180}},
	}})
	if want := "closed captions (CC1) are not in the renditions by libx265"; job.State != queue.Done || job.Note != want {
		t.Fatalf("the job is %s: %s; its note is %q; want %q", job.State, job.Reason, job.Note, want)
	}
	master, err := os.ReadFile(filepath.Join(c.media, job.Output))
	if err != nil || strings.Count(string(master), `,CLOSED-CAPTIONS="captions"`) != 1 || strings.Contains(string(master), "NONE") {
		t.Errorf("%v: the master playlist is\n%s\nwant captions of one variant stream", err, master)
	}
}
