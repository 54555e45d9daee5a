package mediafile

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A Movie is a file of ISO 14496-12 within another one: MP4 files that were appended to one
// another are several, of which players see the first.
type Movie struct {
	At      int64   // where it begins, in bytes
	Seconds float64 // 0 if unknown

	moov, moovEnd int64 // what its moov box has
}

const (
	// maxMovieBoxes bounds how many boxes of a file are looked at: few have more than ten,
	// unless they are in fragments.
	maxMovieBoxes = 1000
	// headerBytes is enough for the header of a box with a size of 64 bits.
	headerBytes = 16
	// movieBytes is enough for the header of a moov box, and the mvhd box at its beginning.
	movieBytes = headerBytes + boxHeaderBytes + 40
)

// ReadMovies finds the movies in a file of this size, of which it reads the headers of
// boxes alone. It ends at what is no box. Fragments, of which there are many, end at this
// byte.
func ReadMovies(readAt func(p []byte, at int64) (int, error), fragments, size int64) ([]Movie, error) {
	movies := []Movie{{}}
	described := false // the last movie has its moov box
	for at, n := int64(0), 0; at < size && n < maxMovieBoxes; n++ {
		head := make([]byte, movieBytes)
		got, err := readAt(head, at)
		if err != nil {
			return nil, fmt.Errorf("reading the box at byte %d: %w", at, err)
		}
		kind, body, length := boxAt(head[:got], size-at)
		if length == 0 || kind == "moof" && fragments <= at {
			break
		}
		if kind == "moof" {
			at = fragments
			continue
		}
		if described && (kind == "ftyp" || kind == "moov") {
			movies, described = append(movies, Movie{At: at}), false
		}
		if kind == "moov" {
			m := &movies[len(movies)-1]
			m.Seconds, m.moov, m.moovEnd, described = movieSeconds(body), at+int64(got-len(body)), at+length, true
		}
		at += length
	}
	if !described {
		movies = movies[:len(movies)-1]
	}
	return movies, nil
}

// boxAt returns the kind, the beginning of the body and the length of a box, of which head is
// the beginning and left the rest of the file; a length of 0 if there is none.
func boxAt(head []byte, left int64) (kind string, body []byte, length int64) {
	if len(head) < boxHeaderBytes {
		return "", nil, 0
	}
	length, kind, body = int64(binary.BigEndian.Uint32(head)), string(head[4:boxHeaderBytes]), head[boxHeaderBytes:]
	switch {
	case length == 0: // to the end of the file
		length = left
	case length == 1 && len(head) >= headerBytes:
		length, body = int64(binary.BigEndian.Uint64(head[boxHeaderBytes:])), head[headerBytes:]
	}
	letters := func(c byte) bool { return c >= ' ' && c <= '~' || c == 0xa9 }
	if length < boxHeaderBytes || length > left || slices.ContainsFunc([]byte(kind), func(c byte) bool { return !letters(c) }) {
		return "", nil, 0
	}
	return kind, body, length
}

// movieSeconds returns how long a movie is, from the mvhd box that begins its moov box.
func movieSeconds(moov []byte) float64 {
	kind, body, length := boxAt(moov, int64(len(moov))+maxMoofBytes)
	if length == 0 || kind != "mvhd" {
		return 0
	}
	scale, duration := movieHeader(body)
	if scale == 0 {
		return 0
	}
	return float64(duration) / float64(scale)
}

// movieHeader reads an mvhd box: ticks in a second, and how many the movie lasts.
func movieHeader(body []byte) (scale uint32, duration uint64) {
	f := fields{data: body}
	version, _ := f.full()
	f.wide(version) // created
	f.wide(version) // modified
	scale, duration = f.uint32(), f.wide(version)
	if f.err != nil {
		return 0, 0
	}
	return scale, duration
}
