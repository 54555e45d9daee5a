package bootconfig

import (
	"slices"
	"strconv"
	"strings"
)

// A filters is the state of config.txt's conditional filters. A filter replaces the previous one
// of its kind, filters of different kinds must all match, and [all] resets them.
type filters struct {
	board Board

	model, serial, other bool
}

func (f *filters) reset()     { f.model, f.serial, f.other = true, true, true }
func (f *filters) pass() bool { return f.model && f.serial && f.other }

func (f *filters) read(entry string) {
	name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]"))
	boardType, isType := strings.CutPrefix(name, "board-type=")
	switch {
	case name == "all":
		f.reset()
	case strings.HasPrefix(name, "hdmi:"): // selects the port of settings, matches on every board
	case strings.HasPrefix(name, "0x"):
		serial, err := strconv.ParseUint(name[2:], 16, 64)
		f.serial = err == nil && uint32(serial) == uint32(f.board.Serial)
	case isType:
		number, err := strconv.ParseUint(boardType, 0, 64)
		f.model = err == nil && number == f.board.Model.facts().boardType
	case isModel(name):
		f.model = slices.Contains(f.board.Model.facts().filters, name)
	case name == "tryboot":
		f.other = f.board.TryBoot
	default:
		// [none], [EDID=…], [gpioN=…] and those of other ways to boot do not match: there is no
		// monitor, no partition, and nothing is known to be wired.
		f.other = false
	}
}

func isModel(name string) bool { return strings.HasPrefix(name, "pi") || strings.HasPrefix(name, "cm") }
