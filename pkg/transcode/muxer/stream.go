package muxer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// errBadStream reports that what a muxer has made cannot be played.
var errBadStream = errors.New("the stream is not whole")

// Limits of a muxer's stream.
const (
	maxEntries   = 100_000 // files in its directory
	maxPlaylists = 64
	maxPlaylist  = 16 << 20 // bytes
	maxLine      = 4096     // bytes
	// lengthSlack is how far apart the lengths of variant streams may be.
	lengthSlack = 2.0 // seconds
	tsPacket    = 188 // bytes; ISO/IEC 13818-1 §2.4.3.2
	tsSync      = 0x47
)

// checkStream says what keeps a muxer's stream from being played: playlists that
// are cut off, segments that are missing or empty, variant streams of unequal
// length. It returns the playlist that players open. The rest of what Apple
// asks is not asked of muxers, which have never heeded it.
func checkStream(dir fs.FS) (entry string, err error) {
	masters, media, err := playlists(dir)
	if err != nil {
		return "", err
	}
	switch {
	case len(masters) > 1 || len(masters) == 0 && len(media) != 1:
		return "", fmt.Errorf("%w: %d master and %d media playlists; want one master, or one media playlist", errBadStream, len(masters), len(media))
	case len(masters) == 0:
		if err := checkMedia(dir, media[0]); err != nil {
			return "", err
		}
		return media[0].name, nil
	}
	seconds := -1.0
	for _, uri := range masters[0].uris {
		m, err := readPlaylist(dir, uri)
		if err == nil && m.master {
			err = fmt.Errorf("%w: %s is in %s and a master playlist itself", errBadStream, uri, masters[0].name)
		}
		if err == nil {
			err = checkMedia(dir, m)
		}
		if err != nil {
			return "", err
		}
		if seconds >= 0 && math.Abs(m.seconds-seconds) > lengthSlack {
			return "", fmt.Errorf("%w: %s is %.1f s long, others are %.1f s", errBadStream, uri, m.seconds, seconds)
		}
		seconds = m.seconds
	}
	return masters[0].name, nil
}

// A playlist is what matters of one.
type playlist struct {
	name    string
	master  bool
	ended   bool // EXT-X-ENDLIST
	uris    []string
	seconds float64
}

// playlists reads those in a directory.
func playlists(dir fs.FS) (masters, media []playlist, err error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, nil, fmt.Errorf("%w: listing it: %w", errBadStream, err)
	}
	if len(entries) > maxEntries {
		return nil, nil, fmt.Errorf("%w: %d files; want %d at most", errBadStream, len(entries), maxEntries)
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".m3u8" {
			continue
		}
		if len(masters)+len(media) >= maxPlaylists {
			return nil, nil, fmt.Errorf("%w: more than %d playlists", errBadStream, maxPlaylists)
		}
		p, err := readPlaylist(dir, e.Name())
		if err != nil {
			return nil, nil, err
		}
		if p.master {
			masters = append(masters, p)
		} else {
			media = append(media, p)
		}
	}
	return masters, media, nil
}

// readPlaylist reads a playlist of this directory.
func readPlaylist(dir fs.FS, name string) (playlist, error) {
	p := playlist{name: name}
	file, size, err := openFile(dir, name)
	if err != nil {
		return p, err
	}
	defer file.Close()
	if size > maxPlaylist {
		return p, fmt.Errorf("%w: %s has %d bytes; want %d at most", errBadStream, name, size, maxPlaylist)
	}
	lines := bufio.NewScanner(io.LimitReader(file, maxPlaylist))
	lines.Buffer(nil, maxLine)
	if !lines.Scan() || strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff")) != "#EXTM3U" {
		return p, fmt.Errorf("%w: %s does not begin with #EXTM3U", errBadStream, name)
	}
	for lines.Scan() {
		if err := p.parse(strings.TrimSpace(lines.Text())); err != nil {
			return p, err
		}
	}
	if err := lines.Err(); err != nil {
		return p, fmt.Errorf("%w: reading %s: %w", errBadStream, name, err)
	}
	return p, nil
}

// parse reads one line.
func (p *playlist) parse(line string) error {
	switch tag, value, _ := strings.Cut(line, ":"); {
	case line == "":
	case tag == "#EXT-X-STREAM-INF":
		p.master = true
	case tag == "#EXT-X-ENDLIST":
		p.ended = true
	case tag == "#EXTINF":
		text, _, _ := strings.Cut(value, ",")
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds >= 0 && seconds < 86400) {
			return fmt.Errorf("%w: %s: EXTINF of %.40q", errBadStream, p.name, text)
		}
		p.seconds += seconds
	case strings.HasPrefix(line, "#"):
	default:
		name, err := url.PathUnescape(line)
		if err != nil || !fs.ValidPath(name) || strings.Contains(name, "/") {
			return fmt.Errorf("%w: %s names %.100q; want files beside it", errBadStream, p.name, line)
		}
		p.uris = append(p.uris, name)
	}
	return nil
}

// checkMedia makes sure that a media playlist is whole and its segments are there.
func checkMedia(dir fs.FS, p playlist) error {
	switch {
	case !p.ended:
		return fmt.Errorf("%w: %s has no EXT-X-ENDLIST: its encoder did not end", errBadStream, p.name)
	case len(p.uris) == 0:
		return fmt.Errorf("%w: %s has no segments", errBadStream, p.name)
	}
	for _, name := range p.uris {
		if err := checkSegment(dir, name); err != nil {
			return err
		}
	}
	return nil
}

func checkSegment(dir fs.FS, name string) error {
	file, size, err := openFile(dir, name)
	if err != nil {
		return err
	}
	defer file.Close()
	if path.Ext(name) != ".ts" {
		return nil
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(file, first); err != nil || first[0] != tsSync || size%tsPacket != 0 {
		return fmt.Errorf("%w: %s, %d bytes, is not made of transport stream packets", errBadStream, name, size)
	}
	return nil
}

// openFile opens a regular file that is not empty.
func openFile(dir fs.FS, name string) (fs.File, int64, error) {
	// Looked at before it is opened: opening a named pipe could last for ever.
	info, err := fs.Stat(dir, name)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errBadStream, err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, 0, fmt.Errorf("%w: %s is %v with %d bytes; want a file with something in it", errBadStream, name, info.Mode(), info.Size())
	}
	file, err := dir.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errBadStream, err)
	}
	return file, info.Size(), nil
}
