package mediafile

import (
	"encoding/binary"
	"fmt"
)

// An Edit is a stretch of a track of ISO 14496-12, of the time in which it is shown.
type Edit struct {
	Seconds float64
	Empty   bool // nothing is shown
	Dwell   bool // one frame is shown all the time
}

// Edits are the edit list of a track.
type Edits struct {
	Track uint32
	List  []Edit
}

const (
	maxTracks = 100
	maxEdits  = 1000 // of one track
)

// ReadEdits returns the edit lists of a movie, of which it reads no other tables.
func ReadEdits(readAt func(p []byte, at int64) (int, error), m Movie) ([]Edits, error) {
	r := editReader{readAt: readAt}
	err := r.children(m.moov, m.moovEnd, func(kind string, begin, end int64) error {
		switch {
		case kind == "mvhd":
			body, err := r.body(begin, end, movieBytes)
			r.scale, _ = movieHeader(body)
			return err
		case kind == "trak" && len(r.found) < maxTracks:
			return r.track(begin, end)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading edit lists: %w", err)
	}
	return r.found, nil
}

type editReader struct {
	readAt func(p []byte, at int64) (int, error)
	scale  uint32 // ticks of the movie in a second
	found  []Edits
}

// children calls f with each box from one byte to another.
func (r *editReader) children(begin, end int64, f func(kind string, begin, end int64) error) error {
	for n := 0; begin < end && n < maxMovieBoxes; n++ {
		head, err := r.body(begin, end, headerBytes)
		if err != nil {
			return err
		}
		kind, body, length := boxAt(head, end-begin)
		if length == 0 {
			return nil
		}
		if err := f(kind, begin+int64(len(head)-len(body)), begin+length); err != nil {
			return err
		}
		begin += length
	}
	return nil
}

// body returns what there is from one byte to another, up to a limit.
func (r *editReader) body(begin, end, most int64) ([]byte, error) {
	buf := make([]byte, min(end-begin, most))
	n, err := r.readAt(buf, begin)
	return buf[:n], err
}

func (r *editReader) track(begin, end int64) error {
	track := Edits{}
	err := r.children(begin, end, func(kind string, begin, end int64) error {
		switch kind {
		case "tkhd":
			body, err := r.body(begin, end, 24)
			f := fields{data: body}
			version, _ := f.full()
			f.wide(version) // created
			f.wide(version) // modified
			track.Track = f.uint32()
			return err
		case "edts":
			return r.children(begin, end, func(kind string, begin, end int64) error {
				if kind != "elst" {
					return nil
				}
				body, err := r.body(begin, end, 8+20*maxEdits)
				track.List = r.edits(body)
				return err
			})
		}
		return nil
	})
	r.found = append(r.found, track)
	return err
}

// edits parses the body of an elst box; it ends where that is cut off.
func (r *editReader) edits(body []byte) []Edit {
	f := fields{data: body}
	version, _ := f.full()
	var list []Edit
	for range min(f.uint32(), maxEdits) {
		duration, media := f.wide(version), int64(0)
		if version == 1 {
			media = int64(f.uint64())
		} else {
			media = int64(int32(f.uint32()))
		}
		rate := binary.BigEndian.Uint16(f.bytes(2))
		f.bytes(2) // its fraction
		if f.err != nil || r.scale == 0 {
			break
		}
		list = append(list, Edit{Seconds: float64(duration) / float64(r.scale), Empty: media == -1, Dwell: media != -1 && rate == 0})
	}
	return list
}
