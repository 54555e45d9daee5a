package transcode

import (
	"path"
	"slices"
	"strings"
)

// sidecarCodecs are the extensions of the files with subtitles that may lie beside a
// video, with ffmpeg's names of what is in them.
var sidecarCodecs = map[string]string{".srt": "subrip", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}

// companions are the other extensions of files that lie beside videos and are none.
var companions = []string{".sub", ".idx", ".sup", ".nfo", ".txt", ".jpg", ".jpeg", ".png"}

// IsSidecar reports whether a file, by its name, has subtitles for a video beside it.
func IsSidecar(name string) bool { return sidecarCodecs[strings.ToLower(path.Ext(name))] != "" }

// maxSidecars is the number of files with subtitles that a video may have.
const maxSidecars = 50

// Sidecars returns those of the names of a directory that are subtitles for the file
// called video in it: they are called like it, as film.srt or film.de.forced.srt for
// film.mkv. A file that also fits a video with a longer name belongs to that one.
func Sidecars(video string, names []string) []string {
	if IsSidecar(video) {
		return nil
	}
	base := stem(video)
	var list []string
	for _, name := range names {
		rest, ok := strings.CutPrefix(stem(name), base)
		if !IsSidecar(name) || !ok || rest != "" && rest[0] != '.' {
			continue
		}
		other := func(n string) bool {
			s := stem(n)
			return !IsCompanion(n) && len(s) > len(base) && (stem(name) == s || strings.HasPrefix(stem(name), s+"."))
		}
		if !slices.ContainsFunc(names, other) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list[:min(len(list), maxSidecars)]
}

func stem(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// IsCompanion reports whether a file, by its name, lies beside videos and is none.
func IsCompanion(name string) bool {
	return IsSidecar(name) || slices.Contains(companions, strings.ToLower(path.Ext(name)))
}

// sidecarStream describes a file with subtitles by its name.
func sidecarStream(source, file string) SubtitleStream {
	s := SubtitleStream{File: file, Codec: sidecarCodecs[strings.ToLower(path.Ext(file))]}
	rest := strings.TrimPrefix(stem(path.Base(file)), stem(path.Base(source)))
	for word := range strings.SplitSeq(rest, ".") {
		switch lower := strings.ToLower(word); {
		case s.Language == "" && knownLanguage(word):
			s.Language = Language(word)
		case lower == "forced":
			s.Forced = true
		case lower == "sdh", lower == "cc", lower == "hi":
			s.HearingImpaired = true
		case lower == "default":
			s.Default = true
		case word != "":
			s.Title = strings.TrimSpace(s.Title + " " + word)
		}
	}
	if len(s.Title) > maxText {
		s.Title = ""
	}
	return s
}
