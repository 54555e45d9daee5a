package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A value reads one key's value into the Config it is bound to.
type value interface {
	// read takes the value from the file and reports whether it is what want
	// says.
	read(*unstable.Node) bool
	want() string
	// text returns what it is bound to as numbers, strings and lists of
	// strings stand in TOML and in JSON.
	text() string
}

// stringOf returns the string that n is.
func stringOf(n *unstable.Node) (string, bool) {
	return string(n.Data), n.Kind == unstable.String
}

// stringsOf returns the strings that n is a list of; nil if the list is empty.
func stringsOf(n *unstable.Node) ([]string, bool) {
	if n.Kind != unstable.Array {
		return nil, false
	}
	var list []string
	for it := n.Children(); it.Next(); {
		s, ok := stringOf(it.Node())
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}

// quote returns s as a string that TOML and JSON read alike.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

const maxPort = 65535

func port(to *int) number {
	return number{to, 1, maxPort, fmt.Sprintf("a port, 1 to %d", maxPort)}
}

func portOrNone(to *int) number {
	return number{to, 0, maxPort, fmt.Sprintf("a port, 1 to %d, or 0 for none", maxPort)}
}

type number struct {
	to       *int
	min, max int
	accepts  string
}

func (v number) read(n *unstable.Node) bool {
	if n.Kind != unstable.Integer {
		return false
	}
	got, err := strconv.ParseInt(string(n.Data), 0, 32) // TOML's prefixes and underscores are Go's
	if err != nil || int(got) < v.min || int(got) > v.max {
		return false
	}
	*v.to = int(got)
	return true
}

func (v number) want() string { return v.accepts }
func (v number) text() string { return strconv.Itoa(*v.to) }

type yesNo struct{ to *bool }

func (v yesNo) read(n *unstable.Node) bool {
	if n.Kind != unstable.Bool {
		return false
	}
	*v.to = string(n.Data) == "true"
	return true
}

func (v yesNo) want() string { return "true or false" }
func (v yesNo) text() string { return strconv.FormatBool(*v.to) }

type link struct{ to *string }

// maxLinkName is Linux's IFNAMSIZ less the closing NUL.
const maxLinkName = 15

func (v link) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || len(s) > maxLinkName || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '/' || r >= 0x7f }) {
		return false
	}
	*v.to = s
	return true
}

func (v link) want() string {
	return fmt.Sprintf(`the name of a network interface, at most %d letters, e.g. "eth0"`, maxLinkName)
}
func (v link) text() string { return quote(*v.to) }

type path struct {
	to    *string
	empty bool // "" has a meaning
}

func (v path) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || strings.ContainsRune(s, 0) || !filepath.IsAbs(s) && (s != "" || !v.empty) {
		return false
	}
	if s != "" {
		s = filepath.Clean(s)
	}
	*v.to = s
	return true
}

func (v path) want() string { return `an absolute path, e.g. "/srv/pibootd"` }
func (v path) text() string { return quote(*v.to) }

type addresses struct{ to *Range }

func (v addresses) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || s == "" {
		*v.to = Range{}
		return ok
	}
	got, err := parseRange(s)
	*v.to = got
	return err == nil
}

func (v addresses) want() string {
	return `two IPv4 addresses, the lower one first, e.g. "192.168.1.200-192.168.1.230"`
}
func (v addresses) text() string { return quote(v.to.String()) }

type span struct {
	to       *time.Duration
	min, max time.Duration
}

// A board asks again after half the time; under two minutes that is a load
// without a use.
const (
	minLease = 2 * time.Minute
	maxLease = 365 * 24 * time.Hour
	maxKeep  = 10 * 365 * 24 * time.Hour
)

func (v span) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	got, err := time.ParseDuration(s)
	if !ok || err != nil || got < v.min || got > v.max {
		return false
	}
	*v.to = got
	return true
}

func (v span) want() string {
	return fmt.Sprintf("a time from %s to %s, e.g. \"90s\" or \"12h\"", quoteSpan(v.min), quoteSpan(v.max))
}

func (v span) text() string { return quoteSpan(*v.to) }

// quoteSpan leaves out the zero minutes and seconds that String writes.
func quoteSpan(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return quote(s)
}

type host struct{ to *netip.Addr }

func (v host) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || s == "" {
		*v.to = netip.Addr{}
		return ok
	}
	got, err := netip.ParseAddr(s)
	*v.to = got
	return err == nil && isHost(got)
}

func (v host) want() string { return `an IPv4 address, e.g. "192.168.1.1", or ""` }

func (v host) text() string {
	if !v.to.IsValid() {
		return `""`
	}
	return quote(v.to.String())
}

type hosts struct{ to *[]netip.Addr }

// maxHosts is how many addresses fit into one DHCP option (RFC 2132 §2).
const maxHosts = 255 / 4

func (v hosts) read(n *unstable.Node) bool {
	list, ok := stringsOf(n)
	if !ok || len(list) > maxHosts {
		return false
	}
	var got []netip.Addr
	for _, s := range list {
		addr, err := netip.ParseAddr(s)
		if err != nil || !isHost(addr) {
			return false
		}
		got = append(got, addr)
	}
	*v.to = got
	return true
}

func (v hosts) want() string { return `a list of IPv4 addresses, e.g. ["192.168.1.1"]` }

func (v hosts) text() string {
	var list []string
	for _, addr := range *v.to {
		list = append(list, addr.String())
	}
	return quoteList(list)
}

type domain struct{ to *string }

// maxDomain and maxLabel are of RFC 1035 §2.3.4.
const (
	maxDomain = 253
	maxLabel  = 63
)

func (v domain) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || len(s) > maxDomain || s != "" && slices.ContainsFunc(strings.Split(s, "."), notLabel) {
		return false
	}
	*v.to = s
	return true
}

// notLabel reports whether s cannot be a part of a host name (RFC 1123 §2.1).
func notLabel(s string) bool {
	letters := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' || strings.Trim(s, letters) != ""
}

func (v domain) want() string { return `a domain name, e.g. "home.arpa", or ""` }
func (v domain) text() string { return quote(*v.to) }

type names struct{ to *[]string }

const maxNames = 100

func (v names) read(n *unstable.Node) bool {
	list, ok := stringsOf(n)
	if !ok || len(list) > maxNames || slices.ContainsFunc(list, notHostName) {
		return false
	}
	*v.to = list
	return true
}

// notHostName reports whether s cannot be the name of a host in a URL. There, and
// in DNS, an underscore is possible.
func notHostName(s string) bool {
	return len(s) > maxDomain || slices.ContainsFunc(strings.Split(strings.ReplaceAll(s, "_", "a"), "."), notLabel)
}

func (v names) want() string {
	return `a list of host names without ports, e.g. ["nas.example.org"]`
}
func (v names) text() string { return quoteList(*v.to) }

type level struct{ to *slog.Level }

func (v level) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if ok && s == strings.ToLower(l.String()) {
			*v.to = l
			return true
		}
	}
	return false
}

func (v level) want() string { return `"debug", "info", "warn" or "error"` }
func (v level) text() string { return quote(strings.ToLower(v.to.String())) }

// A choice is one of a few words.
type choice[T ~string] struct {
	to  *T
	all []T
}

func (v choice[T]) read(n *unstable.Node) bool {
	s, ok := stringOf(n)
	if !ok || !slices.Contains(v.all, T(s)) {
		return false
	}
	*v.to = T(s)
	return true
}

func (v choice[T]) want() string {
	var b strings.Builder
	for i, one := range v.all {
		switch {
		case i > 0 && i == len(v.all)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(quote(string(one)))
	}
	return b.String()
}

func (v choice[T]) text() string { return quote(string(*v.to)) }
