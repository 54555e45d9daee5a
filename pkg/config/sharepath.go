package config

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// sharePath is a directory in the media share.
type sharePath struct{ to *string }

// publicDirs are the directories of the share that pibootd puts things into.
var publicDirs = []string{"hls", "mp4", "mkv", "originals"}

const maxSharePath = 200 // bytes

func (v sharePath) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || s == "" {
		*v.to = ""
		return ok
	}
	first, _, _ := strings.Cut(s, "/")
	hidden := strings.HasPrefix(s, ".") || strings.Contains(s, "/.") || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
	if !fs.ValidPath(s) || hidden || len(s) > maxSharePath || slices.Contains(publicDirs, first) {
		return false
	}
	*v.to = s
	return true
}

func (v sharePath) want() string {
	return `a directory in the media share, e.g. "inbox", without hidden parts and not in ` + strings.Join(publicDirs, ", ") + `, or ""`
}
func (v sharePath) text() string { return quote(*v.to) }
