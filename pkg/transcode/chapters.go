package transcode

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/transcode/mediafile"
)

// The files beside a stream that say what it is about.
const (
	ChaptersJSONName = "chapters.json" // in Apple's form, for EXT-X-SESSION-DATA
	ChaptersVTTName  = "chapters.vtt"  // for the chapters of a track element in HTML
	TagsName         = "tags.json"     // an object of texts
)

// FFMetadata returns chapters and tags in the form that ffmpeg reads.
func FFMetadata(tags map[string]string, chapters []Chapter) []byte {
	var b strings.Builder
	b.WriteString(";FFMETADATA1\n")
	escape := strings.NewReplacer(`\`, `\\`, "=", `\=`, ";", `\;`, "#", `\#`, "\n", "\\\n").Replace
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		fmt.Fprintf(&b, "%s=%s\n", escape(name), escape(tags[name]))
	}
	for _, c := range chapters {
		start, end := milliseconds(c.StartSeconds), milliseconds(c.EndSeconds)
		fmt.Fprintf(&b, "[CHAPTER]\nTIMEBASE=1/1000\nSTART=%d\nEND=%d\ntitle=%s\n", start, end, escape(c.Title))
	}
	return []byte(b.String())
}

func milliseconds(seconds float64) int64 { return int64(math.Round(seconds * 1000)) }

// ChaptersVTT returns chapters as WebVTT.
func ChaptersVTT(chapters []Chapter) []byte {
	track := mediafile.TextTrack{MPEGTS: -1}
	for i, c := range chapters {
		at := func(seconds float64) time.Duration { return time.Duration(milliseconds(seconds)) * time.Millisecond }
		track.Cues = append(track.Cues, mediafile.Cue{Start: at(c.StartSeconds), End: at(c.EndSeconds), Text: plainCue(c.name(i))})
	}
	return track.WebVTT()
}

// plainCue returns text as a line of a cue, in which some characters mean something.
func plainCue(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\n", " ").Replace(text)
}

func (c Chapter) name(i int) string {
	if c.Title == "" {
		return fmt.Sprintf("Chapter %d", i+1)
	}
	return c.Title
}

// ChaptersJSON returns chapters as Apple's players read them.
func ChaptersJSON(chapters []Chapter) ([]byte, error) {
	type title struct {
		Language string `json:"language"`
		Title    string `json:"title"`
	}
	type chapter struct {
		Chapter   int     `json:"chapter"`
		StartTime float64 `json:"start-time"`
		Duration  float64 `json:"duration"`
		Titles    []title `json:"titles"`
	}
	list := make([]chapter, len(chapters))
	for i, c := range chapters {
		start, end := milliseconds(c.StartSeconds), milliseconds(c.EndSeconds)
		list[i] = chapter{i + 1, float64(start) / 1000, float64(end-start) / 1000, []title{{"und", c.name(i)}}}
	}
	return json.MarshalIndent(list, "", "\t")
}
