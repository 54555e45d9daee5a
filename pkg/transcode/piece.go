package transcode

import "math"

// A Piece is one rendition of a unit, as a unit and a result of its own. A unit
// with only one output is a single Piece.
type Piece struct {
	Unit   Unit
	Result Result
	Dir    string // of its files, in the attempt's directory; "" is that directory
}

// Pieces divides a unit and its result. A part that the result does not have is
// empty.
func Pieces(u Unit, r Result) []Piece {
	others := r.Others
	r.Others = nil
	if u.Text != nil && len(u.Text.Renditions) > 1 {
		return textPieces(u, r, others)
	}
	if u.Video == nil || len(u.Video.Others) == 0 {
		return []Piece{{Unit: u, Result: r}}
	}
	renditions := append([]Rendition{u.Video.Rendition}, u.Video.Others...)
	pieces := make([]Piece, len(renditions))
	for i, rendition := range renditions {
		video := *u.Video
		video.Rendition, video.Others = rendition, nil
		pieces[i].Unit = u
		pieces[i].Unit.Video = &video
		if i > 0 {
			pieces[i].Dir = rendition.Name
		}
	}
	pieces[0].Result = r
	for i := range min(len(others), len(u.Video.Others)) {
		pieces[i+1].Result = others[i]
	}
	return pieces
}

// textPieces divides a unit of subtitles, and its result with that of the others.
func textPieces(u Unit, r Result, others []Result) []Piece {
	pieces := make([]Piece, len(u.Text.Renditions))
	for i, rendition := range u.Text.Renditions {
		text := *u.Text
		text.Renditions = []TextRendition{rendition}
		pieces[i].Unit = u
		pieces[i].Unit.Text = &text
		if i > 0 {
			pieces[i].Dir = rendition.Name
		}
	}
	pieces[0].Result = r
	for i := range min(len(others), len(pieces)-1) {
		pieces[i+1].Result = others[i]
	}
	return pieces
}

// The memory of libx264, measured with all renditions of 1080p in one ffmpeg: bytes
// for each pixel of a picture, with the six threads for each encoder that it starts
// on four cores, and with two. The rest of ffmpeg uses about basicMemory.
const (
	MemoryPerPixel       = 170
	MemoryPerPixelFrugal = 125

	basicMemory = 40 << 20
)

// MemoryBytes estimates the memory that ffmpeg needs for u.
func (u VideoUnit) MemoryBytes(perPixel int) int64 {
	return basicMemory + int64(perPixel)*int64(pixels([]Rendition{u.Rendition})+pixels(u.Others))
}

// Lines returns the height of a single picture that is as much work as all
// renditions of u together.
func (u VideoUnit) Lines() int {
	all := pixels(append([]Rendition{u.Rendition}, u.Others...))
	one := pixels([]Rendition{u.Rendition})
	if len(u.Others) == 0 || one == 0 {
		return u.Rendition.Height
	}
	return int(math.Round(float64(u.Rendition.Height) * math.Sqrt(float64(all)/float64(one))))
}
