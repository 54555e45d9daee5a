package doctor

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

func TestJudgeBoot(t *testing.T) {
	three := pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}
	four := pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2}
	const whole3 = "bootcode.bin start.elf bcm2710-rpi-3-b.dtb "
	const whole4 = "start4.elf bcm2711-rpi-4-b.dtb "
	for name, test := range map[string]struct {
		mac    pi.MAC
		arch   pi.Arch
		config string
		files  string
		want   []string // a level and a part of the text
	}{
		"a Pi 3":                 {three, pi.ARM64, "", whole3 + "kernel8.img", nil},
		"a Pi 3 with a card":     {three, pi.ARM64, "", "start.elf bcm2710-rpi-3-b.dtb kernel8.img", []string{`warning no "bootcode.bin"`}},
		"a Pi 4":                 {four, pi.ARM64, "", whole4 + "kernel8.img", nil},
		"a Pi 5":                 {four, pi.ARM64, "", "bcm2712-rpi-5-b.dtb kernel_2712.img", nil},
		"a CM5":                  {four, pi.ARM64, "", "bcm2712-rpi-cm5-cm5io.dtb kernel8.img", nil},
		"32 bit, 64-bit kernel":  {four, pi.ARMv7, "", whole4 + "kernel8.img", nil},
		"32 bit":                 {four, pi.ARMv7, "", whole4 + "kernel7l.img", nil},
		"no Pi":                  {four, pi.AMD64, "", "", nil},
		"64 bit, 32-bit kernel":  {three, pi.ARM64, "", whole3 + "kernel7.img", []string{`problem "kernel7.img", a 32-bit kernel`}},
		"a Pi 4's files on a 3":  {three, pi.ARM64, "", "bootcode.bin bcm2710-rpi-3-b.dtb start4.elf kernel8.img", []string{`problem no firmware that it would load, of "start.elf"`}},
		"no device tree":         {four, pi.ARM64, "", "start4.elf kernel8.img", []string{`problem no device tree that it would load, of "bcm2711-rpi-4-b.dtb"`}},
		"its own kernel":         {three, pi.ARM64, "kernel=vmlinuz\r\ninitramfs initrd.img followkernel\r\n", whole3 + "vmlinuz initrd.img", nil},
		"its own kernel is not":  {three, pi.ARM64, " kernel=vm\x1blinuz\n", whole3 + "kernel8.img", []string{`problem no kernel that it would load, of "vm\x1blinuz"`}},
		"its initramfs is not":   {three, pi.ARM64, "initramfs initrd.img followkernel", whole3 + "kernel8.img", []string{`problem no initramfs that it would load, of "initrd.img"`}},
		"another model's is not": {three, pi.ARM64, "[pi5]\nkernel=k5.img\n", whole3 + "kernel8.img", nil},
		"a comment":              {three, pi.ARM64, "#kernel=none\nkernel=\n", whole3 + "kernel8.img", nil},
		"a directory of one's own": {three, pi.ARM64, "os_prefix=current/\nkernel=vmlinuz\n[tryboot]\nos_prefix=new/\n",
			"bootcode.bin start.elf current/bcm2710-rpi-3-b.dtb current/vmlinuz", nil},
		"by an included file":    {four, pi.ARM64, "include x.txt\n", whole4 + "x.img x.txt", nil},
		"another board's":        {four, pi.ARM64, "[0x10000003]\nkernel=k\n", whole4 + "kernel8.img", nil},
		"everything in one file": {four, pi.ARM64, "[pi4]\nboot_ramdisk=1\n", "boot.img", []string{"problem sets boot_ramdisk=1"}},
		"nothing":                {four, pi.ARMv6, "", "", []string{"problem no device tree", "problem no kernel"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := strings.Fields(test.files)
			dir := bootconfig.Dir{
				Has: func(name string) bool { return slices.Contains(files, name) },
				Text: func(name string) ([]byte, error) {
					switch name {
					case "config.txt":
						return []byte(test.config), nil
					case "x.txt":
						return []byte("kernel=x.img\n"), nil
					}
					return nil, fs.ErrNotExist
				},
			}
			board := registry.Pi{MAC: test.mac, Serial: 0x10000002, Root: registry.Root{Arch: test.arch}}
			models := bootconfig.ModelsAt(board.MAC)
			found := judgeBoot(board, dir.Closest(models, board.Serial), dir.Ramdisk(models, board.Serial))
			if len(found) != len(test.want) {
				t.Fatalf("findings = %+v; want %q", found, test.want)
			}
			for i, f := range found {
				level, text, _ := strings.Cut(test.want[i], " ")
				if string(f.Level) != level || !strings.Contains(f.Text, text) || f.Todo == "" {
					t.Errorf("finding = %+v; want %q", f, test.want[i])
				}
			}
		})
	}
}
