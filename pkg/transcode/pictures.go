package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"time"

	"pibootd/pkg/transcode/mediafile"
)

// PosterName is the file name of a stream's poster, and of that in an attempt's
// directory.
const PosterName = "poster.jpg"

const (
	posterSide      = 1280 // at most, of the longer side
	maxPictureBytes = 16 << 20
)

// A CoverUnit makes a poster of a picture that belongs to the source.
type CoverUnit struct {
	Stream int `json:"stream"` // place among all streams of the source
	Side   int `json:"side"`   // at most, of the poster's longer side
}

// addCover adds the unit that makes a poster of the source's cover, if it has one.
func (p *Plan) addCover(r Request, probe Probe) {
	if probe.Cover == 0 || r.NoPictures {
		return
	}
	p.Units = append(p.Units, Unit{
		ID: string(KindCover), Kind: KindCover, Source: r.Source, Cover: &CoverUnit{Stream: probe.Cover, Side: posterSide},
	})
}

// checkPictures looks at the pictures of a result, which may lack any.
func checkPictures(r Result, most int, known func(name string) bool) error {
	if len(r.Pictures) > most {
		return fmt.Errorf("%d pictures; want %d at most", len(r.Pictures), most)
	}
	for _, picture := range r.Pictures {
		if !known(picture.Name) {
			return fmt.Errorf("picture %.50q is not one that was asked for", picture.Name)
		}
		if err := checkSegmentFile(picture, picture.Name, maxPictureBytes); err != nil {
			return err
		}
	}
	return nil
}

func checkCover(r Result) error {
	if len(r.Pictures) == 0 {
		return errors.New("no poster")
	}
	return checkPictures(r, 1, func(name string) bool { return name == PosterName })
}

// PictureName returns the path in a published stream of a picture that u has made.
func (u Unit) PictureName(name string) string {
	if name != storyboardPart || u.Video == nil {
		return name
	}
	first, _ := u.Video.Segments()
	return fmt.Sprintf("%s/%05d.jpg", StoryboardDir, first)
}

// StoryboardDir is the directory of a stream's storyboard: its pictures, and
// StoryboardName, which lists them.
const (
	StoryboardDir  = "storyboard"
	StoryboardName = StoryboardDir + "/index.vtt"

	// storyboardPart is the picture of one unit in its attempt's directory.
	storyboardPart = "storyboard.jpg"
)

const (
	thumbnailSide    = 160 // of the longer side
	thumbnailColumns = 10
	// thumbnailSeconds is the time between two thumbnails of a video, and
	// shortSeconds is the length up to which a video has one for each segment.
	thumbnailSeconds = 5
	shortSeconds     = 120
)

// Pictures are what a video unit makes for a stream besides its segments, of the same
// decoded frames.
type Pictures struct {
	Poster       int `json:"poster"` // the frame that is the poster; -1: another unit makes it
	PosterWidth  int `json:"poster_width,omitempty"`
	PosterHeight int `json:"poster_height,omitempty"`
	// Every is the number of frames from one thumbnail to the next, counted from the
	// first frame of the grid.
	Every  int `json:"every"`
	Width  int `json:"width"` // of a thumbnail
	Height int `json:"height"`
}

// addPictures has the last unit of each stretch of video make pictures, which is the
// one with the least other work. The poster is none of these first frames.
func (p *Plan) addPictures(r Request, probe Probe, first int) {
	if r.IsFile() || r.NoPictures {
		return
	}
	last := map[int]int{} // by first frame
	for i, u := range p.Units {
		if u.Video != nil {
			last[u.Video.FirstFrame] = i
		}
	}
	poster := max(p.Grid.Frames/10, first)
	for _, i := range last {
		u := p.Units[i].Video
		u.Pictures = p.pictures(*probe.Video)
		if poster >= u.FirstFrame && poster < u.EndFrame {
			u.Pictures.Poster = poster
		}
	}
}

func (p *Plan) pictures(v VideoStream) *Pictures {
	size := func(side int) (width, height int) {
		scale := min(float64(side)/float64(max(v.Width, v.Height)), 1)
		return max(even(float64(v.Width)*scale), 2), max(even(float64(v.Height)*scale), 2)
	}
	every := p.Grid.SegmentFrames
	if p.Grid.Seconds(p.Grid.Frames) > shortSeconds {
		every *= int(math.Ceil(thumbnailSeconds / p.Grid.Seconds(p.Grid.SegmentFrames)))
	}
	pictures := &Pictures{Poster: -1, Every: every}
	pictures.Width, pictures.Height = size(thumbnailSide)
	pictures.PosterWidth, pictures.PosterHeight = size(posterSide)
	return pictures
}

// Thumbnails returns how many thumbnails u makes, and in how many columns.
func (u VideoUnit) Thumbnails() (count, columns int) {
	if u.Pictures == nil || u.Pictures.Every <= 0 {
		return 0, 0
	}
	before := func(frame int) int { return (frame + u.Pictures.Every - 1) / u.Pictures.Every }
	count = before(u.EndFrame) - before(u.FirstFrame)
	return count, min(count, thumbnailColumns)
}

// checkUnitPictures looks at the pictures of a video unit.
func checkUnitPictures(u VideoUnit, r Result) error {
	most := 2
	if u.Pictures == nil {
		most = 0
	}
	return checkPictures(r, most, func(name string) bool { return name == PosterName || name == storyboardPart })
}

// PictureNames returns the names of the pictures that a video unit makes.
func (u VideoUnit) PictureNames() []string {
	var names []string
	if u.Pictures != nil && u.Pictures.Poster >= 0 {
		names = append(names, PosterName)
	}
	if count, _ := u.Thumbnails(); count > 0 {
		names = append(names, storyboardPart)
	}
	return names
}

// Storyboard returns the list of all thumbnails as WebVTT: which part of which picture
// shows a time. It is nil if there is none.
func (p Plan) Storyboard(results map[string]Result) []byte {
	track := mediafile.TextTrack{MPEGTS: -1}
	for _, u := range p.Units {
		made := slices.ContainsFunc(results[u.ID].Pictures, func(s Segment) bool { return s.Name == storyboardPart })
		if u.Video != nil && made {
			track.Cues = append(track.Cues, p.thumbnailCues(u)...)
		}
	}
	if len(track.Cues) == 0 {
		return nil
	}
	slices.SortFunc(track.Cues, func(a, b mediafile.Cue) int { return cmp.Compare(a.Start, b.Start) })
	return track.WebVTT()
}

func (p Plan) thumbnailCues(u Unit) []mediafile.Cue {
	var cues []mediafile.Cue
	count, columns := u.Video.Thumbnails()
	pictures := u.Video.Pictures
	first := (u.Video.FirstFrame + pictures.Every - 1) / pictures.Every
	at := func(frame int) time.Duration {
		return time.Duration(milliseconds(p.Grid.Seconds(min(frame, p.Grid.Frames)))) * time.Millisecond
	}
	for i := range count {
		cues = append(cues, mediafile.Cue{
			Start: at((first + i) * pictures.Every), End: at((first + i + 1) * pictures.Every),
			Text: fmt.Sprintf("%s#xywh=%d,%d,%d,%d", path.Base(u.PictureName(storyboardPart)),
				i%columns*pictures.Width, i/columns*pictures.Height, pictures.Width, pictures.Height),
		})
	}
	return cues
}
