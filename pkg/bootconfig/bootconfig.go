// Package bootconfig reads config.txt as a Raspberry Pi's firmware does: with its conditional
// filters, included files and prefixes. It says which files a board would load.
//
// The rules are those of the maker's documentation (config.txt, "Boot options" and "Conditional
// filters"), and for the defaults of a model those of captures, see docs/boot.md.
package bootconfig

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/pi"
)

// Names of files of a boot directory.
const (
	File         = "config.txt"
	TryBootFile  = "tryboot.txt"  // read in place of File after reboot '0 tryboot'
	AutoBootFile = "autoboot.txt" // chooses a partition, before File is read
	RamdiskFile  = "boot.img"     // holds all other files with boot_ramdisk=1
	cmdlineFile  = "cmdline.txt"
)

const (
	// MaxBytes is how much of a file is read.
	MaxBytes = 64 << 10
	// maxLine is how much of a line the firmware reads, in bytes.
	maxLine = 98
	// maxFiles limits how many files one config.txt can include, and so their depth.
	maxFiles = 32
	// maxOverlays and maxInitramfs limit how many files one config.txt can make a board request.
	maxOverlays  = 32
	maxInitramfs = 8
)

// A Board is what the filters match.
type Board struct {
	Model   Model
	Serial  pi.Serial // 0 matches no filter by serial number
	TryBoot bool      // it was restarted by reboot '0 tryboot'
}

// A Config holds the settings that choose files to load.
type Config struct {
	Kernel        string // "": the model's
	Cmdline       string
	DeviceTree    string // "": the model's
	OSPrefix      string // before the names of kernel, cmdline, initramfs, device trees and overlays
	OverlayPrefix string
	Initramfs     []string
	AutoInitramfs bool
	Upstream      bool // upstream_kernel=1
	Arm64         Bits
	Overlays      []string
	StartFile     string // start_file=
	FixupFile     string
	Variant       string // of start and fixup file: "", "x", "db" or "cd"
	BootRamdisk   bool   // everything is loaded from RamdiskFile

	model       Model
	osPrefixSet bool
}

// Bits is what arm_64bit says.
type Bits string

// The values of arm_64bit.
const (
	Unset  Bits = ""
	Only64 Bits = "64"
	Only32 Bits = "32"
)

// An Include returns the text of a file that an include line names, relative to the boot
// directory. The firmware ignores one that does not exist.
type Include func(name string) ([]byte, error)

// Read reads text, the content of config.txt, as the firmware of board does. include may be nil:
// then nothing is included. Read returns no error, because the firmware ignores what it does not
// know.
func Read(board Board, text []byte, include Include) Config {
	c := Config{Cmdline: cmdlineFile, OverlayPrefix: "overlays/", model: board.Model}
	f := filters{board: board}
	f.reset()
	w := walker{include: include}
	w.walk(text, 0, func(entry string, included bool) bool {
		if entry[0] == '[' {
			f.read(entry)
		} else if f.pass() {
			c.set(entry, included)
		}
		return f.pass()
	})
	if c.Upstream && !c.osPrefixSet {
		c.OSPrefix = "upstream/"
	}
	return c
}

// Values returns all values that text, and what it includes, gives to key, whatever the filters
// say, in order.
func Values(text []byte, key string, include Include) []string {
	var found []string
	w := walker{include: include}
	w.walk(text, 0, func(entry string, _ bool) bool {
		if name, value := split(entry); name == key && !slices.Contains(found, value) {
			found = append(found, value)
		}
		return true
	})
	return found
}

// Disable comments out the lines that give key a value, and reports whether there were any.
func Disable(text []byte, key, why string) ([]byte, bool) {
	var out bytes.Buffer
	found := false
	for line := range bytes.Lines(text) {
		if name, _ := split(trimmed(line)); name == key {
			out.WriteString("# " + why + ": ")
			found = true
		}
		out.Write(line)
	}
	return out.Bytes(), found
}

// A walker visits the lines of a file and of those it includes.
type walker struct {
	include Include
	files   int
}

// walk calls visit with each entry that is no comment. An include line is followed if visit
// returns true for it. The lines of an included file stand in its place, so filters stay in force.
func (w *walker) walk(text []byte, depth int, visit func(entry string, included bool) (follow bool)) {
	text = text[:min(len(text), MaxBytes)]
	for line := range bytes.Lines(text) {
		entry := trimmed(line)
		if entry == "" || entry[0] == '#' || !visit(entry, depth > 0) {
			continue
		}
		if fields := strings.Fields(entry); fields[0] == "include" && len(fields) == 2 {
			w.follow(fields[1], depth+1, visit)
		}
	}
}

func (w *walker) follow(name string, depth int, visit func(string, bool) bool) {
	if w.include == nil || w.files == maxFiles {
		return
	}
	w.files++
	if text, err := w.include(strings.TrimPrefix(name, "/")); err == nil {
		w.walk(text, depth, visit)
	}
}

func trimmed(line []byte) string {
	line, _, _ = bytes.Cut(line, []byte{0}) // no request can contain a name with NUL
	line = bytes.TrimRight(line, "\r\n")
	return string(bytes.TrimSpace(line[:min(len(line), maxLine)]))
}

func split(entry string) (key, value string) {
	key, value, _ = strings.Cut(entry, "=")
	return strings.TrimSpace(key), strings.TrimSpace(value)
}

// set applies a line. bootcode.bin and the bootloader in the EEPROM, which choose the start file,
// do not read included files.
func (c *Config) set(entry string, included bool) {
	if fields := strings.Fields(entry); fields[0] == "initramfs" && len(fields) > 1 {
		c.addInitramfs(fields[1])
		return
	}
	key, value := split(entry)
	if !included {
		c.setStart(key, value)
	}
	switch key {
	case "kernel":
		c.Kernel = value
	case "cmdline":
		c.Cmdline = value
	case "device_tree":
		c.DeviceTree = value
	case "os_prefix":
		c.OSPrefix, c.osPrefixSet = value, true
	case "overlay_prefix":
		c.OverlayPrefix = value
	case "ramfsfile":
		c.addInitramfs(value)
	case "auto_initramfs":
		c.AutoInitramfs = isOn(value)
	case "upstream_kernel":
		c.Upstream = isOn(value)
	case "arm_64bit":
		c.Arm64 = Only32
		if isOn(value) {
			c.Arm64 = Only64
		}
	case "dtoverlay":
		c.addOverlay(value)
	}
}

func (c *Config) setStart(key, value string) {
	variant := map[string]string{"start_x": "x", "start_debug": "db", "gpu_mem": "cd"}[key]
	switch key {
	case "start_file":
		c.StartFile = value
	case "fixup_file":
		c.FixupFile = value
	case "boot_ramdisk":
		c.BootRamdisk = isOn(value)
	case "start_x", "start_debug", "gpu_mem":
		on := isOn(value)
		if key == "gpu_mem" {
			on = value == "16"
		}
		if on {
			c.Variant = variant
		} else if c.Variant == variant {
			c.Variant = ""
		}
	}
}

func isOn(value string) bool {
	n, err := strconv.ParseInt(value, 0, 64)
	return err == nil && n != 0
}

func (c *Config) addInitramfs(names string) {
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && len(c.Initramfs) < maxInitramfs {
			c.Initramfs = append(c.Initramfs, name)
		}
	}
}

// addOverlay records the overlay of dtoverlay=NAME,param=… or NAME:param=…. An empty NAME only
// ends the parameters of the previous overlay.
func (c *Config) addOverlay(value string) {
	if at := strings.IndexAny(value, ",:"); at >= 0 {
		value = value[:at]
	}
	if value != "" && len(c.Overlays) < maxOverlays {
		c.Overlays = append(c.Overlays, value)
	}
}

// CommandLine returns the kernel arguments of a cmdline.txt: its first line that is neither empty
// nor a comment. The firmware takes the first line whatever it is, so a file that begins with
// another one does not boot from a card either.
func CommandLine(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}
