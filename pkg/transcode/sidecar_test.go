package transcode

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSidecars(t *testing.T) {
	t.Parallel()
	names := []string{
		"film.mkv", "film.srt", "film.de.srt", "Film.en.srt", "film2.srt", "film.extended.mkv", "film.extended.srt", "film.extended.de.ass",
		"film.nfo", "film.jpg", "film.EN.VTT", "other.mp4", "film.de.txt",
	}
	for video, want := range map[string][]string{
		"film.mkv":          {"film.EN.VTT", "film.de.srt", "film.srt"},
		"film.extended.mkv": {"film.extended.de.ass", "film.extended.srt"},
		"other.mp4":         nil,
		"film.srt":          nil,
	} {
		if got := Sidecars(video, names); !slices.Equal(got, want) {
			t.Errorf("Sidecars(%q) = %q; want %q", video, got, want)
		}
	}
}

func TestSidecarStream(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"in/film.srt":                    "subrip",
		"in/film.de.srt":                 "subrip de",
		"in/film.pt-BR.forced.ass":       "ass pt-BR forced",
		"in/film.en.sdh.vtt":             "webvtt en hearing",
		"in/film.hi.srt":                 "subrip hi",
		"in/film.en.hi.srt":              "subrip en hearing",
		"in/film.Director's cut.ger.srt": "subrip de Director's cut",
		"in/film.xyz.default.srt":        "subrip default xyz",
	} {
		s := sidecarStream("in/film.mkv", file)
		got := strings.TrimSpace(s.Codec + " " + s.Language)
		for _, flag := range []struct {
			set  bool
			name string
		}{{s.Forced, "forced"}, {s.HearingImpaired, "hearing"}, {s.Default, "default"}} {
			if flag.set {
				got += " " + flag.name
			}
		}
		if got = strings.TrimSpace(fmt.Sprint(got, " ", s.Title)); got != want {
			t.Errorf("%s: %q; want %q", file, got, want)
		}
	}
}
