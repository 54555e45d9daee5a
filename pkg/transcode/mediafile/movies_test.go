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
	return ReadMovies(bytesAt(data), fragments, int64(len(data)))
}

func bytesAt(data []byte) func(p []byte, at int64) (int, error) {
	return func(p []byte, at int64) (int, error) {
		n, err := bytes.NewReader(data).ReadAt(p, at)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
}

func TestReadMovies(t *testing.T) {
	ftyp, mdat, long := movieBox("ftyp", false, []byte("isom")...), movieBox("mdat", false, 1, 2, 3), movieBox("mdat", true, 1, 2, 3)
	rest := append([]byte{0, 0, 0, 0}, "mdat123"...)
	for name, tt := range map[string]struct {
		parts [][]byte
		want  []Movie
	}{
		"one":                 {[][]byte{ftyp, moovOf(0, 4000), mdat}, []Movie{{At: 0, Seconds: 4}}},
		"one, moov last":      {[][]byte{ftyp, long, moovOf(1, 4000)}, []Movie{{At: 0, Seconds: 4}}},
		"up to the end":       {[][]byte{ftyp, moovOf(1, 4000), rest}, []Movie{{At: 0, Seconds: 4}}},
		"two":                 {[][]byte{ftyp, moovOf(0, 4000), mdat, ftyp, moovOf(1, 2500), long}, []Movie{{At: 0, Seconds: 4}, {At: 139, Seconds: 2.5}}},
		"two, moov last":      {[][]byte{ftyp, mdat, moovOf(0, 4000), ftyp, mdat, moovOf(0, 1000)}, []Movie{{At: 0, Seconds: 4}, {At: 139, Seconds: 1}}},
		"two of QuickTime":    {[][]byte{moovOf(0, 4000), mdat, moovOf(0, 1000), mdat}, []Movie{{At: 0, Seconds: 4}, {At: 127, Seconds: 1}}},
		"the second cut off":  {[][]byte{ftyp, moovOf(0, 4000), mdat, ftyp, mdat[:9]}, []Movie{{At: 0, Seconds: 4}}},
		"garbage behind":      {[][]byte{ftyp, moovOf(0, 4000), mdat, []byte("\x00\x00\x00\x08\x01\x02\x03\x04")}, []Movie{{At: 0, Seconds: 4}}},
		"fragments":           {[][]byte{ftyp, moovOf(0, 0), movieBox("moof", false), mdat}, []Movie{{At: 0, Seconds: 0}}},
		"two of fragments":    {[][]byte{ftyp, moovOf(0, 0), movieBox("moof", false, 1, 2, 3), ftyp, moovOf(0, 2000), mdat}, []Movie{{At: 0, Seconds: 0}, {At: 139, Seconds: 2}}},
		"something else":      {[][]byte{[]byte("RIFF1234AVI ")}, []Movie{}},
		"no mvhd at its head": {[][]byte{ftyp, movieBox("moov", false, movieBox("free", false)...)}, []Movie{{At: 0, Seconds: 0}}},
	} {
		got, err := readMovies(bytes.Join(tt.parts, nil), 139)
		if err != nil || !slices.EqualFunc(got, tt.want, func(a, b Movie) bool { return a.At == b.At && a.Seconds == b.Seconds }) {
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
			if _, err := ReadEdits(bytesAt(data), m); err != nil {
				t.Error(err)
			}
		}
		for _, m := range movies {
			if m.At < 0 || m.At >= int64(len(data)) || !(m.Seconds >= 0) {
				t.Errorf("movie %+v of %d bytes", m, len(data))
			}
		}
	})
}

func TestReadEdits(t *testing.T) {
	elst := func(version byte, entries ...[3]int64) []byte { // duration, media time, rate
		body := binary.BigEndian.AppendUint32([]byte{version, 0, 0, 0}, uint32(len(entries)))
		for _, e := range entries {
			if version == 1 {
				body = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(body, uint64(e[0])), uint64(e[1]))
			} else {
				body = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(body, uint32(e[0])), uint32(e[1]))
			}
			body = binary.BigEndian.AppendUint32(body, uint32(e[2])<<16)
		}
		return movieBox("edts", false, movieBox("elst", false, body...)...)
	}
	tkhd := func(id byte) []byte { return movieBox("tkhd", false, append(make([]byte, 15), id, 0, 0)...) }
	mvhd := moovOf(1, 4000)[boxHeaderBytes:]
	moov := movieBox("moov", false, bytes.Join([][]byte{
		mvhd,
		movieBox("trak", false, append(tkhd(1), elst(0, [3]int64{500, -1, 1}, [3]int64{1000, 0, 1}, [3]int64{2000, 40, 0})...)...),
		movieBox("trak", false, append(tkhd(7), elst(1, [3]int64{1000, 0, 1}, [3]int64{250, -1, 1})...)...),
		movieBox("trak", false, tkhd(8)...),
	}, nil)...)
	file := append(movieBox("ftyp", false), moov...)
	movies, err := readMovies(file, 0)
	if err != nil || len(movies) != 1 {
		t.Fatalf("%v, %v", movies, err)
	}
	got, err := ReadEdits(bytesAt(file), movies[0])
	want := []Edits{
		{1, []Edit{{Seconds: 0.5, Empty: true}, {Seconds: 1}, {Seconds: 2, Dwell: true}}},
		{7, []Edit{{Seconds: 1}, {Seconds: 0.25, Empty: true}}},
		{8, nil},
	}
	if err != nil || !slices.EqualFunc(got, want, func(a, b Edits) bool { return a.Track == b.Track && slices.Equal(a.List, b.List) }) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}
