package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// guardHost accepts only requests that were sent to a name of this machine. A
// stranger's page can have its own name resolve to this machine's address (DNS
// rebinding). Its requests then have the same origin as their target, but they
// carry that name. Nobody can do so with an address, or with a name that DNS does
// not resolve.
func (s *Server) guardHost(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.isOurs(r.Host) {
			h.ServeHTTP(w, r)
			return
		}
		s.Log.Debug("request for another host refused", "component", "web", "addr", r.RemoteAddr, "file", r.URL.Path)
		err := fmt.Errorf("%.300q is no name of this pibootd; if it is reached by that name, put it into http.names of the configuration", r.Host)
		refuseAs(w, s.Log, r, statusError{err, http.StatusMisdirectedRequest})
	})
}

// isOurs reports whether the Host of a request names this machine. A missing Host
// is accepted, because every browser sends one.
func (s *Server) isOurs(host string) bool {
	name := hostName(host)
	if _, err := netip.ParseAddr(name); err == nil || name == "" || name == "localhost" || strings.HasSuffix(name, ".local") {
		return true
	}
	own, _ := os.Hostname() // "" on failure
	own = hostName(own)
	short, _, _ := strings.Cut(own, ".")
	return name == own || name == short || slices.ContainsFunc(s.Names, func(n string) bool { return name == hostName(n) })
}

// hostName returns the name or address in a Host header (RFC 9110 §7.2) in the form
// in which it is compared: without port, brackets and the root's dot, in lower
// case.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
