package bootconfig

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/pi"
)

const testSerial = pi.Serial(0x3333347a)

// plain is what an empty config.txt says.
func plain() Config { return Config{Cmdline: "cmdline.txt", OverlayPrefix: "overlays/", model: Pi3B} }

func TestRead(t *testing.T) {
	with := func(change func(*Config)) Config {
		c := plain()
		change(&c)
		return c
	}
	kernel := func(name string) Config { return with(func(c *Config) { c.Kernel = name }) }
	tests := []struct {
		name, text string
		want       Config
	}{
		{"empty", "", plain()},
		{"comments and unknown keys", "# kernel=a\n\ngpu_mem=64\ndtparam=audio=on\n", plain()},
		{"last one counts, spaces and CR do not", "kernel=a\r\n  kernel=b \r\n", kernel("b")},
		{"no newline at the end", "kernel=a", kernel("a")},
		{"this model", "[pi3]\nkernel=a\n[pi4]\nkernel=b\n", kernel("a")},
		{"a relative of this model", "[pi3+]\nkernel=a\n", plain()},
		{"board type", "[board-type=0x11]\nkernel=a\n[board-type=0x08]\nkernel=b\n", kernel("b")},
		{"this serial number", "[0x3333347a]\nkernel=a\n[0x3333347b]\nkernel=b\n", kernel("a")},
		{"a long serial number", "[0x100000003333347A]\nkernel=a\n", kernel("a")},
		{"filters of different kinds must all hold", "[0x1]\n[pi3]\nkernel=a\n[all]\ncmdline=b\n", with(func(c *Config) { c.Cmdline = "b" })},
		{"none lasts until all", "[none]\nkernel=a\n[pi3]\nkernel=b\n[all]\ncmdline=c\n", with(func(c *Config) { c.Cmdline = "c" })},
		{"no monitor, no wires, no second try", "[EDID=X]\nkernel=a\n[all]\n[gpio4=1]\nkernel=b\n[all]\n[tryboot]\nkernel=c\n", plain()},
		{"a port's filter is none for files", "[HDMI:1]\nkernel=a\n", kernel("a")},
		{"initramfs", "initramfs a.img,b.img followkernel\ninitramfs c.img 0x800000\n", with(func(c *Config) { c.Initramfs = []string{"a.img", "b.img", "c.img"} })},
		{"ramfsfile", "ramfsfile=a.img\n", with(func(c *Config) { c.Initramfs = []string{"a.img"} })},
		{"auto_initramfs", "auto_initramfs=1\n", with(func(c *Config) { c.AutoInitramfs = true })},
		{"32 bit", "arm_64bit=0\n", with(func(c *Config) { c.Arm64 = Only32 })},
		{"64 bit", "arm_64bit=0\narm_64bit=1\n", with(func(c *Config) { c.Arm64 = Only64 })},
		{"overlays", "dtoverlay=a,x=1\ndtoverlay=\ndtoverlay=b:y\n", with(func(c *Config) { c.Overlays = []string{"a", "b"} })},
		{"prefixes", "os_prefix=new/\noverlay_prefix=o/\ndevice_tree=my.dtb\n",
			with(func(c *Config) {
				c.OSPrefix, c.osPrefixSet, c.OverlayPrefix, c.DeviceTree = "new/", true, "o/", "my.dtb"
			})},
		{"upstream kernel", "upstream_kernel=1\n", with(func(c *Config) { c.Upstream, c.OSPrefix = true, "upstream/" })},
		{"upstream kernel in a prefix", "os_prefix=\nupstream_kernel=1\n", with(func(c *Config) { c.Upstream, c.osPrefixSet = true, true })},
		{"long lines are cut", "kernel=" + strings.Repeat("k", 200), kernel(strings.Repeat("k", maxLine-len("kernel=")))},
		{"NUL ends a line", "kernel=a\x00b\n", kernel("a")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Read(Board{Model: Pi3B, Serial: testSerial}, []byte(tt.text), nil)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(Config{})); diff != "" {
				t.Errorf("Read(%q): -want +got\n%s", tt.text, diff)
			}
		})
	}
}

// What a line before cannot hide is what a line after it sees.
func TestReadOtherFilters(t *testing.T) {
	for _, test := range []struct {
		text  string
		board Board
		want  string // the kernel
	}{
		{"[pi4]\nkernel=a\n[cm4]\nkernel=b\n", Board{Model: CM4}, "b"},
		{"[pi4]\nkernel=a\n[cm4]\nkernel=b\n", Board{Model: Pi4B}, "a"},
		{"[pi5]\nkernel=a\n[cm5]\nkernel=b\n", Board{Model: CM5}, "b"},
		{"[pi5]\nkernel=a\n[pi500]\nkernel=b\n", Board{Model: Pi5}, "a"},
		{"[PI5]\nkernel=a\n", Board{Model: Pi500}, "a"},
		{"[pi0]\nkernel=a\n[pi02]\nkernel=b\n", Board{Model: Pi4B}, ""},
		{"[board-type=0x18]\nkernel=a\n", Board{Model: CM5}, "a"},
		{"kernel=a\n[tryboot]\nkernel=b\n", Board{Model: Pi4B}, "a"},
		{"kernel=a\n[tryboot]\nkernel=b\n", Board{Model: Pi4B, TryBoot: true}, "b"},
		{"[tryboot]\nkernel=b\n[all]\nkernel=c\n", Board{Model: Pi4B, TryBoot: true}, "c"},
		{"[partition=2]\nkernel=b\n", Board{Model: Pi4B}, ""},
		{"[0x0]\nkernel=b\n", Board{Model: Pi4B, Serial: testSerial}, ""},
		{"[pi4\nkernel=b\n", Board{Model: Pi4B}, "b"},
	} {
		if got := Read(test.board, []byte(test.text), nil).Kernel; got != test.want {
			t.Errorf("Read(%+v, %q).Kernel = %q; want %q", test.board, test.text, got, test.want)
		}
	}
}

func includeFrom(files map[string]string) Include {
	return func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}
}

func TestReadIncludes(t *testing.T) {
	files := includeFrom(map[string]string{
		"user.txt":   "kernel=user\ngpu_mem=16\nboot_ramdisk=1\n",
		"nested.txt": "include user.txt\ncmdline=nested.txt\n",
		"filter.txt": "[pi5]\n",
		"self.txt":   "dtoverlay=again\ninclude self.txt\n",
		"cut.txt":    "kernel=cut",
	})
	for _, test := range []struct{ text, kernel, cmdline string }{
		{"kernel=a\ninclude user.txt\n", "user", "cmdline.txt"},
		{"include user.txt\nkernel=a\n", "a", "cmdline.txt"},
		{"include nested.txt\n", "user", "nested.txt"},
		{"include /nested.txt\n", "user", "nested.txt"},
		{"[pi5]\ninclude user.txt\n", "", "cmdline.txt"},
		{"include filter.txt\nkernel=a\n", "", "cmdline.txt"},
		{"include none.txt\nkernel=a\n", "a", "cmdline.txt"},
		{"include cut.txt\ncmdline=b\n", "cut", "b"},
		{"include\ninclude a b\nincludeuser.txt\n", "", "cmdline.txt"},
	} {
		got := Read(Board{Model: Pi4B}, []byte(test.text), files)
		if got.Kernel != test.kernel || got.Cmdline != test.cmdline || got.BootRamdisk || got.Variant != "" {
			t.Errorf("Read(%q) = %+v; want kernel %q, cmdline %q, and what boot code alone reads left out", test.text, got, test.kernel, test.cmdline)
		}
	}
	if got := Read(Board{Model: Pi4B}, []byte("include self.txt\n"), files); len(got.Overlays) != maxFiles {
		t.Errorf("a file that includes itself is read %d times; want %d", len(got.Overlays), maxFiles)
	}
}

func TestValues(t *testing.T) {
	const text = "[none]\nos_prefix=a/\n[pi4]\ninclude x\nos_prefix=a/\n# os_prefix=c/\n"
	got := Values([]byte(text), "os_prefix", includeFrom(map[string]string{"x": "os_prefix=b/\n"}))
	if want := []string{"a/", "b/"}; !slices.Equal(got, want) {
		t.Errorf("Values = %q; want %q", got, want)
	}
}

func TestDisable(t *testing.T) {
	got, found := Disable([]byte("a=1\n boot_ramdisk = 1\n[pi4]\nboot_ramdisk=1"), "boot_ramdisk", "why")
	if want := "a=1\n# why:  boot_ramdisk = 1\n[pi4]\n# why: boot_ramdisk=1"; !found || string(got) != want {
		t.Errorf("Disable = %q, %v; want %q", got, found, want)
	}
}

func TestCommandLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"console=tty1 quiet\n":            "console=tty1 quiet",
		"console=tty1\nsecond\n":          "console=tty1",
		"\n\r\n  \nconsole=tty1\r\n":      "console=tty1",
		"# mine\n#more\n console=tty1 \n": "console=tty1",
		"#only a comment":                 "",
	} {
		if got := CommandLine(text); got != want {
			t.Errorf("CommandLine(%q) = %q; want %q", text, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("# c\n[pi3]\nkernel=a\n[0x3333347a]\ninitramfs a,b followkernel\n[board-type=8]\ndtoverlay=x,y\ninclude a\n"))
	f.Add([]byte("[\n]\n[]\n=\ninitramfs\n[0x\nos_prefix=/\ninclude a\ninclude a\nstart_x=1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		again := func(string) ([]byte, error) { return text, nil }
		for _, model := range Models() {
			for _, there := range []bool{false, true} {
				c := Read(Board{Model: model, Serial: testSerial}, text, again)
				n, err := c.Names(func(string) (bool, error) { return there, nil })
				asked := slices.Concat([]string{n.Kernel, n.Cmdline, n.OverlayMap, n.Start, n.Fixup}, n.DeviceTrees, n.Overlays, n.Initramfs)
				if err != nil || len(asked) > 9+maxOverlays+maxInitramfs {
					t.Errorf("%d files, %v", len(asked), err)
				}
				for _, name := range asked {
					if strings.ContainsAny(name, "\x00\r\n") || len(name) > 4*maxLine {
						t.Errorf("%q cannot be asked for", name)
					}
				}
			}
		}
		Values(text, "os_prefix", again)
		CommandLine(string(text))
	})
}

func TestNames(t *testing.T) {
	of := func(change func(*Names)) Names {
		n := Names{BootCode: "bootcode.bin", Start: "start.elf", Fixup: "fixup.dat", Kernel: "kernel8.img", Cmdline: "cmdline.txt",
			DeviceTrees: []string{"bcm2710-rpi-3-b.dtb"}, OverlayMap: "overlays/overlay_map.dtb"}
		change(&n)
		return n
	}
	four := func(change func(*Names)) Names {
		n := of(func(n *Names) {
			n.BootCode, n.Start, n.Fixup, n.DeviceTrees = "", "start4.elf", "fixup4.dat", []string{"bcm2711-rpi-4-b.dtb"}
		})
		change(&n)
		return n
	}
	upstream := []string{"bcm2837-rpi-3-b.dtb", "bcm2710-rpi-3-b.dtb"}
	for name, test := range map[string]struct {
		text  string
		model Model
		has   []string
		want  Names
	}{
		"a Pi 3's own":    {"", Pi3B, []string{"kernel8.img"}, of(func(*Names) {})},
		"32 bits alone":   {"", Pi3B, []string{"kernel7.img"}, of(func(n *Names) { n.Kernel = "kernel7.img" })},
		"no kernel":       {"", Pi3B, nil, of(func(*Names) {})},
		"arm_64bit=0":     {"arm_64bit=0\n", Pi4B, []string{"kernel8.img"}, four(func(n *Names) { n.Kernel = "kernel7l.img" })},
		"arm_64bit=1":     {"arm_64bit=1\n", Pi4B, []string{"kernel7l.img"}, four(func(*Names) {})},
		"upstream":        {"upstream_kernel=1\n", Pi3B, nil, of(func(n *Names) { n.DeviceTrees = upstream })},
		"a start file":    {"start_file=s.elf\nfixup_file=f.dat\n", Pi3B, nil, of(func(n *Names) { n.Start, n.Fixup = "s.elf", "f.dat" })},
		"the camera's":    {"start_x=1\n", Pi3B, nil, of(func(n *Names) { n.Start, n.Fixup = "start_x.elf", "fixup_x.dat" })},
		"a Pi 4's camera": {"start_x=1\n", Pi4B, nil, four(func(n *Names) { n.Start, n.Fixup = "start4x.elf", "fixup4x.dat" })},
		"cut down":        {"gpu_mem=16\n", Pi4B, nil, four(func(n *Names) { n.Start, n.Fixup = "start4cd.elf", "fixup4cd.dat" })},
		"not cut down":    {"gpu_mem=16\ngpu_mem=192\n", Pi4B, nil, four(func(*Names) {})},
		"prefix": {"kernel=/top.img\ndtoverlay=x\ninitramfs i followkernel\nos_prefix=new/\n", Pi4B, []string{"top.img", "new/bcm2711-rpi-4-b.dtb", "new/overlays/README"}, four(func(n *Names) {
			n.Kernel, n.Cmdline, n.OverlayMap, n.DeviceTrees = "top.img", "new/cmdline.txt", "new/overlays/overlay_map.dtb", []string{"new/bcm2711-rpi-4-b.dtb"}
			n.Overlays, n.Initramfs = []string{"new/overlays/x.dtbo"}, []string{"new/i"}
		})},
		"prefix without a device tree": {"os_prefix=new/\n", Pi4B, []string{"new/kernel8.img", "kernel8.img"}, four(func(*Names) {})},
		"auto_initramfs": {"auto_initramfs=1\nkernel=k/kernel8.img\n", Pi3B, nil, of(func(n *Names) {
			n.Kernel, n.Initramfs, n.InitramfsOptional = "k/kernel8.img", []string{"k/initramfs8"}, true
		})},
		"auto_initramfs for another name": {"auto_initramfs=1\nkernel=vmlinuz\n", Pi3B, nil, of(func(n *Names) {
			n.Kernel, n.InitramfsOptional = "vmlinuz", true
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(Board{Model: test.model}, []byte(test.text), nil).Names(func(file string) (bool, error) { return slices.Contains(test.has, file), nil })
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("Names: %v, -want +got\n%s", err, diff)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	n, err := Read(Board{Model: Pi5}, []byte("initramfs i followkernel\n"), nil).Names(func(string) (bool, error) { return false, nil })
	if err != nil {
		t.Fatal(err)
	}
	got := n.Missing(func(name string) bool { return name == "bcm2712d0-rpi-5-b.dtb" })
	if diff := cmp.Diff([]Need{{"kernel", []string{"kernel_2712.img"}}, {"initramfs", []string{"i"}}}, got); diff != "" {
		t.Errorf("Missing: -want +got\n%s", diff)
	}
}
