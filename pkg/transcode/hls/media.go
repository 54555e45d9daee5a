package hls

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// A mediaFile is a media playlist as it was read, with its files' sizes.
type mediaFile struct {
	naming   transcode.Naming
	uri      string
	version  int
	target   int
	grew     bool   // it was published before it was whole
	init     string // URI of EXT-X-MAP; "" without
	method   string // of encryption; "" without
	key      string // URI of the key of the next segments
	iv       string // of the first key, as the playlist has it
	segments []mediaSegment
}

type mediaSegment struct {
	uri       string
	seconds   float64
	sizeBytes int64
}

func (m *mediaFile) measured() []transcode.Segment {
	list := make([]transcode.Segment, len(m.segments))
	for i, s := range m.segments {
		list[i] = transcode.Segment{SizeBytes: s.sizeBytes, Seconds: s.seconds}
	}
	return list
}

func readMedia(fsys fs.FS, uri string, n transcode.Naming) (*mediaFile, error) {
	lines, err := namedLines(fsys, uri, n)
	if err != nil {
		return nil, err
	}
	m := &mediaFile{uri: uri, naming: n}
	seen := map[string]bool{}
	pending := 0.0
	for i, line := range lines {
		if !strings.HasPrefix(line, "#") {
			if err := m.addSegment(fsys, line, pending); err != nil {
				return nil, err
			}
			pending = 0
			continue
		}
		tag, value, _ := strings.Cut(line, ":")
		seen[tag] = true
		if tag == "#EXTINF" {
			pending, err = strconv.ParseFloat(strings.TrimSuffix(value, ","), 64)
		} else {
			err = m.parseTag(fsys, tag, value, i == len(lines)-1)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, tag := range []string{"#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-PLAYLIST-TYPE", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-ENDLIST"} {
		if !seen[tag] {
			return nil, fmt.Errorf("no %s", tag[1:])
		}
	}
	return m, m.check(fsys)
}

func (m *mediaFile) parseTag(fsys fs.FS, tag, value string, last bool) (err error) {
	switch tag {
	case "#EXT-X-VERSION":
		m.version, err = strconv.Atoi(value)
	case "#EXT-X-TARGETDURATION":
		m.target, err = strconv.Atoi(value)
	case "#EXT-X-MEDIA-SEQUENCE":
		// The number that each segment was encrypted with.
		err = want(value, "0")
	case "#EXT-X-PLAYLIST-TYPE":
		if m.grew = value == "EVENT"; !m.grew {
			err = want(value, "VOD") // or EVENT
		}
	case "#EXT-X-INDEPENDENT-SEGMENTS":
	case "#EXT-X-MAP":
		err = m.parseMap(fsys, value)
	case "#EXT-X-KEY":
		err = m.parseKey(fsys, value)
	case "#EXT-X-ENDLIST":
		if !last {
			err = errors.New("something follows it")
		}
	default:
		err = errors.New("it is not expected there")
	}
	if err != nil {
		return fmt.Errorf("%.50s: %w", strings.TrimPrefix(tag, "#"), err)
	}
	return nil
}

func want(got, want string) error {
	if got != want {
		return fmt.Errorf("%.50q; want %s", got, want)
	}
	return nil
}

func (m *mediaFile) parseMap(fsys fs.FS, value string) error {
	a, err := attributes(value)
	if err != nil {
		return err
	}
	if m.init != "" || len(m.segments) > 0 || m.method != "" {
		return errors.New("want one, before the key and the first segment")
	}
	m.init = a["URI"]
	_, err = sizeOf(fsys, path.Join(path.Dir(m.uri), m.init))
	return err
}

func (m *mediaFile) parseKey(fsys fs.FS, value string) error {
	a, err := attributes(value)
	if err != nil {
		return err
	}
	method := a["METHOD"]
	whole := method == methodWhole && a["IV"] == ""
	samples := method == methodSamples && a["IV"] != "" && a["KEYFORMAT"] == "identity" && m.init != ""
	if !whole && !samples || a["URI"] == "" || len(m.segments) > 0 && m.method != method {
		return fmt.Errorf("%.100s; want AES-128 with a URI and no IV, or SAMPLE-AES with a URI, an IV and KEYFORMAT=\"identity\" in CMAF, before the first segment", value)
	}
	if m.method == "" {
		m.iv = a["IV"]
	}
	if a["URI"] == m.key {
		return fmt.Errorf("%.100s; want another key than before", value)
	}
	m.method, m.key = method, a["URI"]
	name := m.naming.Key(len(m.segments))
	if strings.Contains(m.key, "://") || path.Base(m.key) != name {
		return nil // it is elsewhere
	}
	size, err := sizeOf(fsys, path.Join(path.Dir(m.uri), m.key))
	if err == nil && size != KeyBytes {
		err = fmt.Errorf("%s has %d bytes; want %d", name, size, KeyBytes)
	}
	return err
}

func (m *mediaFile) addSegment(fsys fs.FS, uri string, seconds float64) error {
	if !(seconds > 0) {
		return fmt.Errorf("%.100q: no EXTINF; want its seconds", uri)
	}
	if math.Round(seconds) > float64(m.target) {
		return fmt.Errorf("%s: EXTINF %v; want no more than the target duration %d", uri, seconds, m.target)
	}
	if slices.ContainsFunc(m.segments[max(0, len(m.segments)-1):], func(s mediaSegment) bool { return len(s.uri) > len(uri) || len(s.uri) == len(uri) && s.uri >= uri }) {
		return fmt.Errorf("%.100q follows %q; want rising names", uri, m.segments[len(m.segments)-1].uri)
	}
	size, err := sizeOf(fsys, path.Join(path.Dir(m.uri), uri))
	if err != nil {
		return err
	}
	m.segments = append(m.segments, mediaSegment{uri, seconds, size})
	return nil
}

// sizeOf returns the size of a file that must not be empty.
func sizeOf(fsys fs.FS, name string) (int64, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return 0, fmt.Errorf("%s is %v with %d bytes; want a file that is not empty", name, info.Mode(), info.Size())
	}
	return info.Size(), nil
}

// check looks at a media playlist as a whole.
func (m *mediaFile) check(fsys fs.FS) error {
	if len(m.segments) == 0 {
		return errors.New("no segments")
	}
	if least := versionTS; m.version < least || m.init != "" && m.version < versionCMAF {
		return fmt.Errorf("version %d; want at least %d, or %d with EXT-X-MAP", m.version, least, versionCMAF)
	}
	if m.method == methodWhole {
		return nil // time stamps cannot be read
	}
	if m.isText() {
		return m.checkText(fsys)
	}
	return m.checkTimes(fsys)
}

// checkTimes compares EXTINF with the time from one segment's begin to the next's.
func (m *mediaFile) checkTimes(fsys fs.FS) error {
	look := mediafile.FirstTS
	if m.init != "" {
		f, err := fsys.Open(path.Join(path.Dir(m.uri), m.init))
		if err != nil {
			return err
		}
		init, err := mediafile.InspectInit(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if err := m.checkProtection(init.Protection); err != nil {
			return fmt.Errorf("%s: %w", m.init, err)
		}
		look = func(r io.Reader) (int64, error) { return mediafile.FirstCMAF(init, r) }
	}
	before := int64(0)
	for i, s := range m.segments {
		pts, err := firstOf(fsys, path.Join(path.Dir(m.uri), s.uri), look)
		if err != nil {
			return fmt.Errorf("%s: %w", s.uri, err)
		}
		if i > 0 {
			said := m.segments[i-1]
			if took := float64(pts-before) / mediafile.TicksPerSecond; math.Abs(took-said.seconds) > ptsSlack {
				return fmt.Errorf("%s: EXTINF %v; %s begins %.3f s after it", said.uri, said.seconds, s.uri, took)
			}
		}
		before = pts
	}
	return nil
}

// The methods of EXT-X-KEY.
const (
	methodWhole   = "AES-128"
	methodSamples = "SAMPLE-AES"
)

// checkProtection compares what an initialization section says of the encryption of
// samples with what the playlist says.
func (m *mediaFile) checkProtection(p mediafile.Protection) error {
	if got, want := p.Scheme != "", m.method == methodSamples; got != want {
		return fmt.Errorf("samples are encrypted: %t, in the playlist: %t; want the same", got, want)
	}
	if iv := fmt.Sprintf("0x%X", p.IV); m.method == methodSamples && !strings.EqualFold(iv, m.iv) {
		return fmt.Errorf("IV %s, in the playlist %.50s; want the same", iv, m.iv)
	}
	return nil
}

func firstOf(fsys fs.FS, name string, look func(io.Reader) (int64, error)) (int64, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return 0, err
	}
	pts, err := look(f)
	return pts, errors.Join(err, f.Close())
}
