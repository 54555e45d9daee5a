package transcode

import (
	"errors"
	"strings"
	"testing"
)

func TestNaming(t *testing.T) {
	for _, tt := range []struct {
		naming     Naming
		from, file string
		want       string
	}{
		{Naming{}, ".", "180p/index.m3u8", "180p/index.m3u8"},
		{Naming{}, "180p", "180p/00000.ts", "00000.ts"},
		{Naming{}, "180p", "stream.key", "../stream.key"},
		{Naming{SegmentDir: "a"}, "a/180p", "stream.key", "../../stream.key"},
		{Naming{URLPrefix: "https://x/"}, "180p", "180p/00000.ts", "https://x/180p/00000.ts"},
		{Naming{URLPrefix: "/films/"}, "180p", "stream.key", "/films/stream.key"},
	} {
		got := tt.naming.URI(tt.from, tt.file)
		if got != tt.want || tt.naming.Path(tt.from, got) != tt.file {
			t.Errorf("%+v: %s in %s is %s, and back %s; want %s", tt.naming, tt.file, tt.from, got, tt.naming.Path(tt.from, got), tt.want)
		}
	}
	if n := (Naming{KeyEvery: 3, KeyName: "a.key"}); n.Key(2) != "a-0.key" || n.Key(3) != "a-1.key" {
		t.Errorf("keys %s, %s; want a-0.key, a-1.key", n.Key(2), n.Key(3))
	}
}

func TestNamingRefuses(t *testing.T) {
	for _, tt := range []struct {
		output Output
		want   string
	}{
		{Output{Naming: Naming{Dir: "videos/a"}}, `directory "videos/a"; want a path`},
		{Output{Naming: Naming{Dir: "originals"}}, `directory "originals"`},
		{Output{Naming: Naming{Dir: ".hidden"}}, `directory ".hidden"`},
		{Output{Naming: Naming{Dir: "a/.b"}}, `directory "a/.b"`},
		{Output{Naming: Naming{Dir: "../a"}}, `directory "../a"`},
		{Output{Naming: Naming{Dir: "/a"}}, `directory "/a"`},
		{Output{Naming: Naming{PlaylistName: "a/b"}}, `name "a/b"; want letters`},
		{Output{Naming: Naming{SegmentName: "../x"}}, `name "../x"; want letters`},
		{Output{Naming: Naming{SegmentDir: ".x"}}, `name ".x"; want letters`},
		{Output{Naming: Naming{SegmentName: "a%05d"}}, `name "a%05d"; want letters`},
		{Output{Naming: Naming{KeyName: "k"}}, `a key's name, or keys that change, without encryption`},
		{Output{Encrypted: true, Naming: Naming{KeyEvery: -1}}, `another key after every -1 segments`},
		{Output{Naming: Naming{URLPrefix: "https://x"}}, `with a slash at its end`},
		{Output{Naming: Naming{URLPrefix: "a\"b/"}}, `prefix "a\"b/"`},
		{Output{Format: FormatMP4, Naming: Naming{SegmentName: "a"}}, `for an mp4 file`},
		{Output{CRF: 60}, "CRF 60; want 1 to 51"},
		{Output{CRF: 20, Constant: true}, "a constant bitrate and two passes; want one"},
		{Output{CRF: 20, Encoder: "h264_nvenc"}, "CRF or two passes by h264_nvenc; want libx264 or libx265"},
		{Output{Audio: "wma"}, `audio "wma"; want one of aac, mp3`},
		{Output{Audio: "mp3", AudioBPS: 500_000}, "libmp3lame has 320000 at most"},
		{Output{Audio: "opus", Container: ContainerTS}, "opus audio in MPEG-TS segments; want cmaf segments"},
		{Output{Rungs: []Rung{{Width: 601, Height: 400}}}, "rung of 601x400 and 0 lines; want even sides"},
		{Output{Rungs: []Rung{{}}}, "rung of the source's size without a bitrate"},
	} {
		err := Request{Output: tt.output}.Check()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want %s", tt.output, err, tt.want)
		}
	}
	if err := (Request{Output: Output{Naming: Naming{Dir: "films/2024"}}}).Check(); err != nil {
		t.Error(errors.Unwrap(err))
	}
}

// A rung of any shape holds the whole picture, and says if it is above the source.
func TestRungsOfAnyShape(t *testing.T) {
	p := source(320, 180, Rational{25, 1}, 20)
	r := Request{Output: Output{Rungs: []Rung{{Width: 600, Height: 400, BitrateBPS: 128_000}, {BitrateBPS: 28_000}, {Lines: 720}}}}
	plan, err := NewPlan(r, p, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Renditions) != 2 {
		t.Fatalf("%+v; want two", plan.Renditions)
	}
	big, small := plan.Renditions[0], plan.Renditions[1]
	if big.Width != 600 || big.Height != 400 || big.PictureWidth != 600 || big.PictureHeight != 338 || big.BitrateBPS != 128_000 {
		t.Errorf("%+v; want a picture of 600x338 in 600x400", big)
	}
	if small.Width != 320 || small.BitrateBPS != 28_000 || small.PictureWidth != 0 {
		t.Errorf("%+v; want the source's size at 28 kb/s", small)
	}
	for _, want := range []string{"the rung of 720 lines is left out", "the rung of 600x400 only enlarges"} {
		if !strings.Contains(plan.Note, want) {
			t.Errorf("note %q; want %q", plan.Note, want)
		}
	}
}
