package worker

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
)

// shortReport is what ffprobe says of a clip of two frames.
const shortReport = `[PACKET]
stream_index=0
pts_time=0.000000
dts_time=-0.040000
duration_time=0.040000
pos=48
flags=K__
[/PACKET]
[PACKET]
stream_index=0
pts_time=0.040000
dts_time=N/A
duration_time=N/A
pos=N/A
flags=__
[SIDE_DATA]
side_data_type=Skip Samples
[/SIDE_DATA]
[/PACKET]
[STREAM]
index=0
codec_name=h264
codec_type=video
width=320
height=180
id=0x1
avg_frame_rate=25/1
DISPOSITION:default=1
TAG:language=ger
[SIDE_DATA]
side_data_type=Display Matrix
displaymatrix=
00000000:            0      -65536           0
rotation=-90
[/SIDE_DATA]
[/STREAM]
[CHAPTER]
id=1
start_time=0.000000
end_time=0.080000
TAG:title=One|two
[/CHAPTER]
[FORMAT]
format_name=mov
start_time=0.000000
duration=0.080000
size=1000
bit_rate=100000
TAG:title=A\B=C
duration=99
[PACKET
TAG:artist=D
[/FORMAT]
`

func TestReport(t *testing.T) {
	r, err := readReport(strings.NewReader(shortReport), func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	s := r.streams[0]
	if s.CodecName != "h264" || s.Width != 320 || s.ID != "0x1" || s.Disposition.Default != 1 || s.Tags.get("language") != "ger" {
		t.Errorf("stream %+v; want 320 wide H.264 in German", s)
	}
	if quarterTurns(&s) != -1 {
		t.Errorf("%d quarter turns; want -1", quarterTurns(&s))
	}
	if c := r.chapters[0]; c.EndTime != "0.080000" || c.Tags.get("title") != "One|two" {
		t.Errorf("chapter %+v; want One|two", c)
	}
	if f := r.format; f.FormatName != "mov" || f.Size != "1000" || f.Duration != "0.080000" || f.Tags.get("TITLE") != `A\B=C duration=99 [PACKET` || f.Tags.get("artist") != "D" {
		t.Errorf("format %+v; want mov", f)
	}
	if film := r.packets[0]; film.count != 2 || film.first != 0 || film.encrypted {
		t.Errorf("packets %+v; want two", film)
	}
}

// A jsonReport is ffprobe's report in its other form.
type jsonReport struct {
	Packets []struct {
		Stream   int    `json:"stream_index"`
		PTS      string `json:"pts_time"`
		DTS      string `json:"dts_time"`
		Duration string `json:"duration_time"`
		Pos      string `json:"pos"`
		Size     string `json:"size"`
		Flags    string `json:"flags"`
		Side     []any  `json:"side_data_list"`
	} `json:"packets"`
	Streams []struct{ Tags map[string]string }
	Format  struct {
		Name string `json:"format_name"`
		Tags map[string]string
	}
}

// packet returns a packet as parsePacket has to.
func (r jsonReport) packet(i int) packet {
	from := r.Packets[i]
	p := newPacket()
	p.stream = from.Stream
	for _, f := range []struct {
		text string
		into *float64
	}{{from.PTS, &p.pts}, {from.DTS, &p.dts}, {from.Duration, &p.duration}} {
		if f.text != "" {
			*f.into = number(f.text)
		}
	}
	if from.Pos != "" {
		p.pos = int64(number(from.Pos))
	}
	p.size = int(number(from.Size))
	p.key, p.discarded = from.Flags[0] == 'K', from.Flags[1] == 'D'
	return p
}

// equal compares packets, of which one can lack time stamps.
func (p packet) equal(q packet) bool { return fmt.Sprint(p) == fmt.Sprint(q) }

// ffprobe's lines say the same as its JSON, in every container that has fields of its own.
func TestReportAsJSON(t *testing.T) {
	t.Parallel()
	clip := "-f lavfi -i testsrc2=s=64x64:r=10:d=2 -f lavfi -i sine=d=2 " + x264 + "-c:a aac "
	for _, source := range []string{
		makeSource(t, "a.mp4", clip+"-metadata title=a|b\\c=d -metadata:s:a language=ger"), makeSource(t, "a.ts", clip), makeSource(t, "a.avi", clip),
		makeSource(t, "a.mkv", clip+"-metadata title=x"), makeSource(t, "a.h264", "-f lavfi -i testsrc2=s=64x64:r=10:d=2 "+x264),
		makeSource(t, "a.mp4", hdr10),
	} {
		args := probeArgs(source)
		text := ffmpegRun(t, ".", "ffprobe", args...)
		args[slices.Index(args, "-of")+1] = "json"
		var want jsonReport
		if err := json.Unmarshal([]byte(ffmpegRun(t, ".", "ffprobe", args...)), &want); err != nil {
			t.Fatal(err)
		}
		r, err := readReport(strings.NewReader(text), func(int) {})
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if r.format.FormatName != want.Format.Name || !maps.Equal(r.format.Tags, want.Format.Tags) || len(r.streams) != len(want.Streams) {
			t.Errorf("%s: %d streams in %+v; want %+v", source, len(r.streams), r.format, want.Format)
		}
		for i, s := range r.streams {
			if !maps.Equal(s.Tags, want.Streams[i].Tags) {
				t.Errorf("%s: tags %v of stream %d; want %v", source, s.Tags, i, want.Streams[i].Tags)
			}
		}
		comparePackets(t, source, text, want)
	}
}

func comparePackets(t *testing.T, source, text string, want jsonReport) {
	t.Helper()
	n, p := 0, newPacket()
	for line := range strings.Lines(text) {
		if p.field([]byte(strings.TrimSpace(line))); line != "[/PACKET]\n" {
			continue
		}
		if n >= len(want.Packets) || !p.equal(want.packet(n)) {
			t.Fatalf("%s: packet %d is %+v; want that of JSON", source, n, p)
		}
		n, p = n+1, newPacket()
	}
	if n != len(want.Packets) || n < 20 {
		t.Errorf("%s: %d packets; want %d", source, n, len(want.Packets))
	}
}

// Times are parsed exactly, and what is none is none.
func TestParseTime(t *testing.T) {
	for text, want := range map[string]float64{
		"0.000000": 0, "-0.023220": -0.02322, "95443.717689": 95443.717689, "123456789.123456": 123456789.123456,
		"1234567890123.5": 1234567890123.5, "1e3": 1000,
	} {
		if got := parseTime([]byte(text)); got != want {
			t.Errorf("parseTime(%q) = %v; want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "N/A", "-", "1.00000x", "1e999", "NaN", "9999999999999999999999.000000"} {
		if got := parseTime([]byte(text)); !math.IsNaN(got) {
			t.Errorf("parseTime(%q) = %v; want none", text, got)
		}
	}
}

// What is no report is refused, and one of any length is read in bounded memory.
func TestReportRefused(t *testing.T) {
	for _, text := range []string{"", "\n", "x", "x=1\n", shortReport[:len(shortReport)-1], shortReport[:200], "{\n}\n", "[STREAM]\n[/STREAM]\n"} {
		if _, err := readReport(strings.NewReader(text), func(int) {}); err == nil {
			t.Errorf("readReport(%.50q): no error", text)
		}
	}
	long := strings.Replace(shortReport, "TAG:artist=D", "TAG:lyrics="+strings.Repeat("la ", maxLineBytes)+strings.Repeat("\nla la", maxValueBytes), 1)
	r, err := readReport(strings.NewReader(strings.Repeat("[CHAPTER]\nid=1\nTAG:title=x\n[/CHAPTER]\n", 3*maxListed)+long), func(int) {})
	if err != nil || len(r.chapters) != maxListed || len(r.format.Tags["lyrics"]) > 2*maxValueBytes || r.format.Tags["title"] == "" {
		t.Errorf("%v; want %d chapters, and texts of %d bytes at most", err, maxListed, maxValueBytes)
	}
}
