package doctor

import (
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

func TestJudgeBoot(t *testing.T) {
	three := pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}
	four := pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2}
	for name, test := range map[string]struct {
		mac    pi.MAC
		arch   pi.Arch
		config string
		files  string
		want   []string // a level and a part of the text
	}{
		"a Pi 3":                   {three, pi.ARM64, "", "bootcode.bin start.elf kernel8.img", nil},
		"a Pi 4":                   {four, pi.ARM64, "", "start4.elf kernel8.img", nil},
		"a Pi 5":                   {four, pi.ARM64, "", "bcm2712-rpi-5-b.dtb kernel_2712.img", nil},
		"32 bit, 64-bit kernel":    {four, pi.ARMv7, "", "start4.elf kernel8.img", nil},
		"no Pi":                    {four, pi.AMD64, "", "", nil},
		"64 bit, 32-bit kernel":    {three, pi.ARM64, "", "start.elf kernel7.img", []string{`problem no kernel that it would load, of "kernel8.img"`}},
		"a Pi 4's files on a 3":    {three, pi.ARM64, "", "start4.elf kernel8.img", []string{`problem no firmware for it, of "start.elf"`}},
		"its own kernel":           {three, pi.ARM64, "kernel=vmlinuz\r\ninitramfs initrd.img followkernel\r\n", "start.elf vmlinuz initrd.img", nil},
		"its own kernel is not":    {three, pi.ARM64, " kernel=vm\x1blinuz\n", "start.elf", []string{`warning names "vm\x1blinuz"`, `problem of "vm\x1blinuz", "kernel8.img"`}},
		"its initramfs is not":     {three, pi.ARM64, "initramfs initrd.img followkernel", "start.elf kernel8.img", []string{`warning names "initrd.img"`}},
		"another model's is not":   {three, pi.ARM64, "[pi5]\nkernel=k5.img\n", "start.elf kernel8.img", []string{`warning names "k5.img"`}},
		"a comment":                {three, pi.ARM64, "#kernel=none\nkernel=\n", "start.elf kernel8.img", nil},
		"a directory of one's own": {three, pi.ARM64, "os_prefix=current/\nkernel=vmlinuz", "start.elf current/vmlinuz", nil},
		"nothing":                  {four, pi.ARMv6, "", "", []string{"problem no kernel", "problem no firmware"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := strings.Fields(test.files)
			found := judgeBoot(registry.Pi{MAC: test.mac, Root: registry.Root{Arch: test.arch}}, test.config, func(name string) bool { return slices.Contains(files, name) })
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
