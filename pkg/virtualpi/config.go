//go:build linux

package virtualpi

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/pi"
)

const (
	configFile = "config.txt"

	// maxConfigLine is how much of a line of config.txt the firmware reads, in bytes.
	maxConfigLine = 98
	// maxOverlays and maxInitramfs limit how many files one config.txt can make a board request.
	maxOverlays  = 32
	maxInitramfs = 8
)

// A config holds the settings of config.txt that choose files to load.
type config struct {
	kernel        string
	cmdline       string
	deviceTree    string
	osPrefix      string
	osPrefixSet   bool
	overlayPrefix string
	initramfs     []string
	autoInitramfs bool
	upstream      bool
	only32        bool // arm_64bit=0
	overlays      []string
}

// parseConfig reads config.txt as the firmware of the given model and serial number does. It
// returns no error, because the firmware ignores what it does not know.
func parseConfig(text []byte, m profile, serial pi.Serial) config {
	c := config{cmdline: "cmdline.txt", overlayPrefix: "overlays/"}
	f := filters{profile: m, serial: serial}
	f.reset()
	for line := range bytes.Lines(text) {
		entry := configEntry(line)
		switch {
		case entry == "" || entry[0] == '#':
		case entry[0] == '[':
			f.read(entry)
		case f.pass():
			c.set(entry)
		}
	}
	if c.upstream && !c.osPrefixSet {
		c.osPrefix = "upstream/"
	}
	return c
}

func configEntry(line []byte) string {
	line, _, _ = bytes.Cut(line, []byte{0}) // no request can contain a name with NUL
	line = bytes.TrimRight(line, "\r\n")
	if len(line) > maxConfigLine {
		line = line[:maxConfigLine]
	}
	return string(bytes.TrimSpace(line))
}

func (c *config) set(entry string) {
	if fields := strings.Fields(entry); fields[0] == "initramfs" && len(fields) > 1 {
		c.addInitramfs(fields[1])
		return
	}
	key, value, _ := strings.Cut(entry, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch key {
	case "kernel":
		c.kernel = value
	case "cmdline":
		c.cmdline = value
	case "device_tree":
		c.deviceTree = value
	case "os_prefix":
		c.osPrefix, c.osPrefixSet = value, true
	case "overlay_prefix":
		c.overlayPrefix = value
	case "ramfsfile":
		c.addInitramfs(value)
	case "auto_initramfs":
		c.autoInitramfs = isSet(value)
	case "upstream_kernel":
		c.upstream = isSet(value)
	case "arm_64bit":
		c.only32 = !isSet(value)
	case "dtoverlay":
		c.addOverlay(value)
	}
}

func isSet(value string) bool {
	n, err := strconv.ParseInt(value, 0, 64)
	return err == nil && n != 0
}

func (c *config) addInitramfs(names string) {
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && len(c.initramfs) < maxInitramfs {
			c.initramfs = append(c.initramfs, name)
		}
	}
}

// addOverlay records the overlay of dtoverlay=NAME,param=… or NAME:param=…. An empty NAME only
// ends the parameters of the previous overlay.
func (c *config) addOverlay(value string) {
	if at := strings.IndexAny(value, ",:"); at >= 0 {
		value = value[:at]
	}
	if value != "" && len(c.overlays) < maxOverlays {
		c.overlays = append(c.overlays, value)
	}
}

// filters is the state of config.txt's conditional filters. A filter replaces the previous one
// of its kind, filters of different kinds must all match, and [all] resets them.
type filters struct {
	profile profile
	serial  pi.Serial

	model, board, other bool
}

func (f *filters) reset()     { f.model, f.board, f.other = true, true, true }
func (f *filters) pass() bool { return f.model && f.board && f.other }

func (f *filters) read(entry string) {
	name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]"))
	value, isType := strings.CutPrefix(name, "board-type=")
	switch {
	case name == "all":
		f.reset()
	case strings.HasPrefix(name, "hdmi:"): // selects the port of settings, matches on every board
	case strings.HasPrefix(name, "0x"):
		serial, err := strconv.ParseUint(name[2:], 16, 64)
		f.board = err == nil && uint32(serial) == uint32(f.serial)
	case isType:
		number, err := strconv.ParseUint(value, 0, 64)
		f.model = err == nil && number == f.profile.boardType
	case strings.HasPrefix(name, "pi") || strings.HasPrefix(name, "cm"):
		f.model = slices.Contains(f.profile.filters, name)
	default:
		// [none], [tryboot], [EDID=…] and [gpioN=…] do not match: there is no monitor, no GPIO
		// is connected, and this is the first boot.
		f.other = false
	}
}

// names are the names of the files that a board loads after config.txt, below the board's
// prefix.
type names struct {
	kernel            string
	cmdline           string
	dtbs              []string // in order of preference
	overlayMap        string
	overlays          []string
	initramfs         []string // concatenated to one in this order
	initramfsOptional bool
}

// names applies c to the model's default files. osPrefix and overlayPrefix are the prefixes that
// findNames has chosen by probing for files below those of c.
func (c config) names(m profile, kernel, osPrefix, overlayPrefix string) names {
	n := names{
		kernel:     withPrefix(osPrefix, kernel),
		cmdline:    withPrefix(osPrefix, c.cmdline),
		overlayMap: overlayPrefix + "overlay_map.dtb",
	}
	for _, name := range c.dtbs(m) {
		n.dtbs = append(n.dtbs, withPrefix(osPrefix, name))
	}
	for _, name := range c.overlays {
		n.overlays = append(n.overlays, overlayPrefix+name+".dtbo")
	}
	initramfs := c.initramfs
	if len(initramfs) == 0 && c.autoInitramfs {
		initramfs, n.initramfsOptional = autoInitramfs(kernel), true
	}
	for _, name := range initramfs {
		n.initramfs = append(n.initramfs, withPrefix(osPrefix, name))
	}
	return n
}

func (c config) dtbs(m profile) []string {
	switch {
	case c.deviceTree != "":
		return []string{c.deviceTree}
	case c.upstream && m.upstreamDTB != m.dtb:
		return []string{m.upstreamDTB, m.dtb}
	}
	return []string{m.dtb}
}

func (c config) kernels(m profile) []string {
	switch {
	case c.kernel != "":
		return []string{c.kernel}
	case c.only32 && len(m.kernels32) > 0:
		return m.kernels32
	}
	return m.kernels
}

// autoInitramfs returns the initramfs that belongs to a kernel by its name alone: initramfs8 to
// kernel8.img, initramfs_2712 to kernel_2712.img.
func autoInitramfs(kernel string) []string {
	dir, base := "", kernel
	if at := strings.LastIndexByte(kernel, '/'); at >= 0 {
		dir, base = kernel[:at+1], kernel[at+1:]
	}
	suffix, ok := strings.CutPrefix(strings.TrimSuffix(base, ".img"), "kernel")
	if !ok {
		return nil
	}
	return []string{dir + "initramfs" + suffix}
}

// withPrefix prepends os_prefix to name. A name that starts with a slash is relative to the top
// of the boot directory.
func withPrefix(prefix, name string) string {
	if top, ok := strings.CutPrefix(name, "/"); ok {
		return top
	}
	return prefix + name
}

// kernelCmdline returns the command line that the firmware makes from cmdline.txt: its first
// line, with serial0 replaced by the name of the board's first serial port, which is ttyAMA0 on
// QEMU's machine.
func kernelCmdline(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return strings.ReplaceAll(strings.TrimSpace(string(line)), "console=serial0", "console=ttyAMA0")
}
