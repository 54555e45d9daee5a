package worker

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"pibootd/internal/durable"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// CoverArgs returns ffmpeg's arguments that make a poster of a picture of source, in
// its working directory.
func CoverArgs(u transcode.CoverUnit, source string) []string {
	args := append(inputArgs(source, "", position{}), "-map", fmt.Sprintf("0:%d", u.Stream), "-frames:v", "1",
		"-vf", fmt.Sprintf("scale='min(iw,%[1]d)':'min(ih,%[1]d)':force_original_aspect_ratio=decrease:force_divisible_by=2,setsar=1", u.Side))
	return append(args, jpegArgs(transcode.PosterName)...)
}

// pictureArgs make the pictures of u beside its segments, in the working directory.
func pictureArgs(u transcode.VideoUnit) []string {
	var args []string
	u.Deinterlaced = false // costs more than all else, and cannot be seen in a thumbnail
	for i, name := range u.PictureNames() {
		args = append(args, filmArgs(u, join(gridFilter(u, false), pictureFilter(u, name)), fmt.Sprintf("picture%d", i))...)
		args = append(args, "-an", "-sn", "-dn", "-map_chapters", "-1", "-frames:v", "1", "-fps_mode", "passthrough")
		args = append(args, jpegArgs(name)...)
	}
	return args
}

// pictureFilter makes one picture of the frames of u.
func pictureFilter(u transcode.VideoUnit, name string) string {
	p, sdr := u.Pictures, "setsar=1"
	if u.Color.VideoRange() != "" { // a JPEG has no HDR
		sdr += "," + toneMap(u.Color) + ",format=yuv420p"
	}
	if name == transcode.PosterName {
		return fmt.Sprintf("select='eq(n,%d)',%s,%s", p.Poster-u.FirstFrame, sized(u, p.PosterWidth, p.PosterHeight), sdr)
	}
	count, columns := u.Thumbnails()
	return fmt.Sprintf("select='not(mod(n+%d,%d))',%s,%s,tile=%dx%d",
		u.FirstFrame, p.Every, sized(u, p.Width, p.Height), sdr, columns, (count+columns-1)/columns)
}

// jpegArgs are the end of the arguments that make one picture.
func jpegArgs(name string) []string {
	return []string{"-map_metadata", "-1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "4", "-f", "image2", "-update", "1", "-y", name}
}

// picturesProof looks at those of the pictures in dir that are there, and makes them
// durable.
func picturesProof(dir string, names ...string) ([]transcode.Segment, error) {
	var list []transcode.Segment
	for _, name := range names {
		picture, _, err := inspect(filepath.Join(dir, name), func(io.Reader) (mediafile.SegmentInfo, error) {
			return mediafile.SegmentInfo{}, nil
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, picture)
	}
	return list, durable.SyncDir(dir)
}
