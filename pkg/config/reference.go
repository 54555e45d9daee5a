package config

import (
	"fmt"
	"strings"
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
		fmt.Fprintf(&b, "- Default: `%s`\n- Accepts: %s\n", k.value.text(), k.value.want())
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

func sectionTitle(section string) string {
	if section == "" {
		return "Without a section"
	}
	return "`[" + section + "]`"
}
