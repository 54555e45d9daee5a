package registry

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Limits of a board's lines for config.txt.
const (
	maxConfigLine  = 98 // bytes; the firmware ignores the rest of a line
	maxConfigLines = 64
)

// configLine matches a setting of config.txt: a name, which can select a display,
// and a value on the same line.
var configLine = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*(:[0-9])?=[!-~]([ -~]*[!-~])?$`)

// ownConfig has the settings of config.txt that pibootd generates, with the reason,
// or with what to use instead.
var ownConfig = map[string]string{
	"gpu_mem":      "use --gpu-mem",
	"gpu_mem_256":  "use --gpu-mem",
	"gpu_mem_512":  "use --gpu-mem",
	"gpu_mem_1024": "use --gpu-mem",
	"cmdline":      "it names the file with the kernel arguments, which pibootd makes; use --arg",
	"os_prefix":    "it names the directory of the kernel and its arguments; put it into the config.txt of the board's root",
}

// CheckConfigLine verifies that a line adds exactly one setting to a config.txt,
// and none that pibootd generates.
func CheckConfigLine(line string) error {
	key := configKey(line)
	hint, own := ownConfig[strings.ToLower(key)]
	switch {
	case len(line) > maxConfigLine:
		return fmt.Errorf("config.txt line %.20q... has %d bytes; want at most %d, as the firmware does", line, len(line), maxConfigLine)
	case !configLine.MatchString(line):
		return fmt.Errorf("config.txt line %q; want key=value of printable ASCII, e.g. decode_MPG2=0x12345678", line)
	case own:
		return fmt.Errorf("config.txt setting %s is pibootd's own: %s", key, hint)
	}
	return nil
}

func configKey(line string) string {
	key, _, _ := strings.Cut(line, "=")
	return key
}

// MergeConfig returns the lines of a config.txt after changes, each of the form
// key=value. The new lines for a key replace all its old lines, so that dtoverlay
// can occur several times. A change without a value removes the lines of its key.
func MergeConfig(lines, changes []string) []string {
	changed := func(line string) bool {
		return slices.ContainsFunc(changes, func(c string) bool { return configKey(c) == configKey(line) })
	}
	merged := slices.DeleteFunc(slices.Clone(lines), changed)
	for _, change := range changes {
		if change != configKey(change)+"=" {
			merged = append(merged, change)
		}
	}
	return merged
}
