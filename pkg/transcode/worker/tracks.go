package worker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"pibootd/pkg/transcode"
)

// tags are what a source says of itself, of a stream or of a chapter.
type tags map[string]string

// get returns a tag, whose name sources write in upper or lower case.
func (t tags) get(name string) string {
	for key, value := range t {
		if strings.EqualFold(key, name) {
			return text(value)
		}
	}
	return ""
}

// text makes text of a source short, and one line of it.
func text(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(cut(s))
}

type disposition struct {
	AttachedPic, TimedThumbnails    int
	Default, Forced, Comment        int
	HearingImpaired, VisualImpaired int
}

type chapter struct {
	StartTime, EndTime string
	Tags               tags
}

// addTracks adds everything but the video.
func (r *report) addTracks(p *transcode.Probe, a axis) {
	audio := r.audioStreams(a)
	if len(audio) > 0 {
		first := defaultAudio(audio)
		p.Audio, p.MoreAudio = &audio[first], slices.Delete(slices.Clone(audio), first, first+1)
	}
	p.Subtitles = r.subtitleStreams(a)
	p.Chapters = r.chapterList(a, 0)
	p.Tags = r.sourceTags()
	p.Cover = r.cover()
	p.Unread = r.unread()
	p.OtherVideos = r.otherVideos()
}

// audioStreams returns the audio streams with packets, in the source's order.
func (r *report) audioStreams(a axis) []transcode.AudioStream {
	var list []transcode.AudioStream
	for place, s := range r.ofKind("audio") {
		t := r.packets[s.Index]
		if t == nil {
			continue
		}
		list = append(list, transcode.AudioStream{
			TrackInfo:  s.info(place),
			Codec:      cut(s.CodecName),
			Channels:   s.Channels,
			SampleRate: whole(s.SampleRate),
			BitrateBPS: whole(s.BitRate),
			EndSeconds: a.end(t),
			Pauses:     a.pauses(t),
		})
	}
	return list
}

// defaultAudio returns the place of the stream that a player would choose: the first
// one that is marked as default, or else the first one that is not about the film.
func defaultAudio(list []transcode.AudioStream) int {
	for _, fits := range []func(transcode.AudioStream) bool{
		func(a transcode.AudioStream) bool { return a.Default && !a.Commentary },
		func(a transcode.AudioStream) bool { return !a.Commentary && !a.VisualImpaired },
	} {
		if i := slices.IndexFunc(list, fits); i >= 0 {
			return i
		}
	}
	return 0
}

// subtitleStreams returns the subtitle streams with packets, in the source's order.
func (r *report) subtitleStreams(a axis) []transcode.SubtitleStream {
	var list []transcode.SubtitleStream
	end := min(number(r.format.Duration), mostSeconds)
	if film := r.film(); film != nil {
		end = max(end, a.end(r.packets[film.Index]))
	}
	for place, s := range r.ofKind("subtitle") {
		t := r.packets[s.Index]
		if t == nil {
			continue
		}
		subtitles := transcode.SubtitleStream{
			TrackInfo: s.info(place), Codec: cut(s.CodecName), Cues: t.count, Image: slices.Contains(imageSubtitles, s.CodecName),
		}
		if subtitles.Image {
			t.describe(&subtitles, s, a, end)
		}
		list = append(list, subtitles)
	}
	return list
}

// imageSubtitles are the codecs of subtitles that are pictures, by ffmpeg's names.
var imageSubtitles = []string{"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub", "dvb_teletext", "arib_caption"}

// ofKind returns the streams of a kind, whose index is their place among them.
func (r *report) ofKind(kind string) []*stream {
	var list []*stream
	for i := range r.streams {
		if s := &r.streams[i]; s.CodecType == kind && s.Disposition.AttachedPic == 0 {
			list = append(list, s)
		}
	}
	return list[:min(len(list), maxStreams)]
}

func (s *stream) info(place int) transcode.TrackInfo {
	return transcode.TrackInfo{
		Stream:          place,
		Index:           s.Index + 1,
		Language:        transcode.Language(s.Tags.get("language")),
		Title:           cmp.Or(s.Tags.get("title"), s.Tags.get("name"), handlerTitle(s.Tags.get("handler_name"))),
		Default:         s.Disposition.Default != 0,
		Forced:          s.Disposition.Forced != 0,
		Commentary:      s.Disposition.Comment != 0,
		HearingImpaired: s.Disposition.HearingImpaired != 0,
		VisualImpaired:  s.Disposition.VisualImpaired != 0,
	}
}

// handlerTitle returns the name of an MP4 track's handler if a person gave it, and no
// program.
func handlerTitle(name string) string {
	for _, generic := range []string{"handler", "gpac", "isomedia", "mainconcept", "apple", "l-smash", "vide", "soun", "text", "subtitle"} {
		if strings.Contains(strings.ToLower(name), generic) {
			return ""
		}
	}
	return name
}

const maxChapters = 1000

// chapterList returns the chapters of the part of the source that counts from a clock.
func (r *report) chapterList(a axis, clock int) []transcode.Chapter {
	var list []transcode.Chapter
	for _, c := range r.chapters[:min(len(r.chapters), maxChapters)] {
		begin, end := max(a.at(clock, number(c.StartTime)), 0), max(a.at(clock, number(c.EndTime)), 0)
		list = append(list, transcode.Chapter{StartSeconds: begin, EndSeconds: max(end, begin), Title: c.Tags.get("title")})
	}
	return list
}

// keptTags are the tags of a source that say something of the film itself.
var keptTags = []string{
	"title", "artist", "album", "album_artist", "composer", "date", "year", "genre", "comment", "description", "synopsis",
	"show", "season_number", "episode_id", "episode_sort", "track", "disc", "copyright", "creation_time", "lyrics", "publisher",
}

func (r *report) sourceTags() map[string]string {
	found := map[string]string{}
	for _, name := range keptTags {
		value := r.format.Tags.get(name)
		for _, s := range r.ofKind("audio") { // where Ogg has them
			value = cmp.Or(value, oggTag(r.format.FormatName, s.Tags, name))
		}
		if value != "" {
			found[name] = value
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

func oggTag(format string, t tags, name string) string {
	if format != "ogg" {
		return ""
	}
	return t.get(name)
}

// cover returns the place of the first picture that belongs to the source; 0 if there
// is none.
func (r *report) cover() int {
	for _, s := range r.streams {
		if s.CodecType == "video" && s.Disposition.AttachedPic != 0 {
			return max(s.Index, 0)
		}
	}
	return 0
}

// otherVideos returns the video streams besides the film, without pictures.
func (r *report) otherVideos() []string {
	var list []string
	film := r.film()
	for i := range r.streams {
		s := &r.streams[i]
		t := r.packets[s.Index]
		if s.CodecType != "video" || s == film || t == nil || t.span() == 0 || s.Disposition.AttachedPic+s.Disposition.TimedThumbnails > 0 {
			continue
		}
		list = append(list, fmt.Sprintf("%dx%d of %.1f s", s.Width, s.Height, t.span()))
	}
	return list[:min(len(list), maxStreams)]
}

// unread counts the streams that no output carries.
func (r *report) unread() []string {
	count := map[string]int{}
	for _, s := range r.streams {
		switch {
		case s.CodecTag == "text" && len(r.chapters) > 0: // the titles of chapters in MP4
		case s.CodecType == "data", s.CodecType == "attachment":
			count[s.CodecType]++
		case s.CodecType == "":
			count["unknown"]++
		}
	}
	names := map[string]string{"data": "data", "attachment": "attachments, such as fonts", "unknown": "an unknown kind"}
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		list = append(list, fmt.Sprintf("%d of %s", count[kind], names[kind]))
	}
	for _, s := range r.undecodable {
		list = append(list, s+", which ffmpeg cannot decode")
	}
	return list[:min(len(list), maxStreams)]
}
