package transcode

import (
	"fmt"
	"math"
)

// JoinBegin joins what there is of a stream from its beginning: of each rendition the
// first segments, as many as all of them have. It returns their number, which is 0 while
// one has none. results, keyed by the unit's ID, may lack any.
func JoinBegin(p Plan, results map[string]Result) (tracks map[string]*SegmentList, segments int, err error) {
	tracks, ended := map[string]*SegmentList{}, map[string]bool{}
	for _, u := range p.Units {
		r, ok := results[u.ID]
		if !ok || u.Cover != nil {
			continue
		}
		if err := Check(u, r); err != nil {
			return nil, 0, fmt.Errorf("joining units: %w", err)
		}
		for _, piece := range Pieces(u, r) {
			if piece.Unit.FirstSegment() != tracks[piece.Unit.Dir()].len() {
				continue // what is before it is missing
			}
			if err := joinPiece(tracks, piece); err != nil {
				return nil, 0, fmt.Errorf("joining units: %w", err)
			}
			ended[piece.Unit.Dir()] = piece.Unit.isLast()
		}
	}
	segments = p.common(tracks, ended)
	for _, t := range tracks {
		t.Segments = t.Segments[:min(segments, len(t.Segments))]
	}
	return tracks, segments, nil
}

// Dirs returns the directories of the renditions of p.
func (p Plan) Dirs() []string {
	var dirs []string
	for _, r := range p.Renditions {
		dirs = append(dirs, r.Name)
	}
	for _, a := range p.AudioRenditions() {
		dirs = append(dirs, a.Dir())
	}
	for _, s := range p.Subtitles {
		dirs = append(dirs, s.Name)
	}
	return dirs
}

// common returns how many segments all renditions of p have from their beginning. One
// that has ended holds nobody up.
func (p Plan) common(tracks map[string]*SegmentList, ended map[string]bool) int {
	most, least := 0, math.MaxInt
	for _, dir := range p.Dirs() {
		n := tracks[dir].len()
		if most = max(most, n); n == 0 || !ended[dir] {
			least = min(least, n)
		}
	}
	return min(most, least)
}

// len returns the number of segments; a nil list has none.
func (l *SegmentList) len() int {
	if l == nil {
		return 0
	}
	return len(l.Segments)
}

// FirstSegment returns the number of u's first segment in its playlist.
func (u Unit) FirstSegment() int {
	switch {
	case u.Video != nil:
		first, _ := u.Video.Segments()
		return first
	case u.Audio != nil:
		return u.Audio.First
	}
	return 0
}

// isLast reports whether u's last segment is the last of its playlist.
func (u Unit) isLast() bool {
	switch {
	case u.Video != nil:
		return u.Video.EndFrame == u.Video.Grid.Frames
	case u.Audio != nil:
		return u.Audio.End == 0
	}
	return true
}
