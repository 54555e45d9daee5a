package bootconfig

import (
	"slices"

	"pibootd/pkg/pi"
)

// A Model is a board as its maker sells it. Filters of config.txt and default file names differ
// even within a generation.
type Model string

// The models that can boot from a network.
const (
	Pi2B     Model = "2B"
	Pi3B     Model = "3B"
	Pi3BPlus Model = "3B+"
	Pi4B     Model = "4B"
	Pi400    Model = "400"
	CM4      Model = "CM4"
	Pi5      Model = "5"
	Pi500    Model = "500"
	CM5      Model = "CM5"
)

// Models returns all models, oldest first.
func Models() []Model {
	return []Model{Pi2B, Pi3B, Pi3BPlus, Pi4B, Pi400, CM4, Pi5, Pi500, CM5}
}

// ModelsAt returns the models that a board with this Ethernet address can be: those up to the
// 3B+ have a range of their own.
func ModelsAt(mac pi.MAC) []Model {
	old := mac[0] == 0xb8 && mac[1] == 0x27 && mac[2] == 0xeb
	return slices.DeleteFunc(Models(), func(m Model) bool { return (m.Generation() == pi.Pi3) != old })
}

// ModelsOf returns the models of a generation.
func ModelsOf(generation pi.Model) []Model {
	return slices.DeleteFunc(Models(), func(m Model) bool { return m.Generation() != generation })
}

// ModelOf returns the model of a generation whose boards have this revision code, of which bits 4 to
// 11 are the type of the board; "" if it is none of them.
func ModelOf(generation pi.Model, revision uint32) Model {
	for _, model := range ModelsOf(generation) {
		if uint64(revision>>4&0xff) == model.facts().boardType {
			return model
		}
	}
	return ""
}

// Generation returns the generation whose boot code the model has.
func (m Model) Generation() pi.Model { return m.facts().generation }

// facts are what the firmware of a model does where config.txt leaves it the choice.
type facts struct {
	generation  pi.Model
	bootCode    string   // loaded by the ROM before all else; "" if it is in the EEPROM
	firmware    string   // what the names of start and fixup files have before their variant, "4" on a Pi 4
	inEEPROM    bool     // there is no start file
	kernels     []string // in order of preference
	kernels64   []string // with arm_64bit=1
	kernels32   []string // with arm_64bit=0
	dtbs        []string // in order of preference
	upstreamDTB string   // preferred with upstream_kernel=1
	filters     []string // that match, without brackets
	boardType   uint64   // of the revision code, for [board-type=…]
}

func pi3(dtb, upstream string, boardType uint64, filters ...string) facts {
	return facts{
		generation: pi.Pi3, bootCode: "bootcode.bin",
		kernels: []string{"kernel8.img", "kernel7.img"}, kernels64: []string{"kernel8.img"}, kernels32: []string{"kernel7.img"},
		dtbs: []string{dtb}, upstreamDTB: upstream, filters: filters, boardType: boardType,
	}
}

func pi4(dtb, upstream string, boardType uint64, filters ...string) facts {
	return facts{
		generation: pi.Pi4, firmware: "4",
		kernels: []string{"kernel8.img", "kernel7l.img"}, kernels64: []string{"kernel8.img"}, kernels32: []string{"kernel7l.img"},
		dtbs: []string{dtb}, upstreamDTB: upstream, filters: filters, boardType: boardType,
	}
}

// pi5 has 64-bit kernels whatever arm_64bit says.
func pi5(boardType uint64, filters []string, dtbs ...string) facts {
	kernels := []string{"kernel_2712.img", "kernel8.img"}
	return facts{
		generation: pi.Pi5, inEEPROM: true, kernels: kernels, kernels64: kernels, kernels32: kernels,
		dtbs: dtbs, upstreamDTB: dtbs[0], filters: filters, boardType: boardType,
	}
}

// facts returns those of the model, or none of a model that is not known.
func (m Model) facts() facts {
	switch m {
	case Pi2B:
		f := pi3("bcm2709-rpi-2-b.dtb", "bcm2836-rpi-2-b.dtb", 0x04, "pi2")
		f.kernels, f.kernels64 = f.kernels32, f.kernels32 // the processor of most has 32 bits
		f.dtbs = append(f.dtbs, "bcm2710-rpi-2-b.dtb")    // of the 2B 1.2
		return f
	case Pi3B:
		return pi3("bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb", 0x08, "pi3")
	case Pi3BPlus:
		return pi3("bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b-plus.dtb", 0x0d, "pi3", "pi3+")
	case Pi4B:
		return pi4("bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-b.dtb", 0x11, "pi4")
	case Pi400:
		return pi4("bcm2711-rpi-400.dtb", "bcm2711-rpi-400.dtb", 0x13, "pi4", "pi400")
	case CM4:
		return pi4("bcm2711-rpi-cm4.dtb", "bcm2711-rpi-cm4-io.dtb", 0x14, "pi4", "cm4")
	case Pi5: // later ones have another stepping of the chip
		return pi5(0x17, []string{"pi5"}, "bcm2712-rpi-5-b.dtb", "bcm2712d0-rpi-5-b.dtb")
	case Pi500:
		return pi5(0x19, []string{"pi5", "pi500"}, "bcm2712-rpi-500.dtb", "bcm2712d0-rpi-500.dtb")
	case CM5:
		return pi5(0x18, []string{"pi5", "cm5"}, "bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5-cm4io.dtb")
	}
	return facts{}
}
