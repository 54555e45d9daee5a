package config

import (
	"net/url"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// queueURL is one NATS server, or several of one cluster.
type queueURL struct{ to *string }

const (
	maxQueueURL     = 1000 // bytes
	maxQueueServers = 16
)

func (v queueURL) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || s == "" {
		*v.to = ""
		return ok
	}
	servers := strings.Split(s, ",")
	if len(s) > maxQueueURL || len(servers) > maxQueueServers {
		return false
	}
	for i, server := range servers {
		servers[i] = strings.TrimSpace(server)
		if !isServer(servers[i]) {
			return false
		}
	}
	*v.to = strings.Join(servers, ",")
	return true
}

// isServer reports whether s is the URL of a server and nothing else. Boards get
// this URL, so it must not contain a password.
func isServer(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "nats" || u.Scheme == "tls") && u.Hostname() != "" && *u == url.URL{Scheme: u.Scheme, Host: u.Host}
}

func (v queueURL) want() string {
	return `one URL or several with commas, without a password, e.g. "nats://10.0.0.2:4222", or ""`
}
func (v queueURL) text() string { return quote(*v.to) }
