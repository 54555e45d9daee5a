package config

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"pibootd/pkg/share"
)

// sharePath is a directory in the media share.
type sharePath struct{ to *string }

const maxSharePath = 200 // bytes

func (v sharePath) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || s == "" {
		*v.to = ""
		return ok
	}
	first, _, _ := strings.Cut(s, "/")
	hidden := strings.HasPrefix(s, ".") || strings.Contains(s, "/.") || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
	if !fs.ValidPath(s) || hidden || len(s) > maxSharePath || slices.Contains(share.PublishedDirs(), first) {
		return false
	}
	*v.to = s
	return true
}

func (v sharePath) want() string {
	return `a directory in the media share, e.g. "inbox", without hidden parts and not in ` + strings.Join(share.PublishedDirs(), ", ") + `, or ""`
}
func (v sharePath) text() string { return quote(*v.to) }
