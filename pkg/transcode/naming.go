package transcode

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Naming is how the files of a published stream are called, and where it lies. The
// zero Naming is the layout at MasterName.
type Naming struct {
	Dir          string `json:"dir,omitempty"`           // in the media share; "" means that of the format
	PlaylistName string `json:"playlist_name,omitempty"` // of the master playlist, without .m3u8; "" means master
	SegmentName  string `json:"segment_name,omitempty"`  // what a segment's name begins with
	SegmentDir   string `json:"segment_dir,omitempty"`   // of the renditions' directories within the stream
	URLPrefix    string `json:"url_prefix,omitempty"`    // of all paths in playlists
	KeyName      string `json:"key_name,omitempty"`      // "" means KeyName
	KeyEvery     int    `json:"key_every,omitempty"`     // segments that share a key; 0: all
}

// originalsDir is where originals are moved to.
const originalsDir = "originals"

const (
	maxDirBytes = 500
	maxKeyEvery = 1_000_000
)

func (n Naming) check(o Output) error {
	if n.Dir != "" && !n.validDir() {
		return wrong("dir", "directory %.100q; want a path in the media share outside %s, %s and what begins with a dot", n.Dir, MuxerDir, originalsDir)
	}
	if o.IsFile() {
		if n.Dir = ""; n != (Naming{}) {
			return wrong("", "names of playlists, segments or keys for an %s file; want them with hls only", o.Format)
		}
		return nil
	}
	for _, name := range []struct{ field, text string }{
		{"playlist_name", n.PlaylistName}, {"segment_name", n.SegmentName}, {"segment_dir", n.SegmentDir}, {"key_name", n.KeyName},
	} {
		if name.text != "" && !validPart(name.text) {
			return wrong(name.field, "name %.100q; want letters, digits, dots, dashes and underscores", name.text)
		}
	}
	if (n.KeyName != "" || n.KeyEvery != 0) && !o.Encrypted {
		return wrong("encrypted", "a key's name, or keys that change, without encryption; want both or neither")
	}
	if n.KeyEvery < 0 || n.KeyEvery > maxKeyEvery {
		return wrong("key_every", "another key after every %d segments; want 1 to %d, or 0 for one key", n.KeyEvery, maxKeyEvery)
	}
	return checkPrefix(n.URLPrefix)
}

// validPart reports whether a name can stand in a playlist and name a file on its
// own, as it is.
func validPart(name string) bool {
	return len(name) <= maxName/2 && !strings.HasPrefix(name, ".") &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

func (n Naming) validDir() bool {
	parts := strings.Split(n.Dir, "/")
	return len(n.Dir) <= maxDirBytes && fs.ValidPath(n.Dir) && parts[0] != MuxerDir && parts[0] != originalsDir &&
		!slices.ContainsFunc(parts, func(part string) bool { return !validName(part) })
}

// checkPrefix accepts what can stand before a path in a playlist.
func checkPrefix(prefix string) error {
	_, err := url.Parse(prefix)
	bad := strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f || r == '\\' || r == '#' || r == '?' })
	if len(prefix) > maxKeyURI || err != nil || bad || prefix != "" && !strings.HasSuffix(prefix, "/") {
		return wrong("url_prefix", "prefix %.100q; want the beginning of a URL or a path, with a slash at its end", prefix)
	}
	return nil
}

// Master returns the name of the master playlist.
func (n Naming) Master() string {
	if n.PlaylistName == "" {
		return MasterName
	}
	return n.PlaylistName + ".m3u8"
}

// Place returns the directory of a rendition within the stream.
func (n Naming) Place(dir string) string { return path.Join(n.SegmentDir, dir) }

// File returns the published name of a file that a unit has made.
func (n Naming) File(name string) string {
	if n.SegmentName == "" || name == InitName {
		return name
	}
	return n.SegmentName + "_" + name
}

// URI returns how a playlist in the directory from, within the stream, names a file
// of the stream.
func (n Naming) URI(from, file string) string {
	if n.URLPrefix != "" {
		return n.URLPrefix + file
	}
	rel, err := filepath.Rel(from, file)
	if err != nil {
		return file
	}
	return rel
}

// Path returns the file of the stream that a playlist in the directory from means by
// a URI; "" if it means none.
func (n Naming) Path(from, uri string) string {
	file, ok := strings.CutPrefix(uri, n.URLPrefix)
	if n.URLPrefix == "" {
		file = path.Join(from, uri)
	}
	if !ok || !fs.ValidPath(file) {
		return ""
	}
	return file
}

// Key returns the name of the key of a segment.
func (n Naming) Key(segment int) string {
	name := cmp.Or(n.KeyName, KeyName)
	if n.KeyEvery == 0 {
		return name
	}
	ext := path.Ext(name)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), segment/n.KeyEvery, ext)
}
