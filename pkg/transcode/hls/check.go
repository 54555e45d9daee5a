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
	captions []map[string]string // attributes of the EXT-X-MEDIA of closed captions
}

// A variantFile is one EXT-X-STREAM-INF.
type variantFile struct {
	uri     string
	groups  map[string]string // id by TYPE
	peak    int
	average int
	codecs  []string
	// captions is the group of its closed captions, NONE, or "".
	captions string
	score    float64 // SCORE; 0 without
}

func (m *masterFile) uris() []string {
	var uris []string
	for _, v := range m.variants {
		uris = append(uris, v.uri)
	}
	for _, g := range m.groups {
		for _, member := range g.members {
			if member.uri != "" {
				uris = append(uris, member.uri)
			}
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
		case "#EXT-X-START":
			err = want(value, "TIME-OFFSET=0")
		case "#EXT-X-I-FRAME-STREAM-INF":
			err = checkIFrames(fsys, value, n)
		case "#EXT-X-SESSION-DATA":
			err = checkSessionData(fsys, value)
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
	return m, errors.Join(m.checkGroups(), m.checkCaptions(), m.checkScores())
}

// checkScores makes sure that all variant streams have a SCORE where one has, and that streams
// of several codecs have them: RFC 8216bis §4.4.6.2.
func (m *masterFile) checkScores() error {
	first := m.variants[0]
	for _, v := range m.variants {
		if (v.score > 0) != (first.score > 0) {
			return fmt.Errorf("variant stream %q: SCORE=%g, another has %g; want it of all or of none", v.uri, v.score, first.score)
		}
		if kind := func(v variantFile) string { return v.codecs[0][:min(4, len(v.codecs[0]))] }; v.score == 0 && v.hasVideo() && kind(v) != kind(first) {
			return fmt.Errorf("variant stream %q is %s, another %s; want a SCORE of each", v.uri, v.codecs[0], first.codecs[0])
		}
	}
	return nil
}

// maxFPS is the highest frame rate of a variant stream. Apple's authoring
// specification has 60; more is made only for those who ask for it.
const maxFPS = 240

func (m *masterFile) parseVariant(value, uri string) error {
	a, err := attributes(value)
	if err != nil {
		return err
	}
	v := variantFile{uri: uri, groups: map[string]string{}, codecs: strings.Split(a["CODECS"], ","), captions: a[closedCaptions]}
	wanted := []string{"BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS"}
	if v.hasVideo() {
		wanted = append(wanted, "RESOLUTION", "FRAME-RATE")
	}
	for _, name := range wanted {
		if a[name] == "" {
			return fmt.Errorf("variant stream %q has no %s", uri, name)
		}
	}
	var errPeak, errAverage error
	v.peak, errPeak = strconv.Atoi(a["BANDWIDTH"])
	v.average, errAverage = strconv.Atoi(a["AVERAGE-BANDWIDTH"])
	if errPeak != nil || errAverage != nil || v.hasVideo() && !isPicture(a) {
		return fmt.Errorf("variant stream %q: %.200s; want numbers, and at most %d frames per second", uri, value, maxFPS)
	}
	if text := a["SCORE"]; text != "" {
		if v.score, err = strconv.ParseFloat(text, 64); err != nil || !(v.score > 0) {
			return fmt.Errorf("variant stream %q: SCORE=%.20s; want a positive number", uri, text)
		}
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

// isPicture checks the attributes that variant streams with video have.
func isPicture(a map[string]string) bool {
	var width, height int
	rate, err := strconv.ParseFloat(a["FRAME-RATE"], 64)
	_, errSize := fmt.Sscanf(a["RESOLUTION"], "%dx%d", &width, &height)
	return errors.Join(err, errSize) == nil && rate > 0 && rate <= maxFPS && width >= 2 && height >= 2
}

// hasVideo reports whether the first codec of a variant stream is one of video.
func (v variantFile) hasVideo() bool { return !isAudioCodec(v.codecs[0]) }

func isAudioCodec(name string) bool {
	return strings.HasPrefix(name, "mp4a.") || slices.Contains(cmafAudio, name)
}

// cmafAudio are the codecs of audio that are in CMAF only.
var cmafAudio = []string{"ac-3", "ec-3", "Opus"}

// check compares what a variant stream says with what was measured.
func (v variantFile) check(video *mediaFile, alternates map[string][]*mediaFile) error {
	peak, average := bitrates(video.measured(), video.target)
	for kind, members := range alternates {
		most, mean := 0, 0
		for _, m := range members {
			p, a := bitrates(m.measured(), m.target)
			most, mean = max(most, p), max(mean, a)
		}
		if kind == "AUDIO" && !v.hasVideo() { // one or the other is played
			most, mean = max(most-peak, 0), max(mean-average, 0)
		}
		peak, average = peak+most, average+mean
	}
	if v.peak < peak || !video.grew && float64(v.peak) > float64(peak)*(1+bandwidthSlack) {
		return fmt.Errorf("BANDWIDTH=%d; measured are %d", v.peak, peak)
	}
	if math.Abs(float64(v.average-average)) > float64(average)*bandwidthSlack {
		return fmt.Errorf("AVERAGE-BANDWIDTH=%d; measured are %d", v.average, average)
	}
	modern := strings.HasPrefix(v.codecs[0], "hvc1.") || strings.HasPrefix(v.codecs[0], "av01.")
	known := modern || strings.HasPrefix(v.codecs[0], "avc1.")
	sound := v.codecs
	if v.hasVideo() {
		sound = v.codecs[1:]
	} else {
		known = true
	}
	for _, codec := range sound {
		known = known && isAudioCodec(codec) && (video.init != "" || !slices.Contains(cmafAudio, codec))
	}
	if !known || v.hasVideo() && (v.groups["AUDIO"] != "") != (len(sound) > 0) {
		return fmt.Errorf("CODECS=%q; want avc1, hvc1 or av01, and mp4a with audio", v.codecs)
	}
	if modern && video.init == "" {
		return errors.New("H.265 or AV1 in MPEG-TS; want CMAF")
	}
	return nil
}
