package transcode

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
)

// MasterName and MediaName are the file names of a stream's playlists:
//
//	master.m3u8
//	stream.key, if the stream is encrypted
//	<rendition>/index.m3u8, the rendition's segments, and init.mp4 of CMAF
//	audio/index.m3u8, the audio's segments, and init.mp4 of CMAF
const (
	MasterName = "master.m3u8"
	MediaName  = "index.m3u8"
	KeyName    = "stream.key"
)

// Versions are the lowest that allow what is written here (RFC 8216 §7):
// EXT-X-MEDIA, and for CMAF EXT-X-MAP, for which Apple asks for one more.
const (
	versionTS   = 4
	versionCMAF = 7
)

func (o Output) version() int {
	if o.container() == ContainerCMAF {
		return versionCMAF
	}
	return versionTS
}

// Dir returns the directory of a published stream that u's segments belong in;
// "" for a probe, which has none.
func (u Unit) Dir() string {
	switch {
	case u.Video != nil:
		return u.Video.Rendition.Name
	case u.Audio != nil:
		return AudioName
	}
	return ""
}

// A track is one media playlist: a rendition or the audio.
type track struct {
	dir       string
	container Container
	codecs    string
	init      *Segment // of CMAF
	segments  []Segment
}

// Playlists joins the results of all units of a plan, keyed by the unit's ID,
// and returns the text of every playlist, keyed by its path within the stream.
// It returns an error if a result is missing, is not what Check accepts, or
// does not fit the others.
func Playlists(p Plan, results map[string]Result) (map[string][]byte, error) {
	tracks, err := joinTracks(p, results)
	if err != nil {
		return nil, err
	}
	if p.Output.Encrypted {
		for _, t := range tracks {
			t.encrypt()
		}
	}
	target := targetDuration(tracks)
	files := map[string][]byte{MasterName: masterPlaylist(p, tracks, target)}
	for dir, t := range tracks {
		files[path.Join(dir, MediaName)] = mediaPlaylist(p.Output, t, target)
	}
	return files, nil
}

// joinTracks strings the units of every track together, keyed by directory.
func joinTracks(p Plan, results map[string]Result) (map[string]*track, error) {
	tracks := make(map[string]*track)
	for _, u := range p.Units {
		r, ok := results[u.ID]
		if !ok {
			return nil, fmt.Errorf("joining units: no result of %s", u.ID)
		}
		if err := Check(u, r); err != nil {
			return nil, fmt.Errorf("joining units: %w", err)
		}
		for _, piece := range Pieces(u, r) {
			if err := joinPiece(tracks, piece); err != nil {
				return nil, fmt.Errorf("joining units: %w", err)
			}
		}
	}
	return tracks, checkTracks(p, tracks)
}

// joinPiece puts the segments of a piece behind those of its track.
func joinPiece(tracks map[string]*track, p Piece) error {
	u, r := p.Unit, p.Result
	t := tracks[u.Dir()]
	if t == nil {
		t = &track{dir: u.Dir(), container: u.Container(), codecs: r.Codecs, init: r.Init}
		tracks[t.dir] = t
	}
	if err := unlike(u.ID, r, t.codecs, t.init); err != nil {
		return err
	}
	t.segments = append(t.segments, r.Segments...)
	return nil
}

// unlike says why a unit's result cannot follow on others in one playlist, or
// file, of which it knows codecs and initialization section: one has one decoder
// configuration. A player told of avc1.4d400d need not take avc1.64001f (RFC 8216
// §4.3.2.3).
func unlike(unit string, r Result, codecs string, init *Segment) error {
	if r.Codecs != codecs {
		return fmt.Errorf("%s is %s, other units of the rendition are %s; want one encoder for a rendition", unit, r.Codecs, codecs)
	}
	if r.Init != nil && init != nil && r.Init.SHA256 != init.SHA256 {
		return fmt.Errorf("%s has another initialization section than other units of the rendition; want one encoder, of one version, for a rendition", unit)
	}
	return nil
}

// Unlike says why the result of a unit cannot be put together with that of
// another; nil if it can, or if the two have no rendition in common.
func Unlike(u Unit, r Result, other Unit, accepted Result) error {
	for _, p := range Pieces(u, r) {
		for _, before := range Pieces(other, accepted) {
			if p.Unit.Dir() != before.Unit.Dir() {
				continue
			}
			if err := unlike(u.ID, p.Result, before.Result.Codecs, before.Result.Init); err != nil {
				return err
			}
		}
	}
	return nil
}

// encrypt gives the segments the sizes that they are published with.
func (t *track) encrypt() {
	t.segments = slices.Clone(t.segments)
	for i := range t.segments {
		t.segments[i].SizeBytes = EncryptedSize(t.segments[i].SizeBytes)
	}
}

// checkTracks makes sure that no track has a gap.
func checkTracks(p Plan, tracks map[string]*track) error {
	for _, r := range p.Renditions {
		t := tracks[r.Name]
		if t == nil {
			return fmt.Errorf("joining units: none of rendition %s", r.Name)
		}
		frames := 0
		for i, s := range t.segments {
			if name := t.container.SegmentName(i); s.Name != name {
				return fmt.Errorf("joining units: segment %d of %s is %s; want %s", i, r.Name, s.Name, name)
			}
			frames += s.Frames
		}
		if frames != p.Grid.Frames {
			return fmt.Errorf("joining units: %d frames of %s; want %d", frames, r.Name, p.Grid.Frames)
		}
	}
	if p.Audio != nil && tracks[AudioName] == nil {
		return errors.New("joining units: no audio unit")
	}
	return nil
}

// targetDuration returns the one that all playlists of a stream share (RFC 8216
// §6.2.4): no rounded duration exceeds it (§4.3.3.1).
func targetDuration(tracks map[string]*track) int {
	target := 1.0
	for _, t := range tracks {
		for _, s := range t.segments {
			target = max(target, math.Round(s.Seconds))
		}
	}
	return int(target)
}

// mediaPlaylist writes a playlist of segments that lie beside it.
func mediaPlaylist(o Output, t *track, target int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n", o.version())
	fmt.Fprintf(&b, "#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:0\n", target)
	b.WriteString("#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n")
	if t.init != nil {
		fmt.Fprintf(&b, "#EXT-X-MAP:URI=%q\n", InitName)
	}
	if o.Encrypted {
		// Behind EXT-X-MAP, so that it does not apply to it: an encrypted
		// initialization section needs an IV of its own (RFC 8216 §4.3.2.5). The
		// IV of a segment is its media sequence number (§5.2).
		fmt.Fprintf(&b, "#EXT-X-KEY:METHOD=AES-128,URI=\"%s\"\n", cmp.Or(o.KeyURI, "../"+KeyName))
	}
	for _, s := range t.segments {
		fmt.Fprintf(&b, "#EXTINF:%.6f,\n%s\n", extinf(s.Seconds), s.Name)
	}
	b.WriteString("#EXT-X-ENDLIST\n")
	return b.Bytes()
}

// extinf returns a segment's seconds as its playlist has them. All that is
// computed from seconds starts here, so that who measures by the playlist finds
// the same numbers.
func extinf(seconds float64) float64 { return math.Round(seconds*1e6) / 1e6 }

// masterPlaylist writes the playlist that names the variant streams.
func masterPlaylist(p Plan, tracks map[string]*track, target int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-INDEPENDENT-SEGMENTS\n", p.Output.version())
	audio := tracks[AudioName]
	if p.Audio != nil {
		fmt.Fprintf(&b, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=%q,NAME=%q,DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"%d\",URI=%q\n",
			AudioName, AudioName, p.Audio.Channels, path.Join(AudioName, MediaName))
	}
	for _, r := range p.Renditions {
		variant := newVariant(p, r, target, tracks[r.Name], audio)
		variant.write(&b)
	}
	return b.Bytes()
}

// A variant is one variant stream of the master playlist.
type variant struct {
	rendition     Rendition
	rate          float64 // frames per second
	peak, average int     // bits per second, audio included
	codecs        string
	group         string // of the audio; "" without
}

// newVariant joins a rendition's video with the audio, which may be nil.
func newVariant(p Plan, r Rendition, target int, video, audio *track) variant {
	v := variant{rendition: r, rate: p.Grid.Rate.Float(), codecs: video.codecs}
	v.peak, v.average = bitrates(video.segments, target)
	if audio != nil {
		peak, average := bitrates(audio.segments, target)
		v.peak, v.average = v.peak+peak, v.average+average
		v.codecs += "," + audio.codecs
		v.group = AudioName
	}
	return v
}

func (v variant) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "#EXT-X-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d,CODECS=%q,RESOLUTION=%dx%d,FRAME-RATE=%.3f",
		v.peak, v.average, v.codecs, v.rendition.Width, v.rendition.Height, v.rate)
	if v.group != "" {
		fmt.Fprintf(b, ",AUDIO=%q", v.group)
	}
	fmt.Fprintf(b, "\n%s\n", path.Join(v.rendition.Name, MediaName))
}

// bitrates returns the peak and the average bitrate of segments as they are on
// disk, in bits per second. RFC 8216 §4.1: the peak is the largest bitrate of
// any contiguous set of segments that lasts between 0.5 and 1.5 times the
// target duration.
func bitrates(segments []Segment, target int) (peak, average int) {
	var most, bits, seconds float64
	for i, s := range segments {
		bits, seconds = bits+float64(s.SizeBytes)*8, seconds+extinf(s.Seconds)
		most = max(most, peakFrom(segments[i:], float64(target)))
	}
	all := math.Ceil(bits / seconds)
	return int(max(math.Ceil(most), all)), int(all)
}

// peakFrom returns the peak bitrate of the sets that begin with segments[0].
func peakFrom(segments []Segment, target float64) float64 {
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
