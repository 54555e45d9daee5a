package web

import (
	"regexp"
	"slices"
	"strings"
)

// A redactor removes secrets from text that is shown to others.
type redactor struct{ replacer *strings.Replacer }

const redacted = "[removed]"

// minSecret is the length from which a text is a secret wherever it stands. Shorter ones
// would be found in everything.
const minSecret = 6

// newRedactor removes these secrets, and what looks like one.
func newRedactor(secrets []string) redactor {
	var pairs []string
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // one may begin with another
	for _, secret := range secrets {
		if len(secret) >= minSecret {
			pairs = append(pairs, secret, redacted)
		}
	}
	return redactor{strings.NewReplacer(pairs...)}
}

// named matches a value whose name says that it is secret, in the forms of shells, URLs, JSON,
// TOML and config.txt, in which a Pi's licence keys stand. Names of files with secrets do not
// match.
var named = regexp.MustCompile(`(?i)((?:passw(?:or)?d|passphrase|secret|token|psk|api[_-]?key|private[_-]?key|wep[_-]?key[0-9]?|decode_[a-z0-9]+|credential)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&}]+)`)

// inURL matches the login in a URL.
var inURL = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^/@\s"]+@`)

// bearer matches what HTTP clients log of their logins.
var bearer = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[a-z0-9+/=._~-]{8,}`)

// privateKey matches a key in PEM.
var privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)

func (r redactor) clean(text string) string {
	text = r.replacer.Replace(text)
	text = privateKey.ReplaceAllString(text, redacted)
	text = named.ReplaceAllString(text, "${1}"+redacted)
	text = inURL.ReplaceAllString(text, "${1}"+redacted+"@")
	return bearer.ReplaceAllString(text, "${1} "+redacted)
}
