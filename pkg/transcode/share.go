package transcode

import (
	"path"
	"strconv"
	"strings"
)

// PathShare is where the daemon serves the media share over HTTP to workers that do
// not mount it. They name themselves, and show their token, by RFC 7617.
//
//	GET PathShare         a Share
//	GET PathShare/{file}  a file that a unit needs that the worker has claimed; ranges, RFC 9110 §14
//	PUT PathShare/{file}  a file of an attempt of the worker's
//
// What is asked for beyond that is answered with 404.
const PathShare = "/worker/v1/share"

// A Share is what such a worker has to know.
type Share struct {
	QueueURL  string `json:"queue_url"`  // where it fetches work
	FreeBytes int64  `json:"free_bytes"` // of the media share
}

// Reads reports whether u is made of the file with this path in the share.
func (u Unit) Reads(name string) bool {
	if name == u.Source {
		return true
	}
	if u.Join == nil {
		return false
	}
	for _, parts := range [][]Part{u.Join.Video, u.Join.Audio} {
		for i, part := range parts {
			if i == 0 && name == path.Join(part.Dir, InitName) || part.has(name) {
				return true
			}
		}
	}
	return false
}

// has reports whether a segment of p has this path.
func (p Part) has(name string) bool {
	dir, file := path.Split(name)
	number, err := strconv.Atoi(strings.TrimSuffix(file, "."+ContainerCMAF.extension()))
	return err == nil && dir == p.Dir+"/" && number >= p.First && number < p.End && file == ContainerCMAF.SegmentName(number)
}
