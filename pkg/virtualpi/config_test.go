//go:build linux

package virtualpi

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/pi"
)

const testSerial = pi.Serial(0x3333347a)

// plain is what an empty config.txt says.
var plain = config{cmdline: "cmdline.txt", overlayPrefix: "overlays/"}

func TestParseConfig(t *testing.T) {
	with := func(change func(*config)) config {
		c := plain
		change(&c)
		return c
	}
	kernel := func(name string) config { return with(func(c *config) { c.kernel = name }) }
	tests := []struct {
		name, text string
		want       config
	}{
		{"empty", "", plain},
		{"comments and unknown keys", "# kernel=a\n\ngpu_mem=16\ndtparam=audio=on\n", plain},
		{"last one counts, spaces and CR do not", "kernel=a\r\n  kernel=b \r\n", kernel("b")},
		{"no newline at the end", "kernel=a", kernel("a")},
		{"this model", "[pi3]\nkernel=a\n[pi4]\nkernel=b\n", kernel("a")},
		{"a relative of this model", "[pi3+]\nkernel=a\n", plain},
		{"board type", "[board-type=0x11]\nkernel=a\n[board-type=0x08]\nkernel=b\n", kernel("b")},
		{"this serial number", "[0x3333347a]\nkernel=a\n[0x3333347b]\nkernel=b\n", kernel("a")},
		{"a long serial number", "[0x100000003333347A]\nkernel=a\n", kernel("a")},
		{"filters of different kinds must all hold", "[0x1]\n[pi3]\nkernel=a\n[all]\ncmdline=b\n", with(func(c *config) { c.cmdline = "b" })},
		{"none lasts until all", "[none]\nkernel=a\n[pi3]\nkernel=b\n[all]\ncmdline=c\n", with(func(c *config) { c.cmdline = "c" })},
		{"no monitor, no wires, no second try", "[EDID=X]\nkernel=a\n[all]\n[gpio4=1]\nkernel=b\n[all]\n[tryboot]\nkernel=c\n", plain},
		{"a port's filter is none for files", "[HDMI:1]\nkernel=a\n", kernel("a")},
		{"initramfs", "initramfs a.img,b.img followkernel\ninitramfs c.img 0x800000\n", with(func(c *config) { c.initramfs = []string{"a.img", "b.img", "c.img"} })},
		{"ramfsfile", "ramfsfile=a.img\n", with(func(c *config) { c.initramfs = []string{"a.img"} })},
		{"auto_initramfs", "auto_initramfs=1\n", with(func(c *config) { c.autoInitramfs = true })},
		{"32 bit", "arm_64bit=0\n", with(func(c *config) { c.only32 = true })},
		{"64 bit", "arm_64bit=0\narm_64bit=1\n", plain},
		{"overlays", "dtoverlay=a,x=1\ndtoverlay=\ndtoverlay=b:y\n", with(func(c *config) { c.overlays = []string{"a", "b"} })},
		{"prefixes", "os_prefix=new/\noverlay_prefix=o/\ndevice_tree=my.dtb\n",
			with(func(c *config) {
				c.osPrefix, c.osPrefixSet, c.overlayPrefix, c.deviceTree = "new/", true, "o/", "my.dtb"
			})},
		{"upstream kernel", "upstream_kernel=1\n", with(func(c *config) { c.upstream, c.osPrefix = true, "upstream/" })},
		{"upstream kernel in a prefix", "os_prefix=\nupstream_kernel=1\n", with(func(c *config) { c.upstream, c.osPrefixSet = true, true })},
		{"long lines are cut", "kernel=" + strings.Repeat("k", 200), kernel(strings.Repeat("k", maxConfigLine-len("kernel=")))},
		{"NUL ends a line", "kernel=a\x00b\n", kernel("a")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parseConfig([]byte(tt.text), pi3b(), testSerial)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(config{})); diff != "" {
				t.Errorf("parseConfig(%q): -want +got\n%s", tt.text, diff)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("# c\n[pi3]\nkernel=a\n[0x3333347a]\ninitramfs a,b followkernel\n[board-type=8]\ndtoverlay=x,y\n"))
	f.Add([]byte("[\n]\n[]\n=\ninitramfs\n[0x\nos_prefix=/\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := parseConfig(text, pi3b(), testSerial)
		kernels := c.kernels(pi3b())
		n := c.names(pi3b(), kernels[0], c.osPrefix, c.overlayPrefix)
		asked := slices.Concat([]string{n.kernel, n.cmdline, n.overlayMap}, n.dtbs, n.overlays, n.initramfs)
		if len(asked) > 6+maxOverlays+maxInitramfs {
			t.Errorf("%d files", len(asked))
		}
		for _, name := range asked {
			if strings.ContainsAny(name, "\x00\r\n") || len(name) > 4*maxConfigLine {
				t.Errorf("%q cannot be asked for", name)
			}
		}
	})
}

func TestNames(t *testing.T) {
	tests := []struct {
		name, text          string
		model               profile
		osPrefix, overlayAt string
		want                names
	}{
		{"a Pi 3's own", "", pi3b(), "", "overlays/",
			names{kernel: "kernel8.img", cmdline: "cmdline.txt", dtbs: []string{"bcm2710-rpi-3-b.dtb"}, overlayMap: "overlays/overlay_map.dtb"}},
		{"upstream", "upstream_kernel=1\n", pi3b(), "", "overlays/",
			names{kernel: "kernel8.img", cmdline: "cmdline.txt", dtbs: []string{"bcm2837-rpi-3-b.dtb", "bcm2710-rpi-3-b.dtb"}, overlayMap: "overlays/overlay_map.dtb"}},
		{"prefix", "kernel=/top.img\ndtoverlay=x\ninitramfs i followkernel\n", pi4b(), "new/", "new/overlays/",
			names{kernel: "top.img", cmdline: "new/cmdline.txt", dtbs: []string{"new/bcm2711-rpi-4-b.dtb"}, overlayMap: "new/overlays/overlay_map.dtb",
				overlays: []string{"new/overlays/x.dtbo"}, initramfs: []string{"new/i"}}},
		{"auto_initramfs", "auto_initramfs=1\n", pi5(), "", "overlays/",
			names{kernel: "kernel_2712.img", cmdline: "cmdline.txt", dtbs: []string{"bcm2712-rpi-5-b.dtb"}, overlayMap: "overlays/overlay_map.dtb",
				initramfs: []string{"initramfs_2712"}, initramfsOptional: true}},
		{"auto_initramfs in a directory", "auto_initramfs=1\nkernel=k/kernel8.img\n", pi3b(), "", "overlays/",
			names{kernel: "k/kernel8.img", cmdline: "cmdline.txt", dtbs: []string{"bcm2710-rpi-3-b.dtb"}, overlayMap: "overlays/overlay_map.dtb",
				initramfs: []string{"k/initramfs8"}, initramfsOptional: true}},
		{"auto_initramfs for another name", "auto_initramfs=1\nkernel=vmlinuz\narm_64bit=0\n", pi3b(), "", "overlays/",
			names{kernel: "vmlinuz", cmdline: "cmdline.txt", dtbs: []string{"bcm2710-rpi-3-b.dtb"}, overlayMap: "overlays/overlay_map.dtb", initramfsOptional: true}},
		{"32 bit", "arm_64bit=0\n", pi4b(), "", "overlays/",
			names{kernel: "kernel7l.img", cmdline: "cmdline.txt", dtbs: []string{"bcm2711-rpi-4-b.dtb"}, overlayMap: "overlays/overlay_map.dtb"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := parseConfig([]byte(tt.text), tt.model, testSerial)
			got := c.names(tt.model, c.kernels(tt.model)[0], tt.osPrefix, tt.overlayAt)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(names{})); diff != "" {
				t.Errorf("names: -want +got\n%s", diff)
			}
		})
	}
}

func TestKernelCmdline(t *testing.T) {
	const text = "console=serial0,115200 console=tty1  root=/dev/nfs \r\nsecond line\n"
	const want = "console=ttyAMA0,115200 console=tty1  root=/dev/nfs"
	if got := kernelCmdline([]byte(text)); got != want {
		t.Errorf("kernelCmdline = %q; want %q", got, want)
	}
}
