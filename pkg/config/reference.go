package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Reference returns docs/configuration.md: what Example says, as Markdown,
// with the values that each key accepts.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	c := Default()
	section := "none yet"
	for _, k := range keys(&c) {
		if k.section != section {
			section = k.section
			b.WriteString("\n## " + sectionTitle(section) + "\n")
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n", k.path(), k.doc)
		fmt.Fprintf(&b, "- Default: `%s`\n%s\n", k.value.text(), fold("- Accepts: "+k.value.want(), maxLine))
	}
	return b.String()
}

const referenceHead = `# Configuration reference

This page lists every setting of pibootd's configuration file, with its default and the values that it accepts. It is
generated from the table in pkg/config/keys.go by ` + "`go test ./pkg/config -update`" + `; do not edit it.

The file is TOML, and every key is optional. ` + "`pibootd serve --config FILE`" + ` reads it; the systemd unit reads
` + "`/etc/pibootd.toml`" + `.

- ` + "`pibootd config example`" + ` prints a file with all keys and their defaults, explained.
- ` + "`pibootd config check FILE`" + ` lists everything that is wrong with a file.

pibootd does not start with a wrong value or an unknown key. It reports all of them at once, each with its line.
`

// maxLine is in letters, as in all of the documentation.
const maxLine = 120

// fold breaks a list's item into lines of at most width letters.
func fold(item string, width int) string {
	var b strings.Builder
	used := 0
	for _, word := range strings.Fields(item) {
		n := utf8.RuneCountInString(word)
		switch {
		case used == 0:
		case used+1+n > width:
			b.WriteString("\n  ")
			used = 2
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String()
}

func sectionTitle(section string) string {
	if section == "" {
		return "Without a section"
	}
	return "`[" + section + "]`"
}
