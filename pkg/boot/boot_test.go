package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/nfs"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/store"
	"pibootd/pkg/tftp"
	"pibootd/pkg/timeline"
)

var (
	hlspi1 = registry.Pi{
		Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "hlspi1", IP: netip.MustParseAddr("10.0.0.11"),
		Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64}, Settings: registry.Settings{MuxID: 1, HWDecode: true},
	}
	hlspi2 = registry.Pi{
		Serial: 0x10000002, MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2}, Name: "hlspi2", IP: netip.MustParseAddr("10.0.0.12"),
		Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64},
	}
	server = Server{Addr: netip.MustParseAddr("10.0.0.1"), NFSPort: 2049, PortmapPort: 111, GPUMem: 192}
)

func TestCommandLine(t *testing.T) {
	const nfsroot = "root=/dev/nfs nfsroot=10.0.0.1:/roots/3333347a,vers=3,tcp,rsize=1048576,wsize=1048576,timeo=600,retrans=2"
	odd := server
	odd.NFSPort = 12049
	with := server
	with.Args = []string{"quiet"}
	kernel := server
	kernel.NFSPort, kernel.RootPath = 0, func(serial pi.Serial) string { return "/srv/roots/" + serial.String() }
	for name, test := range map[string]struct {
		server Server
		base   string
		want   string
	}{
		"no cmdline.txt": {server, "", nfsroot + " ip=dhcp rw rootwait muxid=1 muxhwdec=1\n"},
		"what is the SD card's goes": {
			server, "console=serial0,115200 root=PARTUUID=abc-02 rootfstype=ext4 fsck.repair=yes rootwait init=/usr/lib/raspi-config/init_resize.sh muxid=9\n",
			"console=serial0,115200 " + nfsroot + " ip=dhcp rw rootwait muxid=1 muxhwdec=1\n",
		},
		"only the first line counts, an init of one's own stays": {
			server, "init=/bin/sh\nroot=/dev/sda\n", "init=/bin/sh " + nfsroot + " ip=dhcp rw rootwait muxid=1 muxhwdec=1\n",
		},
		"comments and blank lines before it do not": {
			server, "# my board\n\n  \nconsole=tty9\n", "console=tty9 " + nfsroot + " ip=dhcp rw rootwait muxid=1 muxhwdec=1\n",
		},
		"odd ports are named":   {odd, "", nfsroot + ",port=12049,mountport=12049 ip=dhcp rw rootwait muxid=1 muxhwdec=1\n"},
		"nfsd has its own path": {kernel, "", strings.Replace(nfsroot, ":/roots", ":/srv/roots", 1) + " ip=dhcp rw rootwait muxid=1 muxhwdec=1\n"},
		"everybody's arguments": {with, "", nfsroot + " ip=dhcp rw rootwait muxid=1 muxhwdec=1 quiet\n"},
	} {
		if got := test.server.CommandLine(test.base, hlspi1, false); got != test.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, test.want)
		}
	}
	if got := server.CommandLine("", hlspi2, false); strings.Contains(got, "mux") {
		t.Errorf("a board without muxer settings gets %q; want no mux arguments", got)
	}
}

func TestStaticAddress(t *testing.T) {
	addr := netip.MustParseAddr
	static := server
	static.Static = []Network{
		{Prefix: netip.MustParsePrefix("10.0.0.1/24")},
		{Prefix: netip.MustParsePrefix("10.0.8.0/22"), Router: addr("10.0.8.1"), DNS: []netip.Addr{addr("9.9.9.9"), addr("1.1.1.1"), addr("8.8.8.8")}},
	}
	for _, test := range []struct {
		ip        string
		initramfs bool
		want      string
	}{
		{"10.0.0.11", false, " ip=10.0.0.11:10.0.0.1::255.255.255.0:hlspi1:eth0:off rw "},
		{"10.0.0.11", true, " ip=10.0.0.11:10.0.0.1::255.255.255.0:hlspi1::off BOOTIF=01-b8-27-eb-33-34-7a rw "},
		{"10.0.11.9", false, " ip=10.0.11.9:10.0.0.1:10.0.8.1:255.255.252.0:hlspi1:eth0:off:9.9.9.9:1.1.1.1 rw "},
		{"10.0.12.9", true, " ip=dhcp rw "},
	} {
		board := hlspi1
		board.IP = addr(test.ip)
		if got := static.CommandLine("ip=dhcp BOOTIF=01-00-00-00-00-00-01 quiet\n", board, test.initramfs); !strings.HasPrefix(got, "quiet root=") || !strings.Contains(got, test.want) {
			t.Errorf("CommandLine of %s (initramfs %v) = %q; want %q in it", test.ip, test.initramfs, got, test.want)
		}
	}
}

// The device is named only where the kernel itself has to find it.
func TestStaticAddressOfARoot(t *testing.T) {
	p := newPolicy(t)
	p.Server.Static = []Network{{Prefix: netip.MustParsePrefix("10.0.0.0/24")}}
	dir := filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware")
	for _, name := range []string{"bcm2710-rpi-3-b.dtb", "bcm2710-rpi-3-b-plus.dtb", "kernel8.img", "bootcode.bin"} {
		write(t, filepath.Join(dir, name), "x")
	}
	for _, test := range []struct{ config, add, want string }{
		{"", "", ":eth0:off"},
		{"initramfs initrd.img followkernel\n", "", ":eth0:off"}, // it is not there
		{"initramfs initrd.img followkernel\n", "initrd.img", "::off BOOTIF="},
		{"auto_initramfs=1\n", "", ":eth0:off"},
		{"auto_initramfs=1\n", "initramfs8", "::off BOOTIF="},
		{"[pi3+]\ninitramfs initrd.img followkernel\n", "", ":eth0:off"}, // by one model alone
		{"include cmdline.txt\ninclude config.txt\n", "", ":eth0:off"},
	} {
		write(t, filepath.Join(dir, "config.txt"), test.config)
		if test.add != "" {
			write(t, filepath.Join(dir, test.add), "x")
		}
		got, err := open(t, p, "10.0.0.11", "3333347a/cmdline.txt")
		if err != nil || !strings.Contains(got, test.want) {
			t.Errorf("config.txt %q: cmdline.txt = %q, %v; want %q in it", test.config, got, err, test.want)
		}
	}
}

// A board that another DHCP server gave an address is refused its root, and its timeline
// says why.
func TestMountFromAnotherServersAddress(t *testing.T) {
	p := newPolicy(t)
	knows(p, map[string][]pi.MAC{"10.0.0.99": {hlspi1.MAC}, "10.0.0.98": {{2, 0, 0, 0, 0, 9}}})
	p.Mounted(nfs.MountEvent{Client: netip.MustParseAddr("10.0.0.98"), Export: "/roots/3333347a", Op: nfs.Refused, Reason: "why"})
	p.Mounted(nfs.MountEvent{Client: netip.MustParseAddr("10.0.0.99"), Export: "/roots/3333347a", Op: nfs.Refused, Reason: "why"})
	var got []string
	for event, err := range p.Timeline.Follow(t.Context(), hlspi1.Serial.String(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %v %s", event.Kind, event.Addr, event.Detail))
		if len(got) == 2 {
			break
		}
	}
	want := []string{
		"stranger 10.0.0.98 mount refused to an address that is no board's, 10.0.0.98",
		"mount_refused 10.0.0.99 its address is 10.0.0.99, not 10.0.0.11 as registered: another DHCP server has answered it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events = %q; want %q", got, want)
	}
}

func TestServedAt(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	if got, want := servedAt(now, "rootwait\n"), "rootwait systemd.clock_usec=1767323045000000\n"; got != want {
		t.Errorf("servedAt = %q; want %q", got, want)
	}
}

func TestConfigTxt(t *testing.T) {
	const ours = "\n[all]\n# by pibootd, for hlspi1:\n"
	include := func(name string) ([]byte, error) {
		return map[string][]byte{"extra.txt": []byte("include more.txt\n"), "more.txt": []byte("[pi3]\ncmdline=x\ngpu_mem_1024=16\n")}[name], nil
	}
	for name, test := range map[string]struct {
		base     string
		settings registry.Settings
		want     string
	}{
		"none":                            {"", registry.Settings{}, ours + "gpu_mem=192\n"},
		"a filter ends":                   {"arm_64bit=1\n[pi4]\ngpu_mem=16", registry.Settings{}, "arm_64bit=1\n[pi4]\ngpu_mem=16\n" + ours + "gpu_mem=192\n"},
		"the board's own memory":          {"", registry.Settings{GPUMem: 64}, ours + "gpu_mem=64\n"},
		"memory by size is stronger":      {"[pi3]\ngpu_mem_1024=320\n", registry.Settings{GPUMem: 64}, "[pi3]\ngpu_mem_1024=320\n" + ours + "gpu_mem=64\ngpu_mem_1024=64\n"},
		"another cmdline.txt is ours":     {"cmdline=nobtcmd.txt\n", registry.Settings{}, "cmdline=nobtcmd.txt\n" + ours + "gpu_mem=192\ncmdline=cmdline.txt\n"},
		"an included cmdline.txt is ours": {"include extra.txt\n", registry.Settings{}, "include extra.txt\n" + ours + "gpu_mem=192\ngpu_mem_1024=192\ncmdline=cmdline.txt\n"},
		"a comment sets nothing":          {"#include extra.txt\n#cmdline=x\n", registry.Settings{}, "#include extra.txt\n#cmdline=x\n" + ours + "gpu_mem=192\n"},
		"lines of the board": {
			"arm_boost=1\n", registry.Settings{Config: []string{"arm_boost=0", "decode_MPG2=0x1"}},
			"arm_boost=1\n" + ours + "gpu_mem=192\narm_boost=0\ndecode_MPG2=0x1\n",
		},
	} {
		board := hlspi1
		board.Settings = test.settings
		if got := server.ConfigTxt(test.base, include, board); got != test.want {
			t.Errorf("%s: ConfigTxt = %q; want %q", name, got, test.want)
		}
	}
}

// Ubuntu has os_prefix in its config.txt, and the kernel arguments with the
// kernel in that directory.
func TestCommandLineOfAnotherDirectory(t *testing.T) {
	p := newPolicy(t)
	write(t, filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware/current/cmdline.txt"), "console=tty9 root=LABEL=writable\n")
	got, err := open(t, p, "10.0.0.11", "3333347a/current/cmdline.txt")
	if err != nil || !strings.HasPrefix(got, "console=tty9 root=/dev/nfs ") {
		t.Errorf("current/cmdline.txt = %q, %v; want it with the NFS root", got, err)
	}
	if got, err := open(t, p, "10.0.0.11", "3333347a/old/cmdline.txt"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("old/cmdline.txt = %q, %v; want that there is none", got, err)
	}
}

// What the firmware reads in place of config.txt and cmdline.txt has the board's root
// too, whatever the root's files make of it.
func TestOtherNamesOfGeneratedFiles(t *testing.T) {
	p := newPolicy(t)
	dir := filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware")
	write(t, filepath.Join(dir, "config.txt"), "include os.txt\n[tryboot]\nos_prefix=new/\n")
	write(t, filepath.Join(dir, "os.txt"), "os_prefix=current/\n[pi4]\nos_prefix=four-\n")
	write(t, filepath.Join(dir, "current/cmdline.txt"), "console=tty8 root=LABEL=writable\n")
	write(t, filepath.Join(dir, "autoboot.txt"), "[all]\nboot_partition=2\n")
	for name, want := range map[string]string{
		"current/cmdline.txt": "console=tty8 root=/dev/nfs ",
		"new/cmdline.txt":     "console=tty1 root=/dev/nfs ", // the root has none there
		"four-cmdline.txt":    "console=tty1 root=/dev/nfs ",
		"other/cmdline.txt":   "",
		"my-cmdline.txt":      "",
		"tryboot.txt":         "",
		"autoboot.txt":        "",
	} {
		got, err := open(t, p, "10.0.0.11", "3333347a/"+name)
		if want == "" && !errors.Is(err, fs.ErrNotExist) || want != "" && (err != nil || !strings.HasPrefix(got, want)) {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	write(t, filepath.Join(dir, "tryboot.txt"), "gpu_mem_1024=16\ncmdline=x.txt\n")
	got, err := open(t, p, "10.0.0.11", "3333347a/tryboot.txt")
	if err != nil || !strings.HasSuffix(got, "gpu_mem=192\ngpu_mem_1024=192\ncmdline=cmdline.txt\n") {
		t.Errorf("tryboot.txt = %q, %v; want pibootd's lines after it", got, err)
	}
}

// Boot code asks in lower case for what a card has in any case, because FAT finds it all the same;
// config.txt names files as it likes.
func TestUpperAndLowerCase(t *testing.T) {
	p := newPolicy(t)
	dir := filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"START4.ELF": "firmware", "Start.elf": "first", "start.elf": "exact", "CONFIG.TXT": "kernel=Kernel8.img\nos_prefix=\n", "CMDLINE.TXT": "console=tty8\n",
		"KERNEL8.IMG": "kernel", "Overlays/VC4.dtbo": "overlay", "USERCONF.TXT": "secret", "AUTOBOOT.TXT": "boot_partition=2\n", "TRYBOOT.TXT": "arm_freq=1\n",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	for name, want := range map[string]string{
		"start4.elf": "firmware", "Start4.elf": "firmware", "start.elf": "exact", "START.ELF": "first", "Kernel8.img": "kernel", "overlays/vc4.dtbo": "overlay",
		"config.txt": "kernel=Kernel8.img\nos_prefix=\n\n[all]\n# by pibootd", "Config.txt": "kernel=Kernel8.img\nos_prefix=\n\n[all]\n# by pibootd",
		"cmdline.txt": "console=tty8 root=/dev/nfs ", "CMDLINE.TXT": "console=tty8 root=/dev/nfs ", "tryboot.txt": "arm_freq=1\n\n[all]\n# by pibootd",
		"autoboot.txt": "", "AUTOBOOT.TXT": "", "userconf.txt": "", "USERCONF.TXT": "", "u\u017ferconf.txt": "", "overlays/none": "", "overlays/../start4.elf/": "",
	} {
		got, err := open(t, p, "10.0.0.11", "3333347a/"+name)
		if want == "" && !errors.Is(err, fs.ErrNotExist) || want != "" && (err != nil || !strings.HasPrefix(got, want)) {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	load, err := p.LoadsAs(hlspi1, bootconfig.Pi4B)
	if err != nil || load.Names.Kernel != "Kernel8.img" || len(load.Missing) != 1 || load.Missing[0].What != "device tree" {
		t.Errorf("a Pi 4 loads %+v, %v; want that it finds all but the device tree", load, err)
	}
}

// A preview shows the command line that the firmware would take.
func TestPreviewOfAPrefix(t *testing.T) {
	p := newPolicy(t)
	dir := filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware")
	for name, text := range map[string]string{
		"config.txt": "kernel=vmlinuz\nos_prefix=current/\n", "current/cmdline.txt": "console=tty8\n", "current/vmlinuz": "kernel", "current/bcm2710-rpi-3-b.dtb": "tree",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	got, err := p.Preview(hlspi1)
	if err != nil || got.CommandLineFile != "current/cmdline.txt" || !strings.HasPrefix(got.CommandLine, "console=tty8 ") {
		t.Errorf("Preview = %+v, %v; want that of current/cmdline.txt", got, err)
	}
	if err := os.Remove(filepath.Join(dir, "current/bcm2710-rpi-3-b.dtb")); err != nil {
		t.Fatal(err)
	}
	// Without its device tree the firmware takes no prefix.
	if got, err = p.Preview(hlspi1); err != nil || got.CommandLineFile != "cmdline.txt" || !strings.HasPrefix(got.CommandLine, "console=tty1 ") {
		t.Errorf("Preview = %+v, %v; want that of cmdline.txt", got, err)
	}
}

func TestOpen(t *testing.T) {
	p := newPolicy(t)
	knows(p, map[string][]pi.MAC{
		"10.0.0.98": {hlspi1.MAC},                     // by its EEPROM, or from the house's server
		"10.0.0.97": {{2, 0, 0, 0, 0, 9}, hlspi1.MAC}, // leased to another, who is off
		"10.0.0.96": {{2, 0, 0, 0, 0, 9}},             // a laptop
		"10.0.0.12": {hlspi1.MAC},                     // says its EEPROM, and it is not
	})
	for _, test := range []struct {
		client, name, want string // want "": there is no such file
	}{
		{"10.0.0.11", "bootcode.bin", "bootcode of hlspi1"},
		{"10.0.0.11", "3333347a/start.elf", "start of hlspi1"},
		{"10.0.0.11", "3333347A/start.elf", "start of hlspi1"},
		{"10.0.0.11", "b8-27-eb-33-34-7a/start.elf", "start of hlspi1"},
		{"10.0.0.11", "start.elf", "start of hlspi1"},
		{"10.0.0.11", "3333347a/overlays/README", "overlays of hlspi1"},
		{"10.0.0.11", "3333347a/nothing", ""},
		{"10.0.0.11", "3333347a/overlays", ""},
		{"10.0.0.11", "3333347a/fifo", ""},
		{"10.0.0.11", "3333347a/out", ""},
		{"10.0.0.11", "10000002/start.elf", ""},
		{"10.0.0.11", "10000002/bootcode.bin", ""},
		{"10.0.0.12", "10000002/start.elf", "start of hlspi2"},
		{"10.0.0.12", "start.elf", "start of hlspi2"},
		{"10.0.0.12", "3333347a/start.elf", "start of hlspi1"}, // its EEPROM has another board's address
		{"10.0.0.99", "bootcode.bin", ""},
		{"10.0.0.99", "start.elf", ""},
		{"10.0.0.99", "3333347a/start.elf", ""},
		{"10.0.0.99", "b8-27-eb-33-34-7a/start.elf", ""},
		{"10.0.0.99", "3333347a/config.txt", ""},
		{"10.0.0.99", "3333347a/cmdline.txt", ""},
		{"10.0.0.99", "deadbeef/start.elf", ""},
		{"10.0.0.99", "hlspi1/start.elf", ""},
		{"10.0.0.96", "bootcode.bin", ""},
		{"10.0.0.96", "3333347a/start.elf", ""},
		{"10.0.0.98", "bootcode.bin", "bootcode of hlspi1"}, // a 3B names itself after that only
		{"10.0.0.98", "3333347a/start.elf", "start of hlspi1"},
		{"10.0.0.98", "b8-27-eb-33-34-7a/start.elf", "start of hlspi1"},
		{"10.0.0.98", "cluster-a/start.elf", "start of hlspi1"},
		{"10.0.0.98", "start.elf", "start of hlspi1"},
		{"10.0.0.98", "10000002/start.elf", ""},
		{"10.0.0.98", "3333347a/fifo", ""},
		{"10.0.0.98", "3333347a/../start.elf", ""},
		{"10.0.0.97", "3333347a/start.elf", "start of hlspi1"},
		{"10.0.0.97", "start.elf", "start of hlspi1"},
		{"10.0.0.11", "cluster-a/start.elf", "start of hlspi1"}, // TFTP_PREFIX=1
		{"10.0.0.11", "cluster-a/10000002/start.elf", ""},
		{"10.0.0.11", "3333347a/upstream/start.elf", ""}, // a directory that boot code tries
		{"10.0.0.11", "deadbeef/start.elf", ""},
	} {
		got, err := open(t, p, test.client, test.name)
		switch {
		case test.want == "" && err == nil:
			t.Errorf("%s asking %s got %q; want nothing", test.client, test.name, got)
		case test.want != "" && (err != nil || got != test.want):
			t.Errorf("%s asking %s got %q, %v; want %q", test.client, test.name, got, err, test.want)
		}
	}
	cmdline, err := open(t, p, "10.0.0.11", "3333347a/cmdline.txt")
	if want := "console=tty1 root=/dev/nfs nfsroot=10.0.0.1:/roots/3333347a,"; err != nil || !strings.HasPrefix(cmdline, want) {
		t.Errorf("cmdline.txt = %q, %v; want it to begin %q", cmdline, err, want)
	}
	config, err := open(t, p, "10.0.0.11", "config.txt")
	if err != nil || !strings.HasPrefix(config, "kernel=kernel8.img\n") || !strings.Contains(config, "gpu_mem=192") {
		t.Errorf("config.txt = %q, %v; want the root's own and gpu_mem=192", config, err)
	}
}

// A board owns its root and can put anything there; a link at any place must
// not lead out of it.
func TestOpenStaysInTheRoot(t *testing.T) {
	p := newPolicy(t)
	bootDir := filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware")
	secret := filepath.Join(t.TempDir(), "config.txt")
	write(t, secret, "secret")
	if err := os.RemoveAll(bootDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(secret), bootDir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.txt", "3333347a/config.txt", "3333347a/../config.txt"} {
		if got, err := open(t, p, "10.0.0.11", name); strings.Contains(got, "secret") {
			t.Errorf("%s through a linked boot directory = %q, %v; want no secret", name, got, err)
		}
	}
}

func TestHugeCommandLineIsRefused(t *testing.T) {
	p := newPolicy(t)
	write(t, filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware/cmdline.txt"), strings.Repeat("x", maxText+1))
	if _, err := open(t, p, "10.0.0.11", "cmdline.txt"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a cmdline.txt of %d bytes: %v; want it refused", maxText+1, err)
	}
}

func TestReserve(t *testing.T) {
	p := newPolicy(t)
	got, ok := p.Reserve(t.Context(), dhcp.Client{MAC: hlspi1.MAC})
	if want := (dhcp.Reservation{Addr: hlspi1.IP, Hostname: "hlspi1"}); !ok || got != want {
		t.Errorf("Reserve = %v, %v; want %v", got, ok, want)
	}
	if got, ok := p.Reserve(t.Context(), dhcp.Client{MAC: pi.MAC{2, 0, 0, 0, 0, 1}}); ok {
		t.Errorf("Reserve of a stranger = %v; want silence", got)
	}
}

func TestEvents(t *testing.T) {
	p := newPolicy(t)
	knows(p, map[string][]pi.MAC{"10.0.0.99": {hlspi2.MAC}})
	stranger := pi.MAC{0xb8, 0x27, 0xeb, 1, 2, 3}
	p.DHCPMessage(dhcp.Message{Kind: dhcp.Discover, MAC: hlspi1.MAC, Netboot: true})
	p.DHCPMessage(dhcp.Message{Kind: dhcp.Discover, MAC: stranger, GUID: pi.EncodeGUID(pi.Pi3, 0xc03111, stranger, 0xaa010203), Netboot: true})
	p.DHCPMessage(dhcp.Message{Kind: dhcp.Discover, MAC: pi.MAC{2, 0, 0, 0, 0, 9}}) // a laptop
	p.Transferred(tftp.Transfer{Client: hlspi1.IP, File: "3333347a/start.elf", Bytes: 7, Outcome: tftp.Sent})
	p.Transferred(tftp.Transfer{Client: netip.MustParseAddr("10.0.0.97"), File: "x", Outcome: tftp.Missing})
	if _, err := open(t, p, "10.0.0.99", "10000002/start.elf"); err != nil {
		t.Error(err)
	}
	p.Transferred(tftp.Transfer{Client: netip.MustParseAddr("10.0.0.99"), File: "10000002/start.elf", Outcome: tftp.Sent})
	p.Transferred(tftp.Transfer{Client: netip.MustParseAddr("10.0.0.99"), File: "bootcode.bin", Outcome: tftp.Sent})

	found := p.Registry.Discovered()
	if len(found) != 1 || found[0].MAC != stranger || found[0].Serial != 0xaa010203 {
		t.Errorf("Discovered = %+v; want %s with serial aa010203 alone", found, stranger)
	}
	var got []string
	for event, err := range p.Timeline.Follow(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, event.Board+" "+string(event.Kind))
		if event.File == "bootcode.bin" {
			if event.Detail != "asked from 10.0.0.99, an address of its own" {
				t.Errorf("detail = %q; want the address named", event.Detail)
			}
			break
		}
	}
	want := "3333347a discover, b8:27:eb:01:02:03 unknown, 3333347a file, 10000002 file, 10000002 file"
	if strings.Join(got, ", ") != want {
		t.Errorf("events = %s; want %s", strings.Join(got, ", "), want)
	}
}

// A board whose export is full has that on its timeline; of other exports there
// is none.
func TestLimited(t *testing.T) {
	p := newPolicy(t)
	p.Limited(nfs.LimitEvent{Export: "/muxer", Reason: "full"})
	p.Limited(nfs.LimitEvent{Export: "/scratch/3333347a", Reason: "it holds 5 names; 5 names are allowed"})
	for event, err := range p.Timeline.Follow(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		const want = "refused to write to /scratch/3333347a: it holds 5 names; 5 names are allowed"
		if event.Board != "3333347a" || event.Kind != timeline.Misuse || event.Detail != want {
			t.Errorf("event of %s: %s %q; want misuse %q", event.Board, event.Kind, event.Detail, want)
		}
		break
	}
}

// Boards are discovered whatever the DHCP server does for them, and the GUID
// that all 3B mask ROMs send is no serial number.
func TestDiscovered(t *testing.T) {
	p := newPolicy(t)
	maskROM := append([]byte{0}, bytes.Repeat([]byte{0x44}, 16)...)
	for i, test := range []struct {
		guid   []byte
		reason string // why DHCP did not answer
		serial pi.Serial
		model  pi.Model
		detail string
	}{
		{pi.EncodeGUID(pi.Pi4, 0xc03111, pi.MAC{}, 7), "not registered", 7, pi.Pi4, "serial 00000007 is not registered, so not answered"},
		{pi.EncodeGUID(pi.Pi5, 0xc03111, pi.MAC{}, 8), "", 8, pi.Pi5, "serial 00000008 is not registered"},
		{maskROM, "", 0, pi.Pi3, "not registered"},
		{nil, "not registered", 0, "", "not registered, so not answered"},
	} {
		mac := pi.MAC{2, 0, 0, 0, 1, byte(i)}
		p.DHCPMessage(dhcp.Message{Kind: dhcp.Discover, MAC: mac, GUID: test.guid, Netboot: true, Reason: test.reason})
		all := p.Registry.Discovered()
		found := all[slices.IndexFunc(all, func(d registry.Discovered) bool { return d.MAC == mac })]
		if found.Serial != test.serial || found.Model != test.model || found.FirstSeen.IsZero() || found.LastSeen.IsZero() {
			t.Errorf("board %d is discovered as %+v; want serial %v, model %q", i, found, test.serial, test.model)
		}
		for event, err := range p.Timeline.Follow(t.Context(), mac.String(), 0) {
			if err != nil || event.Kind != timeline.Unknown || event.Detail != test.detail {
				t.Errorf("board %d: event %s %q, %v; want %q", i, event.Kind, event.Detail, err, test.detail)
			}
			break
		}
	}
}

// knows has p know which hosts have which addresses.
func knows(p *Policy, hosts map[string][]pi.MAC) {
	p.Hosts = func(_ context.Context, addr netip.Addr) []pi.MAC { return hosts[addr.String()] }
}

// dirs gives every board a directory below it.
type dirs string

func (d dirs) Path(serial pi.Serial) string { return filepath.Join(string(d), serial.String()) }

func newPolicy(t testing.TB) *Policy {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := registry.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	events, err := timeline.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{Registry: known, Timeline: events, Roots: dirs(t.TempDir()), Server: server, Log: slog.New(slog.DiscardHandler)}
	for _, board := range []registry.Pi{hlspi1, hlspi2} {
		if _, err := known.Add(t.Context(), board, "token of "+board.Name); err != nil {
			t.Fatal(err)
		}
		makeBootDir(t, filepath.Join(p.Roots.Path(board.Serial), "boot/firmware"), board.Name)
	}
	ctx, ended := t.Context(), make(chan error, 1)
	go func() { ended <- events.Run(ctx) }()
	t.Cleanup(func() {
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func makeBootDir(t testing.TB, dir, name string) {
	t.Helper()
	write(t, filepath.Join(dir, "bootcode.bin"), "bootcode of "+name)
	write(t, filepath.Join(dir, "start.elf"), "start of "+name)
	write(t, filepath.Join(dir, "overlays/README"), "overlays of "+name)
	write(t, filepath.Join(dir, "config.txt"), "kernel=kernel8.img\n")
	write(t, filepath.Join(dir, "cmdline.txt"), "console=tty1\n")
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, p *Policy, client, name string) (string, error) {
	t.Helper()
	file, size, err := p.Open(t.Context(), netip.MustParseAddr(client), name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err == nil && int64(len(text)) != size {
		t.Errorf("%s has %d bytes; want the %d that were said", name, len(text), size)
	}
	return string(text), err
}
