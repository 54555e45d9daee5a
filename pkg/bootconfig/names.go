package bootconfig

import (
	"path"
	"slices"
	"strings"
)

// Names are the names of the files that a board loads, relative to the boot directory.
type Names struct {
	BootCode          string // "" if it is in the EEPROM
	Start             string // "" if it is in the EEPROM
	Fixup             string
	Kernel            string
	Cmdline           string
	DeviceTrees       []string // one of them, in order of preference
	OverlayMap        string
	Overlays          []string
	Initramfs         []string // concatenated to one in this order
	InitramfsOptional bool
}

// A Has reports whether the boot directory has a file of that name. An error ends the choice.
type Has func(name string) (bool, error)

// Names returns what the board would load from a directory: the firmware looks there for what
// config.txt leaves open.
func (c Config) Names(has Has) (Names, error) {
	prefix, err := c.viable(has)
	if err != nil {
		return Names{}, err
	}
	overlays := c.OverlayPrefix
	if prefix != "" {
		own, err := has(prefix + overlays + "README")
		if err != nil {
			return Names{}, err
		}
		if own {
			overlays = prefix + overlays
		}
	}
	kernels := c.kernels()
	kernel, err := firstOf(has, prefix, kernels)
	if err != nil {
		return Names{}, err
	}
	return c.names(kernel, prefix, overlays), nil
}

// firstOf returns the first of names that exists below prefix, and the first of all if none does:
// the board asks for that one and stops. It does not look for an only one.
func firstOf(has Has, prefix string, names []string) (string, error) {
	if len(names) > 1 {
		for _, name := range names {
			there, err := has(WithPrefix(prefix, name))
			if there || err != nil {
				return name, err
			}
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return names[0], nil
}

// viable returns the os_prefix, or "" if there is no kernel or no device tree below it.
func (c Config) viable(has Has) (string, error) {
	if c.OSPrefix == "" {
		return "", nil
	}
	for _, names := range [][]string{c.kernels(), c.deviceTrees()} {
		found := false
		for _, name := range names {
			there, err := has(WithPrefix(c.OSPrefix, name))
			if err != nil {
				return "", err
			}
			if found = there; found {
				break
			}
		}
		if !found {
			return "", nil
		}
	}
	return c.OSPrefix, nil
}

func (c Config) names(kernel, prefix, overlays string) Names {
	n := Names{
		BootCode:   c.model.facts().bootCode,
		Kernel:     WithPrefix(prefix, kernel),
		Cmdline:    WithPrefix(prefix, c.Cmdline),
		OverlayMap: overlays + "overlay_map.dtb",
	}
	n.Start, n.Fixup = c.Start()
	for _, name := range c.deviceTrees() {
		n.DeviceTrees = append(n.DeviceTrees, WithPrefix(prefix, name))
	}
	for _, name := range c.Overlays {
		n.Overlays = append(n.Overlays, overlays+name+".dtbo")
	}
	initramfs := c.Initramfs
	if len(initramfs) == 0 && c.AutoInitramfs {
		initramfs, n.InitramfsOptional = autoInitramfs(kernel), true
	}
	for _, name := range initramfs {
		n.Initramfs = append(n.Initramfs, WithPrefix(prefix, name))
	}
	return n
}

// Start returns the names of the start file and of its second half, "" if both are in the EEPROM.
func (c Config) Start() (start, fixup string) {
	f := c.model.facts()
	if f.inEEPROM {
		return "", ""
	}
	variant := f.firmware + c.Variant
	if c.Variant != "" && f.firmware == "" {
		variant = "_" + c.Variant
	}
	start, fixup = "start"+variant+".elf", "fixup"+variant+".dat"
	if c.StartFile != "" {
		start = c.StartFile
	}
	if c.FixupFile != "" {
		fixup = c.FixupFile
	}
	return start, fixup
}

func (c Config) deviceTrees() []string {
	f := c.model.facts()
	switch {
	case c.DeviceTree != "":
		return []string{c.DeviceTree}
	case c.Upstream && !slices.Contains(f.dtbs, f.upstreamDTB):
		return append([]string{f.upstreamDTB}, f.dtbs...)
	}
	return f.dtbs
}

func (c Config) kernels() []string {
	f := c.model.facts()
	switch {
	case c.Kernel != "":
		return []string{c.Kernel}
	case c.Arm64 == Only32:
		return f.kernels32
	case c.Arm64 == Only64:
		return f.kernels64
	}
	return f.kernels
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

// WithPrefix prepends os_prefix to name. A name that starts with a slash is relative to the top
// of the boot directory.
func WithPrefix(prefix, name string) string {
	if top, ok := strings.CutPrefix(name, "/"); ok {
		return top
	}
	return prefix + name
}

// A Need is a file without which a board does not boot: one of Files.
type Need struct {
	What  string // "kernel"
	Files []string
}

// Needs returns what a board cannot boot without, in the order of asking.
func (n Names) Needs() []Need {
	var needs []Need
	add := func(what string, files ...string) {
		if len(files) > 0 && files[0] != "" {
			needs = append(needs, Need{What: what, Files: files})
		}
	}
	add("boot code", n.BootCode)
	add("firmware", n.Start)
	add("device tree", n.DeviceTrees...)
	add("kernel", n.Kernel)
	for _, name := range n.Initramfs {
		if !n.InitramfsOptional {
			add("initramfs", name)
		}
	}
	return needs
}

// Missing returns the needs that a directory does not meet.
func (n Names) Missing(has func(name string) bool) []Need {
	return slices.DeleteFunc(n.Needs(), func(need Need) bool { return slices.ContainsFunc(need.Files, has) })
}

// Is32Bit reports whether a kernel has one of the names by which the firmware finds those of 32
// bits.
func Is32Bit(kernel string) bool {
	return slices.Contains([]string{"kernel.img", "kernel7.img", "kernel7l.img"}, path.Base(kernel))
}
