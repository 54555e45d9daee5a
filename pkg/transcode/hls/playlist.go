// Package hls writes the playlists of a stream (RFC 8216), encrypts its segments,
// and checks a whole stream as a strict player would before it is published.
package hls

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"pibootd/pkg/transcode"
)

// Versions are the lowest that allow what is written here (RFC 8216 §7):
// EXT-X-MEDIA, and for CMAF EXT-X-MAP, for which Apple asks for one more.
const (
	versionTS   = 4
	versionCMAF = 7
)

func version(o transcode.Output) int {
	if o.SegmentContainer() == transcode.ContainerCMAF {
		return versionCMAF
	}
	return versionTS
}

// Playlists joins the results of all units of a plan, keyed by the unit's ID,
// and returns the text of every playlist, keyed by its path within the stream.
// Only a stream with encrypted samples needs sealed. It returns an error if a result is
// missing, is not what Check accepts, or does not fit the others.
func Playlists(p transcode.Plan, results map[string]transcode.Result, sealed Sealed) (map[string][]byte, error) {
	tracks, err := transcode.JoinUnits(p, results)
	if err != nil {
		return nil, err
	}
	s := newListing(p, tracks, sealed)
	files := s.files()
	if err := addBeside(files, p, results); err != nil {
		return nil, err
	}
	n := p.Output.Naming
	for _, r := range p.Renditions {
		if t := s.tracks[r.Name]; hasIFrames(p.Output, t) {
			files[path.Join(n.Place(r.Name), iframesName)] = iframesPlaylist(p.Output, n.Place(r.Name), t, s.target, sealed)
		}
	}
	return files, nil
}

// A listing is the segments of a stream that its playlists list.
type listing struct {
	plan         transcode.Plan
	tracks, text map[string]*transcode.SegmentList // of video and audio, and of subtitles
	target       int                               // target duration, in seconds
	textTarget   int                               // target duration of subtitles, in seconds
	sealed       Sealed
	growing      bool // more segments will follow
	planned      bool // all segments are listed, but not all are there
}

func newListing(p transcode.Plan, tracks map[string]*transcode.SegmentList, sealed Sealed) listing {
	if p.Output.Encrypted {
		for dir, t := range tracks {
			t.Segments = sealed.segments(p.Output, dir, t)
		}
	}
	text := map[string]*transcode.SegmentList{}
	for _, s := range p.Subtitles {
		text[s.Name] = tracks[s.Name]
		delete(tracks, s.Name)
	}
	s := listing{plan: p, tracks: tracks, text: text, target: targetDuration(tracks), textTarget: targetDuration(text), sealed: sealed}
	if p.Output.Progressive {
		s.target = plannedTarget(p)
		s.textTarget = s.target
	}
	return s
}

// files returns the master playlist and those of all segments.
func (s listing) files() map[string][]byte {
	n := s.plan.Output.Naming
	files := map[string][]byte{n.Master(): s.master()}
	for dir, t := range s.tracks {
		files[path.Join(n.Place(dir), transcode.MediaName)] = s.media(n.Place(dir), t, s.target)
	}
	for dir, t := range s.text {
		files[path.Join(n.Place(dir), transcode.MediaName)] = s.media(n.Place(dir), t, s.textTarget)
	}
	return files
}

// targetDuration returns the one that all playlists of a stream share, except those
// of subtitles (RFC 8216bis §6.2.4): no rounded duration exceeds it (§4.4.3.1).
func targetDuration(tracks map[string]*transcode.SegmentList) int {
	target := 1.0
	for _, t := range tracks {
		for _, s := range t.Segments {
			target = max(target, math.Round(s.Seconds))
		}
	}
	return int(target)
}

// media writes a playlist of segments that lie beside it, in dir.
func (s listing) media(dir string, t *transcode.SegmentList, target int) []byte {
	var b bytes.Buffer
	o := s.plan.Output
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n", version(o))
	fmt.Fprintf(&b, "#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:0\n", target)
	fmt.Fprintf(&b, "#EXT-X-PLAYLIST-TYPE:%s\n#EXT-X-INDEPENDENT-SEGMENTS\n", s.playlistType())
	if t.Init != nil {
		fmt.Fprintf(&b, "#EXT-X-MAP:URI=%q\n", o.URI(dir, path.Join(dir, transcode.InitName)))
	}
	for i, segment := range t.Segments {
		// Behind EXT-X-MAP, so that it does not apply to it: an encrypted
		// initialization section needs an IV of its own (RFC 8216 §4.3.2.5).
		b.WriteString(s.sealed.keyBefore(o, dir, t, i))
		fmt.Fprintf(&b, "#EXTINF:%.6f,\n%s\n", extinf(segment.Seconds), o.URI(dir, path.Join(dir, o.File(segment.Name))))
	}
	if !s.growing {
		b.WriteString(endList)
	}
	return b.Bytes()
}

// keyURI returns where players get the key of a segment. One URI is for one key;
// where keys change, it is what the names of the keys are appended to.
func keyURI(o transcode.Output, dir string, segment int) string {
	switch {
	case o.KeyURI != "" && o.KeyEvery > 0:
		return o.KeyURI + o.Key(segment)
	case o.KeyURI != "":
		return o.KeyURI
	}
	return o.URI(dir, o.Key(segment))
}

// extinf returns a segment's seconds as its playlist has them. All that is
// computed from seconds starts here, so that who measures by the playlist finds
// the same numbers.
func extinf(seconds float64) float64 { return math.Round(seconds*1e6) / 1e6 }

// master writes the playlist that names the variant streams.
func (s listing) master() []byte {
	var b bytes.Buffer
	p := s.plan
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-INDEPENDENT-SEGMENTS\n", version(p.Output))
	if p.Output.Progressive {
		b.WriteString(startAtBegin)
	}
	complete := !s.growing && !s.planned
	if complete {
		writeSessionData(&b, p)
	}
	groups := audioGroups(p)
	for _, g := range groups {
		g.write(&b, p.Output.Naming)
	}
	if len(groups) == 0 {
		groups = []audioGroup{{}}
	}
	writeSubtitles(&b, p.Output.Naming, p.Subtitles)
	writeCaptions(&b, p.Captions)
	textPeak, textAverage := largest(s.text, s.textTarget)
	for _, v := range variants(p, groups, s.tracks, s.target) {
		v.subtitles = len(p.Subtitles) > 0
		v.peak, v.average = v.peak+textPeak, v.average+textAverage
		if !complete {
			v.average = 0
		}
		v.write(&b, p.Output.Naming)
	}
	if complete {
		writeIFrames(&b, p, s.tracks, s.target)
	}
	return b.Bytes()
}

// variants returns the variant streams: each rendition with each group of audio or,
// of a source without video, each group by itself.
func variants(p transcode.Plan, groups []audioGroup, tracks map[string]*transcode.SegmentList, target int) []variant {
	var list []variant
	for _, r := range p.Renditions {
		for _, g := range groups {
			v := newVariant(p, r, g, target, tracks)
			v.videoRange, v.score = videoRange(p, r), score(p.Renditions, r)
			switch {
			case p.HasCaptions(r):
				v.captions = fmt.Sprintf("%q", captionsGroup)
			case p.CaptionsKnown && len(p.Captions) == 0:
				v.captions = "NONE"
			}
			list = append(list, v)
		}
	}
	if len(p.Renditions) > 0 {
		return list
	}
	for _, g := range groups {
		v := variant{rendition: transcode.Rendition{Name: g.members[0].Dir()}}
		v.addAudio(g, target, tracks)
		if p.Output.Progressive {
			v.peak = max(v.peak, plannedPeak(p, transcode.Rendition{}, g.members))
		}
		if len(g.members) == 1 {
			v.group = ""
		}
		list = append(list, v)
	}
	return list
}

// videoRange returns the VIDEO-RANGE of a rendition; "" if no rendition has HDR.
func videoRange(p transcode.Plan, r transcode.Rendition) string {
	dynamic := func(r transcode.Rendition) bool { return r.VideoRange != "" }
	if r.VideoRange == "" && slices.ContainsFunc(p.Renditions, dynamic) {
		return "SDR"
	}
	return r.VideoRange
}

// score returns the SCORE of one of several renditions: its place among them by the size of the
// picture, then by its range, then by its bitrate and how far its codec makes that go. Players go
// by bitrates otherwise, which say nothing across codecs. It is 0 if all have one codec.
func score(all []transcode.Rendition, r transcode.Rendition) int {
	other := func(a transcode.Rendition) bool { return a.Codec != all[0].Codec }
	if !slices.ContainsFunc(all, other) {
		return 0
	}
	place := 1
	for _, a := range all {
		if compareQuality(a, r) < 0 {
			place++
		}
	}
	return place
}

func compareQuality(a, b transcode.Rendition) int {
	dynamic := func(r transcode.Rendition) int { return min(len(r.VideoRange), 1) }
	worth := func(r transcode.Rendition) float64 { // in bits of H.264, about
		return float64(r.BitrateBPS) * map[transcode.Codec]float64{transcode.CodecH265: 1.5, transcode.CodecAV1: 2, transcode.CodecH264: 1, "": 1}[r.Codec]
	}
	return cmp.Or(cmp.Compare(a.Width*a.Height, b.Width*b.Height), cmp.Compare(dynamic(a), dynamic(b)), cmp.Compare(worth(a), worth(b)))
}

// A variant is one variant stream of the master playlist.
type variant struct {
	rendition     transcode.Rendition
	rate          float64 // frames per second; 0 without video
	peak, average int     // bits per second, audio included; average 0: not known yet
	codecs        []string
	group         string // of the audio; "" without
	subtitles     bool
	captions      string // CLOSED-CAPTIONS; "" without
	videoRange    string // VIDEO-RANGE; "" if all are SDR
	score         int    // SCORE; 0 if all have one codec
}

// newVariant joins a rendition's video with a group of audio, which may be empty. Its
// bitrates are those of the largest combination (RFC 8216bis §4.4.6.2).
func newVariant(p transcode.Plan, r transcode.Rendition, g audioGroup, target int, tracks map[string]*transcode.SegmentList) variant {
	video := tracks[r.Name]
	v := variant{rendition: r, rate: p.Grid.Rate.Float(), codecs: []string{video.Codecs}}
	v.peak, v.average = bitrates(video.Segments, target)
	v.addAudio(g, target, tracks)
	if p.Output.Progressive {
		v.peak = max(v.peak, plannedPeak(p, r, g.members))
	}
	return v
}

func (v *variant) addAudio(g audioGroup, target int, tracks map[string]*transcode.SegmentList) {
	most, mean := 0, 0
	for _, member := range g.members {
		list := tracks[member.Dir()]
		peak, average := bitrates(list.Segments, target)
		most, mean = max(most, peak), max(mean, average)
		if !slices.Contains(v.codecs, list.Codecs) {
			v.codecs = append(v.codecs, list.Codecs)
		}
	}
	v.peak, v.average, v.group = v.peak+most, v.average+mean, g.id
}

func (v variant) write(b *bytes.Buffer, n transcode.Naming) {
	fmt.Fprintf(b, "#EXT-X-STREAM-INF:BANDWIDTH=%d", v.peak)
	if v.average > 0 {
		fmt.Fprintf(b, ",AVERAGE-BANDWIDTH=%d", v.average)
	}
	fmt.Fprintf(b, ",CODECS=%q", strings.Join(v.codecs, ","))
	if v.rate > 0 {
		fmt.Fprintf(b, ",RESOLUTION=%dx%d,FRAME-RATE=%.3f", v.rendition.Width, v.rendition.Height, v.rate)
	}
	if v.videoRange != "" {
		fmt.Fprintf(b, ",VIDEO-RANGE=%s", v.videoRange)
	}
	if v.score > 0 {
		fmt.Fprintf(b, ",SCORE=%d.0", v.score)
	}
	if v.group != "" {
		fmt.Fprintf(b, ",AUDIO=%q", v.group)
	}
	if v.subtitles {
		fmt.Fprintf(b, ",SUBTITLES=%q", transcode.SubtitlesName)
	}
	if v.captions != "" {
		fmt.Fprintf(b, ",CLOSED-CAPTIONS=%s", v.captions)
	}
	fmt.Fprintf(b, "\n%s\n", n.URI(".", path.Join(n.Place(v.rendition.Name), transcode.MediaName)))
}

// bitrates returns the peak and the average bitrate of segments as they are on
// disk, in bits per second. RFC 8216 §4.1: the peak is the largest bitrate of
// any contiguous set of segments that lasts between 0.5 and 1.5 times the
// target duration.
func bitrates(segments []transcode.Segment, target int) (peak, average int) {
	var most, bits, seconds float64
	for i, s := range segments {
		bits, seconds = bits+float64(s.SizeBytes)*8, seconds+extinf(s.Seconds)
		most = max(most, peakFrom(segments[i:], float64(target)))
	}
	all := math.Ceil(bits / seconds)
	return int(max(math.Ceil(most), all)), int(all)
}

// peakFrom returns the peak bitrate of the sets that begin with segments[0].
func peakFrom(segments []transcode.Segment, target float64) float64 {
	var most, bits, seconds float64
	for _, s := range segments {
		bits, seconds = bits+float64(s.SizeBytes)*8, seconds+extinf(s.Seconds)
		if seconds > 1.5*target {
			break
		}
		if seconds >= 0.5*target {
			most = max(most, bits/seconds)
		}
	}
	return most
}
