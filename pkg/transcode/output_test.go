package transcode

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// A request that an older version stored is what it was.
func TestRequestJSON(t *testing.T) {
	const old = `{"source":"a.mp4","name":"a","segment_seconds":4,"mux_id":2}`
	var r Request
	if err := json.Unmarshal([]byte(old), &r); err != nil {
		t.Fatal(err)
	}
	if want := (Request{Source: "a.mp4", Name: "a", SegmentSeconds: 4, MuxID: 2}); !reflect.DeepEqual(r, want) {
		t.Errorf("old request = %+v; want %+v", r, want)
	}
	if again, err := json.Marshal(r); err != nil || string(again) != old {
		t.Errorf("it is written again as %s, %v; want %s", again, err, old)
	}
	r.Output = Output{
		Format: FormatHLS, Container: ContainerCMAF, Codec: CodecH265, Encoder: "hevc_vaapi", AudioBPS: 128_000,
		Rungs: []Rung{{Lines: 720, BitrateBPS: 2_000_000}, {Lines: 360}}, Encrypted: true, KeyURI: "https://keys.example/1",
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Request
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("%s is read as %+v, %v; want %+v", text, back, err, r)
	}
	if err := back.Check(); err != nil {
		t.Error(err)
	}
}

func TestRequestCheck(t *testing.T) {
	tests := []struct {
		output Output
		want   string
	}{
		{Output{}, ""},
		{Output{Format: FormatMP4, Rungs: []Rung{{Lines: 480}}}, ""},
		{Output{Format: FormatMKV, Options: []string{"-c:v", "mpeg4"}}, ""},
		{Output{Ladder: PresetAuthor}, ""},
		{Output{Format: "avi"}, `format "avi"; want hls, mp4 or mkv`},
		{Output{Container: "webm"}, `segments of "webm"; want ts or cmaf`},
		{Output{Codec: "vp9"}, `codec "vp9"; want h264, h265 or av1`},
		{Output{Ladder: "tall"}, `ladder "tall"; want apple or author`},
		{Output{AudioBPS: 1}, `audio of 1 b/s; want 16000 to 512000, or 0 for the default`},
		{Output{Encoder: "libx265"}, `encoder "libx265" for h264; want one of h264_nvenc, h264_omx, h264_qsv, h264_v4l2m2m, h264_vaapi, h264_videotoolbox, libx264`},
		{Output{Codec: CodecH265, Container: ContainerTS}, "h265 or av1 in MPEG-TS segments, which players do not take; want cmaf segments"},
		{Output{Rungs: []Rung{{Lines: 1}}}, "rung of 1 lines; want 16 to 8192"},
		{Output{Rungs: []Rung{{Lines: 720, BitrateBPS: 1}}}, "rung of 1 b/s; want 4000 to 200000000, or none for the usual one"},
		{Output{Rungs: []Rung{{Lines: 720}, {Lines: 720}}}, "rung 720 is there twice"},
		{Output{Rungs: make([]Rung, 13)}, "13 rungs; want 12 at most"},
		{Output{Rungs: []Rung{{Lines: 720}}, Ladder: PresetApple}, "a ladder preset and rungs; want one of them"},
		{Output{SampleAES: true}, "SAMPLE-AES without encryption; want both or neither"},
		{Output{SampleAES: true, Encrypted: true, Container: ContainerTS}, "SAMPLE-AES in MPEG-TS segments; want cmaf segments, or encryption of whole segments (AES-128)"},
		{Output{SampleAES: true, Encrypted: true, MoreCodecs: []Codec{CodecAV1}}, "SAMPLE-AES of AV1; want h264 or h265, or encryption of whole segments (AES-128)"},
		{Output{KeyURI: "k"}, "a key URI without encryption; want both or neither"},
		{Output{Encrypted: true, KeyURI: "a\"\n#EXT"}, `key URI "a\"\n#EXT"; want a URI of at most 1000 bytes, e.g. https://keys.example/1`},
		{Output{Options: []string{"-pass", "2"}}, "ffmpeg options for a stream: two passes need the whole video; want them with mp4 or mkv only"},
		{Output{Options: []string{"-c:v", "libx264"}}, "ffmpeg option -c:v for a stream; want --encoder or --codec"},
		{Output{Options: []string{"-c:a", "ac3"}}, "ffmpeg option -c:a for a stream; want --audio CODEC"},
		{Output{Options: []string{"-b:v", "1M"}}, "ffmpeg option -b:v for a stream; want --rung SIZE:BITRATE, or --audio BITRATE"},
		{Output{Options: []string{"-pix_fmt", "yuv444p"}}, "ffmpeg option -pix_fmt:v for a stream; want the default, which every player shows"},
		{Output{Format: FormatMP4, Encrypted: true}, "an encrypted mp4 file; want encryption with hls only"},
		{Output{Format: FormatMP4, Container: ContainerTS}, "ts segments in an mp4 file; want segments with hls only"},
		{Output{Format: FormatMP4, Ladder: PresetAuthor}, "a ladder for an mp4 file; want one rung at most"},
		{Output{Format: FormatMP4, Codec: CodecH265, Options: []string{"-an"}}, "ffmpeg options beside a codec, an encoder, a rung or an audio bitrate; want one or the other"},
		{Output{Format: FormatMP4, Options: []string{"-i", "x"}}, "ffmpeg option -i: a source is given once, before the options"},
	}
	for _, tt := range tests {
		err := Request{Output: tt.output}.Check()
		if got := errorText(err); got != tt.want {
			t.Errorf("%+v: %q\n want %q", tt.output, got, tt.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Whoever says the defaults asks for the same as whoever leaves them out.
func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ short, long Output }{
		{Output{}, Output{Format: FormatHLS, Container: ContainerTS, Codec: CodecH264, Encoder: EncoderX264, Ladder: PresetApple}},
		{Output{Codec: CodecH265}, Output{Container: ContainerCMAF, Codec: CodecH265, Encoder: EncoderX265}},
		{Output{Format: FormatMKV}, Output{Format: FormatMKV, Codec: CodecH264}},
	} {
		short, long := Request{Output: tt.short}, Request{Output: tt.long, SegmentSeconds: 4}
		if a, b := short.Canonical(), long.Canonical(); !reflect.DeepEqual(a, b) {
			t.Errorf("%+v becomes %+v, and %+v %+v; want the same of both", tt.short, a, tt.long, b)
		}
	}
	if a, b := (Request{}).Canonical(), (Request{Output: Output{Container: ContainerCMAF}}).Canonical(); reflect.DeepEqual(a, b) {
		t.Error("CMAF segments are the same as MPEG-TS")
	}
}

func TestParseRung(t *testing.T) {
	for text, want := range map[string]Rung{
		"720": {Lines: 720}, "720p": {Lines: 720}, "360:800k": {Lines: 360, BitrateBPS: 800_000}, "1080:4.5M": {Lines: 1080, BitrateBPS: 4_500_000},
	} {
		if got, err := ParseRung(text); err != nil || got != want {
			t.Errorf("ParseRung(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "720:", "720:x", "720:-1", "720:1e300k", "720:NaN"} {
		if got, err := ParseRung(text); err == nil {
			t.Errorf("ParseRung(%q) = %v; want an error", text, got)
		}
	}
}

func TestNameOf(t *testing.T) {
	long := strings.Repeat("ü", 150)
	for source, want := range map[string]string{
		"in/a film.mp4":     "a film",
		"in/a\nb\t\x7f.mp4": "a_b__",
		"in/\xff\xfe.mkv":   "__",
		"in/..hidden.x.mp4": "hidden.x",
		"in/.mp4":           "video",
		"in/" + long:        long[:200],
		"in/\"q\" 'q' 日本":   "\"q\" 'q' 日本",
	} {
		got := NameOf(source)
		if got != want {
			t.Errorf("NameOf(%q) = %q; want %q", source, got, want)
		}
		if err := (Request{Name: got}).Check(); err != nil {
			t.Errorf("NameOf(%q): %v", source, err)
		}
	}
}
