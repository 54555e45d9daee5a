package hls

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
)

// Limits of what Check reads.
const (
	maxPlaylistBytes = 16 << 20
	// bandwidthSlack is how far a declared bitrate may be from the measured
	// one (Apple's authoring specification for VOD).
	bandwidthSlack = 0.10
	// ptsSlack is how far EXTINF may be from the time stamps of segments.
	ptsSlack = 0.002 // seconds
)

// Check says what keeps the stream in fsys from being published, judging by
// its files alone: RFC 8216, what Apple's authoring specification asks of VOD,
// and that all variant streams are cut alike. nil means that nothing does.
func Check(fsys fs.FS) error { return CheckNamed(fsys, transcode.Naming{}) }

// CheckNamed is Check for a stream whose files are called as n says.
func CheckNamed(fsys fs.FS, n transcode.Naming) error {
	master, err := readMaster(fsys, n)
	if err != nil {
		return fmt.Errorf("checking %s: %w", n.Master(), err)
	}
	media := map[string]*mediaFile{}
	for _, uri := range master.uris() {
		m, err := readMedia(fsys, uri, n)
		if err != nil {
			return fmt.Errorf("checking %s: %w", uri, err)
		}
		media[uri] = m
	}
	for _, v := range master.variants {
		if err := v.check(media[v.uri], master.membersOf(v, media)); err != nil {
			return fmt.Errorf("checking %s: variant stream %s: %w", n.Master(), v.uri, err)
		}
	}
	return checkAlike(master, media)
}

// checkAlike makes sure that players can change between variant streams at any
// segment.
func checkAlike(master *masterFile, media map[string]*mediaFile) error {
	first := media[master.variants[0].uri]
	for uri, m := range media {
		if m.target != first.target && !m.isText() {
			return fmt.Errorf("checking %s: target duration %d, in %s it is %d; want one for all", uri, m.target, first.uri, first.target)
		}
		if m.version != first.version {
			return fmt.Errorf("checking %s: version %d, in %s it is %d; want one for all", uri, m.version, first.uri, first.version)
		}
	}
	for _, v := range master.variants {
		m := media[v.uri]
		same := slices.EqualFunc(m.segments, first.segments, func(a, b mediaSegment) bool { return a.seconds == b.seconds })
		if !same {
			return fmt.Errorf("checking %s: its segments do not begin when those of %s do", v.uri, first.uri)
		}
	}
	return nil
}

// A masterFile is a master playlist as it was read.
type masterFile struct {
	variants []variantFile
	groups   []*group
}

// A variantFile is one EXT-X-STREAM-INF.
type variantFile struct {
	uri     string
	groups  map[string]string // id by TYPE
	peak    int
	average int
	codecs  []string
}

func (m *masterFile) uris() []string {
	var uris []string
	for _, v := range m.variants {
		uris = append(uris, v.uri)
	}
	for _, g := range m.groups {
		for _, member := range g.members {
			uris = append(uris, member.uri)
		}
	}
	slices.Sort(uris)
	return slices.Compact(uris)
}

func readMaster(fsys fs.FS, n transcode.Naming) (*masterFile, error) {
	lines, err := namedLines(fsys, n.Master(), n)
	if err != nil {
		return nil, err
	}
	m := &masterFile{}
	independent := false
	for i := 0; i < len(lines); i++ {
		tag, value, _ := strings.Cut(lines[i], ":")
		switch tag {
		case "#EXT-X-VERSION":
		case "#EXT-X-INDEPENDENT-SEGMENTS":
			independent = true
		case "#EXT-X-MEDIA":
			err = m.parseMedia(value)
		case "#EXT-X-STREAM-INF":
			uri := ""
			if i++; i < len(lines) {
				uri = lines[i]
			}
			err = m.parseVariant(value, uri)
		default:
			err = fmt.Errorf("%.80q is not expected there", lines[i])
		}
		if err != nil {
			return nil, err
		}
	}
	if !independent || len(m.variants) == 0 {
		return nil, fmt.Errorf("%d variant streams, EXT-X-INDEPENDENT-SEGMENTS: %t; want at least one, and it", len(m.variants), independent)
	}
	return m, m.checkGroups()
}

// maxFPS is the highest frame rate of a variant stream. Apple's authoring
// specification has 60; more is made only for those who ask for it.
const maxFPS = 240

func (m *masterFile) parseVariant(value, uri string) error {
	a, err := attributes(value)
	if err != nil {
		return err
	}
	for _, name := range []string{"BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE"} {
		if a[name] == "" {
			return fmt.Errorf("variant stream %q has no %s", uri, name)
		}
	}
	v := variantFile{uri: uri, groups: map[string]string{}, codecs: strings.Split(a["CODECS"], ",")}
	var width, height int
	rate, errRate := strconv.ParseFloat(a["FRAME-RATE"], 64)
	_, errSize := fmt.Sscanf(a["RESOLUTION"], "%dx%d", &width, &height)
	var errPeak, errAverage error
	v.peak, errPeak = strconv.Atoi(a["BANDWIDTH"])
	v.average, errAverage = strconv.Atoi(a["AVERAGE-BANDWIDTH"])
	if err := errors.Join(errRate, errSize, errPeak, errAverage); err != nil || !(rate > 0 && rate <= maxFPS) || width < 2 || height < 2 {
		return fmt.Errorf("variant stream %q: %.200s; want numbers, and at most %d frames per second", uri, value, maxFPS)
	}
	for kind := range alternates {
		if id := a[kind]; id != "" && m.group(kind, id) == nil {
			return fmt.Errorf("variant stream %q: no EXT-X-MEDIA before it has TYPE=%s and the group %q", uri, kind, id)
		} else if id != "" {
			v.groups[kind] = id
		}
	}
	if !fs.ValidPath(uri) {
		return fmt.Errorf("variant stream %q; want the path of a playlist", uri)
	}
	m.variants = append(m.variants, v)
	return nil
}

// check compares what a variant stream says with what was measured.
func (v variantFile) check(video *mediaFile, alternates map[string][]*mediaFile) error {
	peak, average := bitrates(video.measured(), video.target)
	for _, members := range alternates {
		most, mean := 0, 0
		for _, m := range members {
			p, a := bitrates(m.measured(), m.target)
			most, mean = max(most, p), max(mean, a)
		}
		peak, average = peak+most, average+mean
	}
	if v.peak < peak || float64(v.peak) > float64(peak)*(1+bandwidthSlack) {
		return fmt.Errorf("BANDWIDTH=%d; measured are %d", v.peak, peak)
	}
	if math.Abs(float64(v.average-average)) > float64(average)*bandwidthSlack {
		return fmt.Errorf("AVERAGE-BANDWIDTH=%d; measured are %d", v.average, average)
	}
	want := 1
	if v.groups["AUDIO"] != "" {
		want = 2
	}
	hevc := strings.HasPrefix(v.codecs[0], "hvc1.")
	known := len(v.codecs) == want && (hevc || strings.HasPrefix(v.codecs[0], "avc1.")) &&
		(want == 1 || strings.HasPrefix(v.codecs[1], "mp4a.") || video.init != "" && slices.Contains([]string{"ac-3", "ec-3", "Opus"}, v.codecs[1]))
	if !known {
		return fmt.Errorf("CODECS=%q; want avc1 or hvc1, and mp4a with audio", v.codecs)
	}
	if hevc && video.init == "" {
		return errors.New("H.265 in MPEG-TS; want CMAF")
	}
	return nil
}
