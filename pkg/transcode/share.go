package transcode

import (
	"cmp"
	"path"
	"strconv"
	"strings"
)

// PathShare is the path at which the daemon serves the media share over HTTP to
// workers that do not mount it. They send their name and token by RFC 7617.
//
//	GET PathShare         a Share
//	GET PathShare/{file}  a file that is needed for a unit that the worker has claimed; ranges, RFC 9110 §14
//	PUT PathShare/{file}  a file of an attempt of the worker
//
// Any other request gets 404.
const PathShare = "/worker/v1/share"

// A Share is what these workers must know about the media share.
type Share struct {
	QueueURL  string `json:"queue_url"`  // address of the queue
	FreeBytes int64  `json:"free_bytes"` // of the media share
}

// Reads reports whether u is made from the file with this path in the share.
func (u Unit) Reads(name string) bool {
	if name == u.Source {
		return true
	}
	if u.Video != nil && u.Video.Burn != nil && name == u.Video.Burn.File {
		return name != ""
	}
	if u.Join == nil {
		return false
	}
	for _, text := range u.Join.Subtitles {
		if name == text.File {
			return true
		}
	}
	inputs := [][]Part{u.Join.Video}
	for _, track := range u.Join.AudioTracks() {
		inputs = append(inputs, track.Parts)
	}
	for _, parts := range inputs {
		for i, part := range parts {
			if i == 0 && name == path.Join(part.Dir, InitName) || part.has(name) {
				return true
			}
		}
	}
	return false
}

// SegmentName returns the name of a segment of p.
func (p Part) SegmentName(number int) string {
	return cmp.Or(p.Container, ContainerCMAF).SegmentName(number)
}

// has reports whether a segment of p has this path.
func (p Part) has(name string) bool {
	dir, file := path.Split(name)
	number, err := strconv.Atoi(strings.TrimSuffix(file, path.Ext(file)))
	return err == nil && dir == p.Dir+"/" && number >= p.First && number < p.End && file == p.SegmentName(number)
}
