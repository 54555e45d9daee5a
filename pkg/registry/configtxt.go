package registry

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Limits of what a board can be given for its config.txt.
const (
	maxConfigLine  = 98 // bytes; the firmware leaves out what is beyond
	maxConfigLines = 64
)

// configLine is a setting of config.txt: a name, which may say of which display
// it is, and a value on the same line.
var configLine = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*(:[0-9])?=[!-~]([ -~]*[!-~])?$`)

// ownConfig are the settings of config.txt that pibootd makes itself, and why,
// or what else does what is wanted.
var ownConfig = map[string]string{
	"gpu_mem":      "use --gpu-mem",
	"gpu_mem_256":  "use --gpu-mem",
	"gpu_mem_512":  "use --gpu-mem",
	"gpu_mem_1024": "use --gpu-mem",
	"cmdline":      "it names the file with the kernel arguments, which pibootd makes; use --arg",
	"os_prefix":    "it names the directory of the kernel and its arguments; put it into the config.txt of the board's root",
}

// checkConfigLine reports whether a line can be added to a config.txt without
// becoming more than one setting, and leaves alone what pibootd puts there.
func checkConfigLine(line string) error {
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

// MergeConfig returns the lines of a config.txt after changes, each key=value.
// The lines that name a key take the place of all that had it before, so that
// dtoverlay can stand there several times; one without a value removes them.
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
