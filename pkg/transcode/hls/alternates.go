package hls

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"pibootd/pkg/transcode"
)

// surroundGroup is the group of audio with more than two channels.
const surroundGroup = "surround"

// An audioGroup is the EXT-X-MEDIA tags of one group of audio.
type audioGroup struct {
	id      string
	members []transcode.AudioRendition
	alone   bool // there is no video: the first member is the variant stream itself
}

// audioGroups returns the groups of a plan: one of stereo and, if a stream has more
// channels, one with as many as there are. Both have one member for each stream,
// under the same name (RFC 8216bis §4.4.6.1.1).
func audioGroups(p transcode.Plan) []audioGroup {
	few, all := audioGroup{id: transcode.AudioName}, audioGroup{id: surroundGroup}
	more := false
	for _, r := range p.AudioRenditions() {
		if last := len(few.members) - 1; last >= 0 && few.members[last].Stream == r.Stream {
			all.members[last], more = r, true
			continue
		}
		few.members, all.members = append(few.members, r), append(all.members, r)
	}
	alone := len(p.Renditions) == 0
	few.alone, all.alone = alone, alone
	switch {
	case len(few.members) == 0:
		return nil
	case more:
		return []audioGroup{few, all}
	}
	return []audioGroup{few}
}

func (g audioGroup) write(b *bytes.Buffer, n transcode.Naming) {
	var seen choices
	if g.alone && len(g.members) == 1 {
		return
	}
	for i, m := range g.members {
		tag := media{kind: "AUDIO", group: g.id, info: m.TrackInfo, fallback: fmt.Sprintf("%s %d", transcode.AudioName, i+1)}
		if len(g.members) == 1 {
			tag.fallback = transcode.AudioName
		}
		tag.standard = i == 0
		if !g.alone || i > 0 {
			tag.uri = n.URI(".", path.Join(n.Place(m.Dir()), transcode.MediaName))
		}
		tag.write(b, &seen, fmt.Sprintf(",CHANNELS=\"%d\"", m.Channels))
	}
}

// writeSubtitles writes the group of all subtitles. Players show none unless the
// source says so, or the viewer.
func writeSubtitles(b *bytes.Buffer, n transcode.Naming, list []transcode.TextRendition) {
	var seen choices
	standard := slices.IndexFunc(list, func(s transcode.TextRendition) bool { return s.Default && !s.Commentary })
	for i, s := range list {
		tag := media{
			kind: "SUBTITLES", group: transcode.SubtitlesName, info: s.TrackInfo, standard: i == standard,
			fallback: fmt.Sprintf("%s %d", transcode.SubtitlesName, i+1), uri: n.URI(".", path.Join(n.Place(s.Name), transcode.MediaName)),
		}
		tag.write(b, &seen, ",FORCED="+yes(s.Forced))
	}
}

// captionsGroup is the group of the closed captions in the video.
const captionsGroup = "captions"

// writeCaptions writes the group of closed captions, which have no playlist.
func writeCaptions(b *bytes.Buffer, list []transcode.Caption) {
	var seen choices
	for _, c := range list {
		tag := media{kind: closedCaptions, group: captionsGroup, info: transcode.TrackInfo{Language: c.Language}, fallback: c.InstreamID}
		tag.write(b, &seen, fmt.Sprintf(",INSTREAM-ID=%q", c.InstreamID))
	}
}

// largest returns the bitrates of the largest of some lists.
func largest(lists map[string]*transcode.SegmentList, target int) (peak, average int) {
	for _, list := range lists {
		p, a := bitrates(list.Segments, target)
		peak, average = max(peak, p), max(average, a)
	}
	return peak, average
}

// A media is an EXT-X-MEDIA tag.
type media struct {
	kind, group string
	info        transcode.TrackInfo
	fallback    string // its name, if the source has none
	standard    bool   // DEFAULT=YES
	uri         string // "" of what the variant stream itself has
}

// choices are what a group already offers.
type choices struct {
	names map[string]bool
	auto  map[string]bool // what players choose among by themselves
}

// write writes the tag, with more attributes before its URI.
func (m media) write(b *bytes.Buffer, seen *choices, more string) {
	if seen.names == nil {
		seen.names, seen.auto = map[string]bool{}, map[string]bool{}
	}
	fmt.Fprintf(b, "#EXT-X-MEDIA:TYPE=%s,GROUP-ID=%s,NAME=%s", m.kind, quoted(m.group), quoted(seen.name(m.info, m.fallback)))
	if m.info.Language != "" {
		fmt.Fprintf(b, ",LANGUAGE=%s", quoted(m.info.Language))
	}
	traits := characteristics(m.kind, m.info)
	fmt.Fprintf(b, ",DEFAULT=%s,AUTOSELECT=%s", yes(m.standard), yes(m.standard || seen.automatic(m.info, traits)))
	if traits != "" {
		fmt.Fprintf(b, ",CHARACTERISTICS=%s", quoted(traits))
	}
	b.WriteString(more)
	if m.uri != "" {
		fmt.Fprintf(b, ",URI=%s", quoted(m.uri))
	}
	b.WriteByte('\n')
}

func yes(v bool) string {
	if v {
		return "YES"
	}
	return "NO"
}

// name returns a name that no other member of the group has (RFC 8216bis
// §4.4.6.1.1).
func (c *choices) name(info transcode.TrackInfo, fallback string) string {
	base := cmp.Or(info.Title, transcode.LanguageName(info.Language), fallback)
	name := base
	for n := 2; c.names[name]; n++ {
		name = fmt.Sprintf("%s (%d)", base, n)
	}
	c.names[name] = true
	return name
}

// automatic reports whether players may choose a member by its language: it is the first
// with this language and these characteristics.
func (c *choices) automatic(info transcode.TrackInfo, traits string) bool {
	key := fmt.Sprint(info.Language, " ", traits, " ", info.Forced)
	if info.Commentary || info.Language == "" || c.auto[key] {
		return false
	}
	c.auto[key] = true
	return true
}

// characteristics returns the uniform type identifiers of RFC 8216bis §4.4.6.1 and
// Apple's authoring specification.
func characteristics(kind string, info transcode.TrackInfo) string {
	var list []string
	if info.VisualImpaired {
		list = append(list, "public.accessibility.describes-video")
	}
	if info.HearingImpaired && kind == "SUBTITLES" {
		list = append(list, "public.accessibility.transcribes-spoken-dialog", "public.accessibility.describes-music-and-sound")
	} else if info.HearingImpaired {
		list = append(list, "public.accessibility.enhances-speech-intelligibility")
	}
	return strings.Join(list, ",")
}

// quoted returns text as a quoted string (RFC 8216bis §4.2), without the characters
// that it cannot have.
func quoted(text string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r == 0x7f:
			return ' '
		}
		return r
	}, text)
	return `"` + strings.ToValidUTF8(clean, "") + `"`
}
