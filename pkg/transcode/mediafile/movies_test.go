package mediafile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
)

// movieBox returns a box, with its size in 64 bits if it is to be long.
func movieBox(kind string, long bool, body ...byte) []byte {
	if long {
		out := binary.BigEndian.AppendUint32(nil, 1)
		out = append(out, kind...)
		return append(binary.BigEndian.AppendUint64(out, uint64(headerBytes+len(body))), body...)
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(boxHeaderBytes+len(body)))
	return append(append(out, kind...), body...)
}

// moovOf returns a moov box of so many thousandths of a second.
func moovOf(version byte, duration uint32) []byte {
	body := []byte{version, 0, 0, 0}
	if version == 1 {
		body = append(body, make([]byte, 16)...)
		body = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(body, 1000), uint64(duration))
	} else {
		body = append(body, make([]byte, 8)...)
		body = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(body, 1000), duration)
	}
	return movieBox("moov", false, movieBox("mvhd", false, append(body, make([]byte, 80)...)...)...)
}

func readMovies(data []byte, fragments int64) ([]Movie, error) {
	return ReadMovies(func(p []byte, at int64) (int, error) {
		n, err := bytes.NewReader(data).ReadAt(p, at)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}, fragments, int64(len(data)))
}

func TestReadMovies(t *testing.T) {
	ftyp, mdat, long := movieBox("ftyp", false, []byte("isom")...), movieBox("mdat", false, 1, 2, 3), movieBox("mdat", true, 1, 2, 3)
	rest := append([]byte{0, 0, 0, 0}, "mdat123"...)
	for name, tt := range map[string]struct {
		parts [][]byte
		want  []Movie
	}{
		"one":                 {[][]byte{ftyp, moovOf(0, 4000), mdat}, []Movie{{0, 4}}},
		"one, moov last":      {[][]byte{ftyp, long, moovOf(1, 4000)}, []Movie{{0, 4}}},
		"up to the end":       {[][]byte{ftyp, moovOf(1, 4000), rest}, []Movie{{0, 4}}},
		"two":                 {[][]byte{ftyp, moovOf(0, 4000), mdat, ftyp, moovOf(1, 2500), long}, []Movie{{0, 4}, {139, 2.5}}},
		"two, moov last":      {[][]byte{ftyp, mdat, moovOf(0, 4000), ftyp, mdat, moovOf(0, 1000)}, []Movie{{0, 4}, {139, 1}}},
		"two of QuickTime":    {[][]byte{moovOf(0, 4000), mdat, moovOf(0, 1000), mdat}, []Movie{{0, 4}, {127, 1}}},
		"the second cut off":  {[][]byte{ftyp, moovOf(0, 4000), mdat, ftyp, mdat[:9]}, []Movie{{0, 4}}},
		"garbage behind":      {[][]byte{ftyp, moovOf(0, 4000), mdat, []byte("\x00\x00\x00\x08\x01\x02\x03\x04")}, []Movie{{0, 4}}},
		"fragments":           {[][]byte{ftyp, moovOf(0, 0), movieBox("moof", false), mdat}, []Movie{{0, 0}}},
		"two of fragments":    {[][]byte{ftyp, moovOf(0, 0), movieBox("moof", false, 1, 2, 3), ftyp, moovOf(0, 2000), mdat}, []Movie{{0, 0}, {139, 2}}},
		"something else":      {[][]byte{[]byte("RIFF1234AVI ")}, []Movie{}},
		"no mvhd at its head": {[][]byte{ftyp, movieBox("moov", false, movieBox("free", false)...)}, []Movie{{0, 0}}},
	} {
		got, err := readMovies(bytes.Join(tt.parts, nil), 139)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tt.want)
		}
	}
}

func FuzzReadMovies(f *testing.F) {
	f.Add(bytes.Join([][]byte{movieBox("ftyp", false), moovOf(0, 4000), movieBox("mdat", true), moovOf(1, 1)}, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		movies, err := readMovies(data, int64(len(data)/2))
		if err != nil || len(movies) > maxMovieBoxes {
			t.Errorf("%d movies, %v", len(movies), err)
		}
		for _, m := range movies {
			if m.At < 0 || m.At >= int64(len(data)) || !(m.Seconds >= 0) {
				t.Errorf("movie %+v of %d bytes", m, len(data))
			}
		}
	})
}
