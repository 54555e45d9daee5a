package web

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pibootd/pkg/share"
)

// Published is a stream or file of the media share that can be played.
type Published struct {
	Path       string      `json:"path"` // what a player opens, in the media share
	Name       string      `json:"name"`
	Kind       string      `json:"kind"` // hls, mp4 or mkv
	Bytes      int64       `json:"bytes"`
	Modified   time.Time   `json:"modified"`
	Seconds    float64     `json:"seconds,omitzero"`     // 0: unknown
	Poster     string      `json:"poster,omitempty"`     // path in the media share
	Storyboard string      `json:"storyboard,omitempty"` // path of its WebVTT
	Renditions []Rendition `json:"renditions,omitempty"` // of a stream, as its playlist has them
	Audio      []string    `json:"audio,omitempty"`      // names of its audio tracks
	Subtitles  []string    `json:"subtitles,omitempty"`
}

// A Rendition is a variant stream of a master playlist.
type Rendition struct {
	Width  int    `json:"width,omitzero"` // 0: of sound alone
	Height int    `json:"height,omitzero"`
	BPS    int    `json:"bps"`
	Codecs string `json:"codecs,omitempty"`
}

// Limits of what is looked at.
const (
	maxPublished = 2000
	maxPlaylist  = 4 << 20 // bytes
)

// mediaDirs are the directories that streams and files are published in by default.
var mediaDirs = []string{"hls", "mp4", "mkv"}

// A publisher lists what is published. It looks at each thing once, until that
// changes.
type publisher struct {
	dir string

	mu    sync.Mutex
	known map[string]Published // by path
}

// list returns what is published, the newest first. outputs are the paths of outputs
// that may be in other directories.
func (p *publisher) list(outputs []string) ([]Published, error) {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries := slices.Concat(findPublished(root), outputs)
	slices.Sort(entries)
	p.mu.Lock()
	defer p.mu.Unlock()
	found := map[string]Published{}
	for _, entry := range slices.Compact(entries) {
		if one, err := p.describeLocked(root, entry); err == nil {
			found[entry] = one
		}
	}
	p.known = found
	all := make([]Published, 0, len(found))
	for _, one := range found {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Published) int { return b.Modified.Compare(a.Modified) })
	return all[:min(len(all), maxPublished)], nil
}

// findPublished returns what can be played in the usual directories.
func findPublished(root *os.Root) (entries []string) {
	for _, dir := range mediaDirs {
		names, err := fs.ReadDir(root.FS(), dir)
		if err != nil {
			continue // nothing was published there
		}
		for _, name := range names {
			place := path.Join(dir, name.Name())
			switch {
			case isHidden(place):
			case name.IsDir():
				playlists, err := fs.Glob(root.FS(), globQuoted(place)+"/*.m3u8")
				if err == nil && len(playlists) > 0 {
					entries = append(entries, playlists[0])
				}
			case isFile(place):
				entries = append(entries, place)
			}
		}
	}
	return entries
}

// globQuoted returns name as a pattern that matches only it.
func globQuoted(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

func isFile(name string) bool { return path.Ext(name) == ".mp4" || path.Ext(name) == ".mkv" }

func (p *publisher) describeLocked(root *os.Root, entry string) (Published, error) {
	file, info, err := share.OpenRegular(root, entry)
	if err != nil {
		return Published{}, err
	}
	defer file.Close()
	if known, ok := p.known[entry]; ok && known.Modified.Equal(info.ModTime()) {
		return known, nil
	}
	one := Published{Path: entry, Modified: info.ModTime()}
	if isFile(entry) {
		one.Kind, one.Bytes = strings.TrimPrefix(path.Ext(entry), "."), info.Size()
		one.Name = strings.TrimSuffix(path.Base(entry), path.Ext(entry))
		return one, nil
	}
	dir := path.Dir(entry)
	one.Kind, one.Name, one.Bytes = "hls", path.Base(dir), diskUse(root, dir)
	one.Poster = existing(root, path.Join(dir, "poster.jpg"))
	one.Storyboard = existing(root, path.Join(dir, "storyboard/index.vtt"))
	return one, one.readMaster(root, dir, file)
}

func existing(root *os.Root, name string) string {
	if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return name
}

// diskUse returns the bytes of all files of a stream.
func diskUse(root *os.Root, dir string) (bytes int64) {
	_ = fs.WalkDir(root.FS(), dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // it is being removed
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}

// readMaster reads the renditions and tracks of a master playlist, and the length
// from the first playlist that it names.
func (p *Published) readMaster(root *os.Root, dir string, master io.Reader) error {
	first := ""
	err := eachLine(master, func(line string) {
		tag, rest, _ := strings.Cut(line, ":")
		switch {
		case tag == "#EXT-X-STREAM-INF":
			p.addRendition(attributes(rest))
		case tag == "#EXT-X-MEDIA":
			p.addTrack(attributes(rest))
		case line != "" && line[0] != '#' && first == "":
			first = line
		}
	})
	if err != nil || first == "" {
		return err
	}
	name := path.Join(dir, first)
	if isHidden(name) || !fs.ValidPath(name) {
		return nil // it is somewhere else, below url_prefix
	}
	file, _, err := share.OpenRegular(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return eachLine(file, func(line string) {
		if length, ok := strings.CutPrefix(line, "#EXTINF:"); ok {
			length, _, _ = strings.Cut(length, ",")
			seconds, _ := strconv.ParseFloat(length, 64)
			p.Seconds += seconds
		}
	})
}

func (p *Published) addRendition(of map[string]string) {
	var r Rendition
	r.BPS, _ = strconv.Atoi(of["BANDWIDTH"])
	width, height, _ := strings.Cut(of["RESOLUTION"], "x")
	r.Width, _ = strconv.Atoi(width)
	r.Height, _ = strconv.Atoi(height)
	r.Codecs = of["CODECS"]
	p.Renditions = append(p.Renditions, r)
}

func (p *Published) addTrack(of map[string]string) {
	switch of["TYPE"] {
	case "AUDIO":
		if !slices.Contains(p.Audio, of["NAME"]) {
			p.Audio = append(p.Audio, of["NAME"])
		}
	case "SUBTITLES":
		p.Subtitles = append(p.Subtitles, of["NAME"])
	}
}

func eachLine(r io.Reader, do func(line string)) error {
	lines := bufio.NewScanner(io.LimitReader(r, maxPlaylist))
	for lines.Scan() {
		do(strings.TrimSpace(lines.Text()))
	}
	return lines.Err()
}

// attributes reads an attribute list (RFC 8216 §4.2): NAME=VALUE, separated by
// commas, which may stand in quoted values too.
func attributes(list string) map[string]string {
	of := map[string]string{}
	for list != "" {
		name, rest, found := strings.Cut(list, "=")
		if !found {
			break
		}
		var value string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			value, rest, _ = strings.Cut(quoted, `"`)
			_, list, _ = strings.Cut(rest, ",")
		} else {
			value, list, _ = strings.Cut(rest, ",")
		}
		of[strings.TrimSpace(name)] = value
	}
	return of
}
