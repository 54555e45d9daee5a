package config

import (
	"net/url"

	"github.com/pelletier/go-toml/v2/unstable"
)

// webURL is where something is posted.
type webURL struct{ to *string }

const maxWebURL = 1000 // bytes

func (v webURL) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || s == "" {
		*v.to = ""
		return ok
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > maxWebURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return false
	}
	*v.to = s
	return true
}

func (v webURL) want() string { return `a URL, e.g. "https://cms.example/hooks/video", or ""` }
func (v webURL) text() string { return quote(*v.to) }
