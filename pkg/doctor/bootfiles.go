package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// bootFiles examines what a board would be served: whether its generated files can
// be made, and whether firmware and a kernel are beside them.
func (d *Doctor) bootFiles(ctx context.Context, board registry.Pi) []Finding {
	files, err := d.Fleet.BootFiles(board)
	if err != nil {
		return []Finding{{Subject: board.Name, Level: Problem, Text: "its boot files cannot be made: " + err.Error(), Todo: "put its boot directory right, or remove the board and add it again"}}
	}
	served := func(name string) bool {
		file, _, err := d.Fleet.Policy.Open(ctx, board.IP, name)
		return err == nil && file.Close() == nil
	}
	return append(judgeBoot(board, files.Config, served), d.checkRoot(board)...)
}

// checkRoot reports whether the board's kernels and firmware match the rest of its
// root. They do not if an upgrade on the board stopped halfway.
func (d *Doctor) checkRoot(board registry.Pi) []Finding {
	mismatches, err := d.Fleet.Roots.CheckBoot(board.Serial, "")
	if err != nil {
		return []Finding{{Subject: board.Name, Level: Problem, Text: "its root cannot be looked at: " + err.Error(), Todo: "pibootd rollback-pi or reset-pi gives it another root"}}
	}
	var found []Finding
	for _, m := range mismatches {
		found = append(found, Finding{Subject: board.Name, Level: Warning, Text: m.String(), Todo: "finish the upgrade on the board, or pibootd reset-pi " + board.Name})
	}
	return found
}

// judgeBoot reports whether boot code finds what it loads, given its config.txt and
// the files that are served.
func judgeBoot(board registry.Pi, config string, served func(name string) bool) []Finding {
	prefixes := append([]string{""}, settings(config, "os_prefix=")...)
	has := func(name string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return served(prefix + name) })
	}
	var found []Finding
	add := func(level Level, text, todo string) {
		found = append(found, Finding{Subject: board.Name, Level: level, Text: text, Todo: todo})
	}
	named := settings(config, "kernel=")
	for _, name := range append(slices.Clone(named), settings(config, "initramfs ")...) {
		if !has(name) {
			add(Warning, fmt.Sprintf("its config.txt names %.64q, which is not in its boot directory", name), "put it there, or take the line out, unless it is for another model")
		}
	}
	const todo = "clone it from a template that is for this model: pibootd template list, remove-pi, add-pi"
	if kernels := append(named, kernelNames[board.Arch]...); len(kernels) > 0 && !slices.ContainsFunc(kernels, has) {
		add(Problem, "its boot directory has no kernel that it would load, of "+quoted(kernels), todo)
	}
	if firmware := firmwareNames(board); len(firmware) > 0 && !slices.ContainsFunc(firmware, served) {
		add(Problem, "its boot directory has no firmware for it, of "+quoted(firmware), todo)
	}
	return found
}

// kernelNames are the kernels that boot code looks for if config.txt names none. A
// 64-bit kernel can run a 32-bit root, as it does in Raspberry Pi OS.
var kernelNames = map[pi.Arch][]string{
	pi.ARM64: {"kernel8.img", "kernel_2712.img"},
	pi.ARMv7: {"kernel7.img", "kernel7l.img", "kernel8.img", "kernel_2712.img"},
	pi.ARMv6: {"kernel.img", "kernel7.img", "kernel7l.img", "kernel8.img", "kernel_2712.img"},
}

// firmwareNames returns the files of which boot code needs one. Boards up to the
// 3B+ have Ethernet addresses of their own range; later models share theirs. The Pi
// 5 has its firmware in its EEPROM, so its device tree is looked for instead.
func firmwareNames(board registry.Pi) []string {
	switch {
	case board.Arch == pi.AMD64: // an emulated board
		return nil
	case strings.HasPrefix(board.MAC.String(), "b8:27:eb:"):
		return []string{"start.elf", "start_cd.elf", "start_x.elf"}
	}
	return []string{"start4.elf", "start4cd.elf", "start4x.elf", "start.elf", "bcm2712-rpi-5-b.dtb", "bcm2712d0-rpi-5-b.dtb"}
}

// settings returns the values of key in a config.txt, for all models and without
// duplicates.
func settings(config, key string) []string {
	var values []string
	for line := range strings.Lines(config) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), key)
		// initramfs has a second word: the address to load it at.
		if fields := strings.Fields(value); ok && len(fields) > 0 && !slices.Contains(values, fields[0]) {
			values = append(values, fields[0])
		}
	}
	return values
}

func quoted(names []string) string {
	var out []string
	for _, name := range names {
		out = append(out, fmt.Sprintf("%.64q", name))
	}
	return strings.Join(out, ", ")
}
