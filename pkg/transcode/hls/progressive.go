package hls

import (
	"bytes"
	"math"

	"pibootd/pkg/transcode"
)

// A progressive stream is published while it is made. Its playlists grow (RFC 8216bis
// §6.2.1: lines are appended and none is changed), so that what their first lines say
// follows from the plan, and not from segments that are still to come.

// endList is the last line of a playlist that does not grow any more.
const endList = "#EXT-X-ENDLIST\n"

// startAtBegin has players begin with the first segment: without, those that open a
// playlist that grows begin near its end, as if it were live (RFC 8216bis §4.4.2.2).
const startAtBegin = "#EXT-X-START:TIME-OFFSET=0\n"

// Begin is Playlists for the units that are done so far: the playlists of the first
// segments, as many as every rendition has, and their number. There are no playlists
// while that is 0.
func Begin(p transcode.Plan, results map[string]transcode.Result, sealed Sealed) (map[string][]byte, int, error) {
	tracks, segments, err := transcode.JoinBegin(p, results)
	if err != nil || segments == 0 {
		return nil, 0, err
	}
	s := newListing(p, tracks, sealed)
	s.growing = true
	return s.files(), segments, nil
}

// Whole is Begin for players that look anywhere: its playlists list all segments of the
// plan, whether they are there or not, by paths within the stream. Those of a provisional
// plan list its head, and grow when the rest is planned.
func Whole(p transcode.Plan, results map[string]transcode.Result, sealed Sealed) (map[string][]byte, error) {
	tracks, segments, err := transcode.JoinBegin(p, results)
	if err != nil || segments == 0 {
		return nil, err
	}
	p.Output.URLPrefix = ""
	for dir, t := range tracks {
		t.Segments = p.PlannedSegments(dir)
		if p.Provisional {
			t.Segments = t.Segments[:min(p.Head, len(t.Segments))]
		}
	}
	s := newListing(p, tracks, sealed)
	s.planned, s.growing = true, p.Provisional
	return s.files(), nil
}

// End returns the text of a media playlist that was to grow, and does not any more.
func End(playlist []byte) []byte {
	if bytes.HasSuffix(playlist, []byte(endList)) {
		return playlist
	}
	return append(bytes.Clone(playlist), endList...)
}

func (s listing) playlistType() string {
	if s.plan.Output.Progressive && (!s.planned || s.plan.Head > 0) {
		return "EVENT"
	}
	return "VOD"
}

// plannedTarget returns the target duration of a progressive stream: no segment of the
// plan is longer, none of its subtitles, and none of its audio, which ends with a whole frame.
// What is planned before its length is known allows for any last segment.
func plannedTarget(p transcode.Plan) int {
	longest := 0.0
	if p.Head > 0 {
		longest = 1.25 * p.Grid.Seconds(p.Grid.SegmentFrames)
	}
	for i := range p.Grid.Segments() {
		first, end := p.Grid.Segment(i)
		longest = max(longest, p.Grid.Seconds(end-first))
	}
	const frameOfAudio = 0.04
	return max(1, int(math.Round(longest+frameOfAudio)))
}

// plannedPeak returns a bitrate that a variant stream is not expected to exceed: what its
// encoders are limited to and what their buffers add in a segment, and a tenth for the
// container.
func plannedPeak(p transcode.Plan, r transcode.Rendition, audio []transcode.AudioRendition) int {
	seconds := p.Grid.Seconds(p.Grid.SegmentFrames)
	bits := float64(r.MaxrateBPS) + float64(r.BufferBits)/seconds
	most := 0
	for _, a := range audio {
		most = max(most, a.BitrateBPS)
	}
	return int(1.1 * (bits + 1.5*float64(most)))
}
