package hls

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"pibootd/pkg/transcode"
)

// playlistLines returns the lines of a playlist after its first, without empty
// ones.
func playlistLines(fsys fs.FS, name string) ([]string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPlaylistBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(text) > maxPlaylistBytes {
		return nil, fmt.Errorf("more than %d bytes", maxPlaylistBytes)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if lines[0] != "#EXTM3U" {
		return nil, fmt.Errorf("it begins with %.50q; want #EXTM3U", lines[0])
	}
	return slices.DeleteFunc(lines[1:], func(line string) bool { return line == "" }), nil
}

// namedURI matches the URI of a tag.
var namedURI = regexp.MustCompile(`URI="[^"]*"`)

// namedLines returns the lines of a playlist with its URIs as they would be without
// a prefix.
func namedLines(fsys fs.FS, name string, n transcode.Naming) ([]string, error) {
	lines, err := playlistLines(fsys, name)
	if err != nil || n.URLPrefix == "" {
		return lines, err
	}
	dir, local := path.Dir(name), n
	local.URLPrefix = ""
	relative := func(uri string) string {
		if file := n.Path(dir, uri); file != "" {
			return local.URI(dir, file)
		}
		return uri
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, "#") {
			lines[i] = relative(line)
			continue
		}
		lines[i] = namedURI.ReplaceAllStringFunc(line, func(text string) string {
			return `URI="` + relative(text[len(`URI="`):len(text)-1]) + `"`
		})
	}
	return lines, nil
}

// attributes reads an attribute list (RFC 8216 §4.2).
func attributes(text string) (map[string]string, error) {
	list := map[string]string{}
	for rest := text; rest != ""; {
		name, value, ok := strings.Cut(rest, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%.100q is no attribute list", text)
		}
		end := strings.IndexByte(value, ',')
		if strings.HasPrefix(value, `"`) {
			closing := strings.IndexByte(value[1:], '"')
			if closing < 0 {
				return nil, fmt.Errorf("%.100q is no attribute list", text)
			}
			end = closing + 2
			if end == len(value) {
				end = -1
			}
		}
		if end < 0 {
			list[name], rest = strings.Trim(value, `"`), ""
			continue
		}
		if value[end] != ',' {
			return nil, fmt.Errorf("%.100q is no attribute list", text)
		}
		list[name], rest = strings.Trim(value[:end], `"`), value[end+1:]
	}
	return list, nil
}
