package doctor

import (
	"fmt"
	"strings"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// bootFiles examines what a board would be served: whether its generated files can
// be made, and whether it finds beside them what it loads.
func (d *Doctor) bootFiles(board registry.Pi) []Finding {
	load, err := d.Fleet.Policy.Loads(board)
	ramdisk := false
	if err == nil {
		ramdisk, err = d.Fleet.Policy.TakesRamdisk(board)
	}
	if err == nil {
		_, err = d.Fleet.BootFiles(board)
	}
	if err != nil {
		return []Finding{{Subject: board.Name, Level: Problem, Text: "its boot files cannot be made: " + err.Error(), Todo: "put its boot directory right, or remove the board and add it again"}}
	}
	return append(judgeBoot(board, load, ramdisk), d.checkRoot(board)...)
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
	if line, lacks, err := d.Fleet.Roots.LacksBootMount(board.Serial); err == nil && lacks {
		found = append(found, lacksBootMount(board, line))
	}
	if network, ok := d.Fleet.Policy.Server.Network(board.IP); ok {
		if file, command, err := d.Fleet.Roots.AsksForAddress(board.Serial, network.DNS); err == nil && file != "" {
			found = append(found, asksForAddress(board, file, command))
		}
	}
	return found
}

// asksForAddress offers what roots of older imports lack where their kernel arguments have the
// address: that nothing asks for another one.
func asksForAddress(board registry.Pi, file, command string) Finding {
	return Finding{
		Subject: board.Name, Level: Warning, Text: fmt.Sprintf("its root asks any DHCP server for a second address, by /%s; with that of another server its name servers and routes come from there", file),
		Todo: "run on it as root, then restart it: " + command,
	}
}

// lacksBootMount offers what roots of older imports lack. The board changes its own root, where a
// mount helps at once too.
func lacksBootMount(board registry.Pi, line string) Finding {
	dir := strings.Fields(line)[0]
	return Finding{
		Subject: board.Name, Level: Warning, Text: "its packages cannot upgrade kernel and firmware, because nothing is mounted on " + dir,
		Todo: fmt.Sprintf("run on it as root: echo '%s' >>/etc/fstab; mount %s", line, dir),
	}
}

// judgeBoot reports whether boot code finds what it loads.
func judgeBoot(board registry.Pi, load bootconfig.Load, ramdisk bool) []Finding {
	if board.Arch == pi.AMD64 { // an emulated board
		return nil
	}
	var found []Finding
	add := func(level Level, text, todo string) {
		found = append(found, Finding{Subject: board.Name, Level: level, Text: text, Todo: todo})
	}
	if ramdisk {
		add(Problem, "its config.txt sets boot_ramdisk=1, so it takes all boot files from boot.img, whose cmdline.txt does not name its root",
			"unpack boot.img into its boot directory and take the line out of config.txt, or import the system as a template, which does both")
		return found
	}
	const todo = "clone it from a template that is for this model (pibootd template list, remove-pi, add-pi), or put the file into its boot directory"
	for _, need := range load.Missing {
		if need.What == "boot code" { // it can be on a card
			add(Warning, "its boot directory has no "+quoted(need.Files)+", without which it boots only if that is on an SD card in it", todo)
			continue
		}
		add(Problem, "its boot directory has no "+need.What+" that it would load, of "+quoted(need.Files), todo)
	}
	if board.Arch == pi.ARM64 && len(load.Missing) == 0 && bootconfig.Is32Bit(load.Names.Kernel) {
		add(Problem, fmt.Sprintf("it would load %.64q, a 32-bit kernel, which cannot start the programs of its 64-bit root", load.Names.Kernel), todo)
	}
	return found
}

func quoted(names []string) string {
	var out []string
	for _, name := range names {
		out = append(out, fmt.Sprintf("%.64q", name))
	}
	return strings.Join(out, ", ")
}
