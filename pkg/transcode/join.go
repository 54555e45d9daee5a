package transcode

import (
	"fmt"
	"slices"
)

// MasterName and MediaName are the file names of a stream's playlists:
//
//	master.m3u8
//	stream.key, if the stream is encrypted
//	poster.jpg; tags.json; chapters.json and chapters.vtt
//	<rendition>/index.m3u8, the rendition's segments, and init.mp4 of CMAF
//	audio/index.m3u8, the default audio's segments, and init.mp4 of CMAF; the others
//	are audio-2 and so on, and those with more than two channels audio-6ch
//	subtitles-1/index.m3u8, and its segments
const (
	MasterName = "master.m3u8"
	MediaName  = "index.m3u8"
	KeyName    = "stream.key"
)

// Dir returns the directory of a published stream that u's segments belong in;
// "" for a probe, which has none.
func (u Unit) Dir() string {
	switch {
	case u.Video != nil:
		return u.Video.Rendition.Name
	case u.Audio != nil:
		return u.Audio.Rendition.Dir()
	case u.Text != nil && len(u.Text.Renditions) > 0:
		return u.Text.Renditions[0].Name
	}
	return ""
}

// A SegmentList is the segments of one rendition, or of the audio, in order: what
// one media playlist lists.
type SegmentList struct {
	Container Container
	Codecs    string
	Init      *Segment // of CMAF
	Segments  []Segment
}

// JoinUnits joins the results of all units of a plan, keyed by the unit's ID, into
// one list of segments for each rendition and for the audio, keyed by its
// directory. It returns an error if a result is missing, is not what Check
// accepts, or does not match the others.
func JoinUnits(p Plan, results map[string]Result) (map[string]*SegmentList, error) {
	tracks := make(map[string]*SegmentList)
	for _, u := range p.Units {
		r, ok := results[u.ID]
		if !ok {
			return nil, fmt.Errorf("joining units: no result of %s", u.ID)
		}
		if err := Check(u, r); err != nil {
			return nil, fmt.Errorf("joining units: %w", err)
		}
		if u.Cover != nil {
			continue
		}
		for _, piece := range Pieces(u, r) {
			if err := joinPiece(tracks, piece); err != nil {
				return nil, fmt.Errorf("joining units: %w", err)
			}
		}
	}
	return tracks, checkTracks(p, tracks)
}

// joinPiece appends the segments of a piece to those of its rendition.
func joinPiece(tracks map[string]*SegmentList, p Piece) error {
	u, r := p.Unit, p.Result
	t := tracks[u.Dir()]
	if t == nil {
		t = &SegmentList{Container: u.Container(), Codecs: r.Codecs, Init: r.Init}
		tracks[u.Dir()] = t
	}
	if err := unlike(u.ID, r, t.Codecs, t.Init); err != nil {
		return err
	}
	t.Segments = append(t.Segments, r.Segments...)
	return nil
}

// unlike says why a unit's result cannot follow on others in one playlist, or
// file, of which it knows codecs and initialization section: one has one decoder
// configuration. A player that was promised avc1.4d400d need not accept avc1.64001f (RFC 8216
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

// checkAudioTrack makes sure that the portions of an audio rendition follow on each other.
func checkAudioTrack(a AudioRendition, t *SegmentList) error {
	if t == nil {
		return fmt.Errorf("joining units: no unit of %s", a.Dir())
	}
	for i, s := range t.Segments[1:] {
		if next := t.Segments[i].LastPTS + a.ticks(1); !near(s.FirstPTS, next, 4) {
			return fmt.Errorf("joining units: %s of %s begins at %d (90 kHz); want %d", s.Name, a.Dir(), s.FirstPTS, next)
		}
	}
	return nil
}

// checkTracks makes sure that no list has a gap.
func checkTracks(p Plan, tracks map[string]*SegmentList) error {
	for _, r := range p.Renditions {
		t := tracks[r.Name]
		if t == nil {
			return fmt.Errorf("joining units: none of rendition %s", r.Name)
		}
		frames := 0
		for i, s := range t.Segments {
			if name := t.Container.SegmentName(i); s.Name != name {
				return fmt.Errorf("joining units: segment %d of %s is %s; want %s", i, r.Name, s.Name, name)
			}
			frames += s.Frames
		}
		free := func(u Unit) bool { return u.Video != nil && u.Video.Free }
		if frames != p.Grid.Frames && !slices.ContainsFunc(p.Units, free) {
			return fmt.Errorf("joining units: %d frames of %s; want %d", frames, r.Name, p.Grid.Frames)
		}
	}
	for _, a := range p.AudioRenditions() {
		if err := checkAudioTrack(a, tracks[a.Dir()]); err != nil {
			return err
		}
	}
	for _, s := range p.Subtitles {
		if tracks[s.Name] == nil {
			return fmt.Errorf("joining units: no unit of %s", s.Name)
		}
	}
	return nil
}
