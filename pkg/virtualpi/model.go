//go:build linux

package virtualpi

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
)

// A Model is a board as its maker sells it. The requests of the boot code differ even within a
// generation.
type Model = bootconfig.Model

// The supported models. Those before the Pi 4 have MAC addresses that start with b8:27:eb and
// end like their serial numbers.
const (
	Pi2B     = bootconfig.Pi2B // with bootcode.bin on its SD card, without which it cannot boot from a network
	Pi3B     = bootconfig.Pi3B
	Pi3BPlus = bootconfig.Pi3BPlus
	Pi4B     = bootconfig.Pi4B
	Pi400    = bootconfig.Pi400
	CM4      = bootconfig.CM4
	Pi5      = bootconfig.Pi5
	Pi500    = bootconfig.Pi500
	CM5      = bootconfig.CM5
)

// Models returns the supported models, oldest first.
func Models() []Model { return bootconfig.Models() }

// A profile describes the boot code of one model.
type profile struct {
	generation   pi.Model
	revision     uint32 // of the board; option 97 contains it from the Pi 4 on
	timing       Timing
	xid          dhcpv4.TransactionID // zero means a new one at every power-on
	params       []byte               // option 55
	requests     bool                 // sends REQUEST and waits for ACK
	trustsSource bool                 // uses the OFFER's sender as TFTP server if option 66 is missing
	tftp         options

	rom      []ask    // requested without prefix and without options
	starters []string // the board uses the prefix <serial>/ if one of them exists there
	firmware []ask    // up to config.txt, which names the rest
	load     func(names) []ask
}

// names are the names of the files that a board loads after config.txt, below its prefix.
type names bootconfig.Names

func (b *Board) profile() (profile, error) {
	profiles := map[Model]func() profile{Pi2B: pi2b, Pi3B: pi3b, Pi3BPlus: pi3b, Pi4B: pi4b, Pi400: pi400, CM4: cm4, Pi5: pi5, Pi500: pi500, CM5: cm5}
	of, ok := profiles[b.Model]
	if !ok {
		return profile{}, fmt.Errorf("virtualpi: model %q is not imitated; want one of %q", b.Model, Models())
	}
	m := of()
	m.timing = b.Timing.or(m.timing)
	return m, nil
}

func (t Timing) or(d Timing) Timing {
	return Timing{
		DHCPRetry:   cmp.Or(t.DHCPRetry, d.DHCPRetry),
		DHCPTimeout: cmp.Or(t.DHCPTimeout, d.DHCPTimeout),
		TFTPRetry:   cmp.Or(t.TFTPRetry, d.TFTPRetry),
		FileTimeout: cmp.Or(t.FileTimeout, d.FileTimeout),
	}
}

// An ask is a request for a file. The board uses the first of names that exists.
type ask struct {
	names  []string
	how    manner
	needed bool // the board stops if none of names exists
}

type manner int

const (
	once   manner = iota // transferred
	probed               // size requested, then transferred
	sized                // only size requested
)

func may(how manner, names ...string) ask  { return ask{names: names, how: how} }
func must(how manner, names ...string) ask { return ask{names: names, how: how, needed: true} }

// pi2b returns the profile of a Pi 2B 1.1 with bootcode.bin on its SD card. It sends the
// requests of a Pi 3 except the one for bootcode.bin (documentation, "Boot from the network").
func pi2b() profile {
	m := pi3b()
	m.rom = nil
	m.load = func(n names) []ask { return n.twice("recovery7.img", "armstub7.bin") }
	return m
}

// pi3b returns the profile of a Pi 3B whose mask ROM loads bootcode.bin. The order is that of
// the captures in raspi-netboot's README and raspberrypi/firmware#1605; the position of the
// initramfs is assumed.
func pi3b() profile {
	return profile{
		generation:   pi.Pi3,
		timing:       Timing{DHCPRetry: 5 * time.Second, DHCPTimeout: 25 * time.Second, TFTPRetry: 2 * time.Second, FileTimeout: 30 * time.Second},
		xid:          dhcpv4.TransactionID{0x26, 0xf3, 0x03, 0x39}, // the same on every board
		params:       []byte{43, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135, 66, 1, 3},
		trustsSource: true,
		tftp:         options{tsize: true},
		rom:          []ask{must(once, "bootcode.bin"), may(once, "bootsig.bin")},
		starters:     []string{"start.elf"},
		firmware: []ask{
			may(once, "autoboot.txt"), must(once, configFile), may(sized, "recovery.elf"), must(once, "start.elf"), may(once, "fixup.dat"),
			may(sized, "recovery.elf"), must(probed, configFile), may(once, "dt-blob.bin"),
			may(sized, "recovery.elf"), must(probed, configFile), may(once, "bootcfg.txt"),
		},
		load: func(n names) []ask { return n.twice("recovery8.img", "armstub8.bin") },
	}
}

// pi4b returns the profile of a Pi 4B with its bootloader in EEPROM. The order up to start4.elf
// is that of raspberrypi/rpi-eeprom#74, #87 and #417; the rest is assumed.
func pi4b() profile {
	return profile{
		generation: pi.Pi4,
		revision:   0xc03111, // 4 GB, 1.1
		timing:     Timing{DHCPRetry: 4 * time.Second, DHCPTimeout: 45 * time.Second, TFTPRetry: 2 * time.Second, FileTimeout: 30 * time.Second},
		params:     []byte{1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135},
		requests:   true,
		tftp:       options{tsize: true, blksize: 1024},
		starters:   []string{"start4.elf", "start.elf"},
		firmware: []ask{
			must(once, configFile), may(once, "vl805.sig"), may(once, "pieeprom.sig"), may(sized, "recover4.elf"), may(sized, "recovery.elf"),
			must(once, "start4.elf"), may(once, "fixup4.dat"), must(once, configFile),
		},
		load: func(n names) []ask { return n.inOrder(may(once, "armstub8-gic.bin")) },
	}
}

// pi400 returns the profile of a Pi 400 with a bootloader of 2022-10-03 or later, which requests
// larger blocks.
func pi400() profile {
	m := pi4b()
	m.revision = 0xc03130
	m.tftp.blksize = 1468
	return m
}

// cm4 returns the profile of a Compute Module 4 on its IO board. It has no USB controller of its
// own, so it requests no firmware for one.
func cm4() profile {
	m := pi400()
	m.revision = 0xc03140 // 4 GB
	m.firmware = slices.DeleteFunc(m.firmware, func(a ask) bool { return a.names[0] == "vl805.sig" })
	return m
}

// pi5 returns the profile of a Pi 5. Its firmware is in the EEPROM, so it loads no start file,
// but it probes for one to choose the prefix. No capture shows all its requests, so their order
// is partly assumed.
func pi5() profile {
	m := pi4b()
	m.generation, m.revision = pi.Pi5, 0xc04170 // 4 GB, 1.0
	m.tftp.blksize = 1468
	m.firmware = []ask{must(once, configFile), may(once, "pieeprom.sig")}
	m.load = func(n names) []ask { return n.inOrder() }
	return m
}

// pi500 returns the profile of a Pi 500, which is a Pi 5 to its boot code.
func pi500() profile {
	m := pi5()
	m.revision = 0xd04190 // 8 GB
	return m
}

// cm5 returns the profile of a Compute Module 5, which is a Pi 5 to its boot code, too.
func cm5() profile {
	m := pi5()
	m.revision = 0xc04180 // 4 GB
	return m
}

// twice returns the requests that start.elf of a Pi 2 or 3 sends. For most files it requests the
// size first.
func (n names) twice(recovery, stub string) []ask {
	asks := []ask{must(probed, n.DeviceTrees...), may(probed, n.OverlayMap), must(probed, configFile)}
	for _, overlay := range n.Overlays {
		asks = append(asks, may(probed, overlay))
	}
	asks = append(asks, must(probed, n.Cmdline), may(sized, recovery), must(sized, n.Kernel), may(once, stub))
	asks = append(asks, n.askInitramfs(probed)...)
	return append(asks, must(probed, n.Kernel))
}

// inOrder returns the requests that the firmware of a Pi 4 or 5 sends, with last just before the
// kernel.
func (n names) inOrder(last ...ask) []ask {
	asks := []ask{must(once, n.Cmdline)}
	asks = append(asks, n.askInitramfs(once)...)
	asks = append(asks, must(once, n.DeviceTrees...), may(once, n.OverlayMap))
	for _, overlay := range n.Overlays {
		asks = append(asks, may(once, overlay))
	}
	asks = append(asks, last...)
	return append(asks, must(once, n.Kernel))
}

func (n names) askInitramfs(how manner) []ask {
	var asks []ask
	for _, name := range n.Initramfs {
		asks = append(asks, ask{names: []string{name}, how: how, needed: !n.InitramfsOptional})
	}
	return asks
}
