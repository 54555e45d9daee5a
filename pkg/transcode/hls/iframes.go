package hls

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/transcode"
)

// iframesName is the file name of the playlists of key frames alone, which players show
// while they seek (RFC 8216bis §4.4.3.6).
const iframesName = "iframes.m3u8"

// hasIFrames reports whether the key frames of a list can be fetched by themselves. Those of
// AES-128 are widened to whole blocks by players before they are decrypted (RFC 8216bis §6.3.6):
// their ranges are those of the segments before encryption. Each is at the beginning of a
// segment, so that it has the segment's number, and so its IV.
func hasIFrames(o transcode.Output, t *transcode.SegmentList) bool {
	unknown := func(s transcode.Segment) bool { return s.KeyBytes == 0 }
	return !o.NoPictures && !slices.ContainsFunc(t.Segments, unknown)
}

// iframesOf returns the key frames of a list as if they were its segments.
func iframesOf(t *transcode.SegmentList) []transcode.Segment {
	frames := slices.Clone(t.Segments)
	for i := range frames {
		frames[i].SizeBytes = frames[i].KeyBytes
	}
	return frames
}

// iframesPlaylist writes the playlist of a list's key frames.
func iframesPlaylist(o transcode.Output, dir string, t *transcode.SegmentList, target int, sealed Sealed) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:0\n", version(o), target)
	b.WriteString("#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-I-FRAMES-ONLY\n")
	if t.Init != nil {
		fmt.Fprintf(&b, "#EXT-X-MAP:URI=%s\n", quoted(o.URI(dir, path.Join(dir, t.Init.Name))))
	}
	for i, s := range t.Segments {
		b.WriteString(sealed.keyBefore(o, dir, t, i))
		fmt.Fprintf(&b, "#EXTINF:%.6f,\n#EXT-X-BYTERANGE:%d@0\n%s\n", extinf(s.Seconds), s.KeyBytes, o.URI(dir, path.Join(dir, o.File(s.Name))))
	}
	b.WriteString("#EXT-X-ENDLIST\n")
	return b.Bytes()
}

// writeIFrames writes the EXT-X-I-FRAME-STREAM-INF of each rendition.
func writeIFrames(b *bytes.Buffer, p transcode.Plan, tracks map[string]*transcode.SegmentList, target int) {
	for _, r := range p.Renditions {
		if !hasIFrames(p.Output, tracks[r.Name]) {
			continue
		}
		peak, average := bitrates(iframesOf(tracks[r.Name]), target)
		ranged := ""
		if name := videoRange(p, r); name != "" {
			ranged = ",VIDEO-RANGE=" + name
		}
		fmt.Fprintf(b, "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d,CODECS=%s,RESOLUTION=%dx%d%s,URI=%s\n",
			peak, average, quoted(tracks[r.Name].Codecs), r.Width, r.Height, ranged, quoted(p.Output.URI(".", path.Join(p.Output.Place(r.Name), iframesName))))
	}
}

// checkIFrames reads an EXT-X-I-FRAME-STREAM-INF, and its playlist.
func checkIFrames(fsys fs.FS, value string, n transcode.Naming) error {
	a, err := attributes(value)
	if err != nil {
		return err
	}
	peak, err := strconv.Atoi(a["BANDWIDTH"])
	if err != nil || !fs.ValidPath(a["URI"]) || a["CODECS"] == "" || strings.Contains(a["CODECS"], ",") || a["RESOLUTION"] == "" {
		return fmt.Errorf("EXT-X-I-FRAME-STREAM-INF:%.200s; want BANDWIDTH, one codec, RESOLUTION and URI", value)
	}
	segments, target, err := readIFrames(fsys, a["URI"], n)
	if err != nil {
		return fmt.Errorf("%s: %w", a["URI"], err)
	}
	measured, _ := bitrates(segments, target)
	if peak < measured || float64(peak) > float64(measured)*(1+bandwidthSlack) {
		return fmt.Errorf("%s: BANDWIDTH=%d; measured are %d", a["URI"], peak, measured)
	}
	return nil
}

// readIFrames reads a playlist of key frames: RFC 8216bis §4.4.3.6.
func readIFrames(fsys fs.FS, uri string, n transcode.Naming) (list []transcode.Segment, target int, err error) {
	lines, err := namedLines(fsys, uri, n)
	if err != nil {
		return nil, 0, err
	}
	keys := mediaFile{uri: uri, naming: n}
	only, pending := false, transcode.Segment{}
	for _, line := range lines {
		tag, value, _ := strings.Cut(line, ":")
		switch {
		case tag == "#EXT-X-I-FRAMES-ONLY":
			only = true
		case tag == "#EXT-X-TARGETDURATION":
			target, err = strconv.Atoi(value)
		case tag == "#EXT-X-MAP":
			err = keys.parseMap(fsys, value)
		case tag == "#EXT-X-KEY":
			err = keys.parseKey(fsys, value)
		case tag == "#EXTINF":
			pending.Seconds, err = strconv.ParseFloat(strings.TrimSuffix(value, ","), 64)
		case tag == "#EXT-X-BYTERANGE":
			pending.SizeBytes, err = strconv.ParseInt(strings.TrimSuffix(value, "@0"), 10, 64)
		case !strings.HasPrefix(line, "#"):
			if err = checkIFrame(fsys, path.Join(path.Dir(uri), line), pending, target); err == nil {
				keys.segments = append(keys.segments, mediaSegment{uri: line})
				list, pending = append(list, pending), transcode.Segment{}
			}
		}
		if err != nil {
			return nil, 0, err
		}
	}
	if !only || len(list) == 0 {
		return nil, 0, errors.New("no EXT-X-I-FRAMES-ONLY, or no key frames")
	}
	return list, target, nil
}

func checkIFrame(fsys fs.FS, name string, s transcode.Segment, target int) error {
	size, err := sizeOf(fsys, name)
	if err != nil {
		return err
	}
	if s.SizeBytes <= 0 || s.SizeBytes > size || !(s.Seconds > 0) || math.Round(s.Seconds) > float64(target) {
		return fmt.Errorf("%s: %d bytes for %v s; want 1 to %d, and no more than the target duration %d", name, s.SizeBytes, s.Seconds, size, target)
	}
	return nil
}
