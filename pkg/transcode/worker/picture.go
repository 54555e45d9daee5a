package worker

import (
	"fmt"

	"pibootd/pkg/transcode"
)

// sameAspect is how far the shape of two pictures may differ, as a share, to be taken
// for the same: sizes are rounded.
const sameAspect = 0.02

// letterbox returns filters that fit pictures of any size, and of any sample aspect
// ratio, into width and height, which have the shape aspect. A source may change its
// size midway, as broadcasts do between 4:3 and 16:9.
func letterbox(width, height int, aspect float64) string {
	share := fmt.Sprintf("if(lt(abs(dar/%[1]f-1),%[2]g),1,dar/%[1]f)", aspect, sameAspect)
	return fmt.Sprintf("scale=w='2*round(%d/2*min(1,%[3]s))':h='2*round(%[2]d/2*min(1,1/(%[3]s)))':eval=frame,pad=%[1]d:%[2]d:-1:-1:eval=frame",
		width, height, share)
}

// fieldFilter returns the filter that makes frames of fields; "" if there are none.
func fieldFilter(u transcode.VideoUnit) string {
	if !u.Deinterlaced {
		return ""
	}
	filter := "bwdif=mode=send_frame"
	switch u.Fields {
	case transcode.FieldsFlagged:
		filter += ":deint=interlaced"
	case transcode.FieldsEach:
		filter = "bwdif=mode=send_field"
	case transcode.FieldsFilm:
		filter = "fieldmatch,bwdif=mode=send_frame:deint=interlaced,decimate"
	}
	if u.SourceWidth > 0 && u.Aspect > 0 {
		// These filters take one size of picture only.
		filter = fmt.Sprintf("scale=%d:%d:eval=frame:interl=-1,%s", u.SourceWidth, u.SourceHeight, filter)
	}
	return "," + filter
}
