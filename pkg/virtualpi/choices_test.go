//go:build netns

package virtualpi

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPowerOnLooksWhatThereIs is about what config.txt leaves to the firmware
// to find out on the server.
func TestPowerOnLooksWhatThereIs(t *testing.T) {
	tests := []struct {
		name    string
		model   Model
		config  string
		add     []string // files with their name for content
		drop    string
		kernel  string // content
		cmdline string
		ramfs   string
		asked   string // a step that tells
	}{
		{name: "a prefix with all that is needed", model: Pi4B, config: "os_prefix=new/\ndtoverlay=x\n",
			add:    []string{"new/kernel8.img", "new/bcm2711-rpi-4-b.dtb", "new/cmdline.txt"},
			kernel: "new/kernel8.img", cmdline: "new/cmdline.txt", asked: "missing 3333347a/overlays/x.dtbo"},
		{name: "a prefix with overlays of its own", model: Pi4B, config: "os_prefix=new/\ndtoverlay=x\n",
			add:    []string{"new/kernel8.img", "new/bcm2711-rpi-4-b.dtb", "new/cmdline.txt", "new/overlays/README"},
			kernel: "new/kernel8.img", cmdline: "new/cmdline.txt", asked: "missing 3333347a/new/overlays/x.dtbo"},
		{name: "a prefix without device tree", model: Pi4B, config: "os_prefix=new/\n", add: []string{"new/kernel8.img", "new/cmdline.txt"},
			kernel: "kernel8.img", cmdline: "cmdline.txt", asked: "missing 3333347a/new/bcm2711-rpi-4-b.dtb"},
		{name: "the initramfs of the kernel", model: Pi4B, config: "auto_initramfs=1\n", add: []string{"initramfs8"},
			kernel: "kernel8.img", cmdline: "cmdline.txt", ramfs: "initramfs8", asked: "file 3333347a/initramfs8"},
		{name: "no initramfs for the kernel", model: Pi4B, config: "auto_initramfs=1\n",
			kernel: "kernel8.img", cmdline: "cmdline.txt", asked: "missing 3333347a/initramfs8"},
		{name: "two initramfs", model: Pi4B, config: "initramfs a,b followkernel\n", add: []string{"a", "b"},
			kernel: "kernel8.img", cmdline: "cmdline.txt", ramfs: "ab", asked: "file 3333347a/b"},
		{name: "upstream names", model: Pi3B, config: "upstream_kernel=1\n", add: []string{"bcm2837-rpi-3-b.dtb"},
			kernel: "kernel8.img", cmdline: "cmdline.txt", asked: "file 3333347a/bcm2837-rpi-3-b.dtb"},
		{name: "a Pi 5's kernel", model: Pi5, add: []string{"kernel_2712.img"}, kernel: "kernel_2712.img", cmdline: "cmdline.txt", asked: "file 3333347a/kernel_2712.img"},
		{name: "a Pi 5 with a Pi 4's kernel", model: Pi5, kernel: "kernel8.img", cmdline: "cmdline.txt", asked: "missing 3333347a/kernel_2712.img"},
		{name: "a 32-bit kernel where there is no other", model: Pi3B, add: []string{"kernel7.img"}, drop: "kernel8.img",
			kernel: "kernel7.img", cmdline: "cmdline.txt", asked: "missing 3333347a/kernel8.img"},
		{name: "an included file", model: Pi4B, config: "include user.txt\n", add: []string{"user.txt", "include.img"},
			kernel: "include.img", cmdline: "cmdline.txt", asked: "file 3333347a/user.txt"},
		{name: "an included file that is not there", model: Pi4B, config: "include user.txt\n",
			kernel: "kernel8.img", cmdline: "cmdline.txt", asked: "missing 3333347a/user.txt"},
		{name: "the camera's firmware", model: Pi4B, config: "start_x=1\n", add: []string{"start4x.elf"},
			kernel: "kernel8.img", cmdline: "cmdline.txt", asked: "file 3333347a/start4x.elf"},
		{name: "a Pi 3's", model: Pi3B, config: "start_x=1\n", add: []string{"start_x.elf"},
			kernel: "kernel8.img", cmdline: "cmdline.txt", asked: "missing 3333347a/fixup_x.dat"},
		{name: "the first line of Ubuntu's", model: Pi4B, config: "[all]\nkernel=vmlinuz\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n",
			add:    []string{"current/vmlinuz", "current/bcm2711-rpi-4-b.dtb", "current/cmdline.txt", "new/vmlinuz", "new/bcm2711-rpi-4-b.dtb"},
			kernel: "current/vmlinuz", cmdline: "current/cmdline.txt", asked: "file 3333347a/current/vmlinuz"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"bootcode.bin": "rom stage", serialDir + "config.txt": tt.config}
			for _, name := range append(tt.add, "start.elf", "start4.elf", "kernel8.img", "cmdline.txt", "bcm2710-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb") {
				files[serialDir+name] = name
			}
			if files[serialDir+"user.txt"] != "" {
				files[serialDir+"user.txt"] = "kernel=include.img\n"
			}
			delete(files, serialDir+tt.drop)
			lan := newLAN(t)
			startDnsmasq(t, lan, bootFiles(t, maps.Clone(files)), pxeService)
			boot, steps, err := powerOn(t, testBoard(tt.model), lan)
			if err != nil {
				t.Fatal(err)
			}
			if string(boot.Kernel) != tt.kernel || boot.Cmdline != tt.cmdline || string(boot.Initramfs) != tt.ramfs {
				t.Errorf("Kernel, Cmdline, Initramfs = %q, %q, %q; want %q, %q, %q", boot.Kernel, boot.Cmdline, boot.Initramfs, tt.kernel, tt.cmdline, tt.ramfs)
			}
			if !slices.Contains(steps, tt.asked) {
				t.Errorf("steps =\n%s\nwant %q among them", strings.Join(steps, "\n"), tt.asked)
			}
		})
	}
}

func TestPowerOnWithoutTFTP(t *testing.T) {
	for _, model := range []Model{Pi3B, Pi4B} { // one begins by a transfer, the other by a probe
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			lan := newLAN(t)
			startDnsmasq(t, lan, "", pxeService)
			b := testBoard(model)
			b.Timing = Timing{TFTPRetry: 50 * time.Millisecond, FileTimeout: 200 * time.Millisecond}
			_, err := b.PowerOn(t.Context(), lan)
			if err == nil || !strings.Contains(err.Error(), "10.77.0.1: no answer within 200ms") {
				t.Errorf("error = %v; want that 10.77.0.1 does not answer", err)
			}
			if errors.Is(err, ErrNoOffer) {
				t.Errorf("error = %v; want one of TFTP", err)
			}
		})
	}
}
