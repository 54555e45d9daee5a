//go:build netns

package fleet

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/roottest"
)

const (
	forThis     = " Give it a root of a template that is for this model (pibootd reset-pi hlspi1 --to TEMPLATE), or put the file into its boot directory."
	noInitramfs = " and finds no initramfs, initrd.img, which its config.txt names. Put that file into its boot directory, or take the line out of config.txt."
)

// bootFiles boot every model.
var bootFiles = []string{
	"bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "kernel8.img", "initrd.img", "bcm2710-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb",
}

// Whoever adds a board learns what it will not find: what its model needs, and no more.
func TestAddSaysWhatTheModelLacks(t *testing.T) {
	f := openFleet(t, t.TempDir())
	old := pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}
	for model, lacks := range map[pi.Model]map[string]string{ // a file, and what is said without it
		pi.Pi3: {
			"bootcode.bin":        "hlspi1 is a Raspberry Pi 3B and finds no boot code, bootcode.bin." + forThis,
			"start.elf":           "hlspi1 is a Raspberry Pi 3B and finds no firmware, start.elf." + forThis,
			"bcm2710-rpi-3-b.dtb": "hlspi1 is a Raspberry Pi 3B and finds no device tree, bcm2710-rpi-3-b.dtb." + forThis,
			"kernel8.img":         "hlspi1 is a Raspberry Pi 3B and finds no kernel, kernel8.img." + forThis,
			"initrd.img":          "hlspi1 is a Raspberry Pi 3B" + noInitramfs,
		},
		pi.Pi4: {
			"start4.elf":          "hlspi1 is a Raspberry Pi 4B and finds no firmware, start4.elf." + forThis,
			"kernel8.img":         "hlspi1 is a Raspberry Pi 4B and finds no kernel, kernel8.img." + forThis,
			"bcm2711-rpi-4-b.dtb": "hlspi1 is a Raspberry Pi 4B and finds no device tree, bcm2711-rpi-4-b.dtb." + forThis,
			"initrd.img":          "hlspi1 is a Raspberry Pi 4B" + noInitramfs,
		},
		pi.Pi5: {
			"bcm2712-rpi-5-b.dtb": "hlspi1 is a Raspberry Pi 5 and finds no device tree, bcm2712-rpi-5-b.dtb or bcm2712d0-rpi-5-b.dtb." + forThis,
			"kernel8.img":         "hlspi1 is a Raspberry Pi 5 and finds no kernel, kernel_2712.img." + forThis,
			"initrd.img":          "hlspi1 is a Raspberry Pi 5" + noInitramfs,
		},
	} {
		t.Run(string(model), func(t *testing.T) {
			mac := old
			if model != pi.Pi3 {
				mac = pi.MAC{0xdc, 0xa6, 0x32, 0x33, 0x34, 0x7a}
			}
			heard := registry.Discovered{MAC: mac, Serial: 0x3333347a, Model: model}
			if err := f.Registry.Discover(t.Context(), heard); err != nil {
				t.Fatal(err)
			}
			added := add(t, f, Request{MAC: mac, Serial: 0x3333347a, Name: "hlspi1", IP: netip.MustParseAddr("10.9.0.192"), Template: importWithout(t, f, "whole")})
			if len(added.Lacks) > 0 {
				t.Errorf("with all files it lacks %q; want nothing", added.Lacks)
			}
			for _, name := range bootFiles {
				file := filepath.Join(f.Roots.Path(added.Pi.Serial), "boot/firmware", name)
				if err := os.Rename(file, file+"-"); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(f.lacks(added.Pi, bootconfig.ModelsOf(model)), "\n"); got != lacks[name] {
					t.Errorf("without %s = %q; want %q", name, got, lacks[name])
				}
				if err := os.Rename(file+"-", file); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := f.Remove(t.Context(), "hlspi1", false); err != nil {
				t.Fatal(err)
			}
		})
	}
	added := add(t, f, Request{MAC: old, Serial: 0x3333347a, Name: "hlspi1", Template: importWithout(t, f, "start.elf")})
	if got, want := strings.Join(added.Lacks, "\n"), "hlspi1 is a Raspberry Pi 3B and finds no firmware, start.elf."+forThis; got != want {
		t.Errorf("added from a template without start.elf it lacks %q; want %q", got, want)
	}
}

// importWithout imports a template that boots every model but for one file, and returns its name.
func importWithout(t *testing.T, f *Fleet, without string) string {
	t.Helper()
	root := roottest.Spec{
		"sbin/init": string(roottest.ARM64Program()), "bin/sh": string(roottest.ARM64Program()), "etc/os-release": "PRETTY_NAME=Tiny\n",
		"boot/firmware/config.txt": "initramfs initrd.img followkernel\n", "boot/firmware/cmdline.txt": "quiet\n",
	}
	for _, name := range bootFiles {
		if name != without {
			root["boot/firmware/"+name] = "x"
		}
	}
	source := t.TempDir()
	root.Make(t, source)
	name := "without-" + strings.ReplaceAll(without, ".", "-")
	if _, _, err := f.Templates.Import(t.Context(), name, source, rootfs.ImportOptions{AllowMismatch: true}, nil); err != nil {
		t.Fatal(err)
	}
	return name
}
