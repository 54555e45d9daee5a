//go:build netns

package virtualpi

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
)

// pxeService makes dnsmasq send options 43 and 60 as a Pi wants them, with
// itself as siaddr. It would put a NUL after any option 66.
const pxeService = `--pxe-service=0,"Raspberry Pi Boot"`

const serialDir = "3333347a/"

// boardFiles are what a board of model boots from, and a kernel that a Pi 3 must
// not take.
func boardFiles(model Model) map[string]string {
	m, n := profileOf(model), namesOf(model)
	files := map[string]string{
		serialDir + "start.elf":      "firmware",
		serialDir + "fixup.dat":      "fix-up",
		serialDir + "config.txt":     testConfig,
		serialDir + "cmdline.txt":    "console=serial0,115200 root=/dev/nfs\n",
		serialDir + n.Kernel:         strings.Repeat("kernel", 10000),
		serialDir + "initrd.img":     "initramfs",
		serialDir + n.DeviceTrees[0]: "device tree",
	}
	if m.rom != nil {
		files["bootcode.bin"] = "rom stage"
	}
	if m.generation != pi.Pi3 {
		files[serialDir+"start4.elf"] = "firmware"
	}
	return files
}

const testConfig = "arm_64bit=1\ninitramfs initrd.img followkernel\ndtoverlay=disable-bt\n[pi4]\nkernel=kernel-for-4.img\n"

// namesOf is what a model loads of a directory that has everything.
func namesOf(model Model) names {
	n, err := bootconfig.Read(bootconfig.Board{Model: model}, []byte(testConfig), nil).Names(func(string) (bool, error) { return true, nil })
	if err != nil {
		panic(err)
	}
	return names(n)
}

func profileOf(model Model) profile {
	m, err := (&Board{Model: model}).profile()
	if err != nil {
		panic(err)
	}
	return m
}

// powerOn boots b with short times and returns what it did in words of one
// step each.
func powerOn(t *testing.T, b *Board, lan Socket) (*Boot, []string, error) {
	t.Helper()
	b.Timing = Timing{DHCPRetry: 300 * time.Millisecond, DHCPTimeout: 900 * time.Millisecond, TFTPRetry: time.Second, FileTimeout: 5 * time.Second}
	steps := stepsOf(b)
	boot, err := b.PowerOn(t.Context(), lan)
	wantNoPort(t, lan, "rom")
	return boot, *steps, err
}

// stepsOf gathers what b does in words of one step each.
func stepsOf(b *Board) *[]string {
	steps := new([]string)
	b.OnStep = func(s Step) {
		word := s.Name
		if s.File != "" {
			word += " " + s.File
		}
		*steps = append(*steps, word)
	}
	return steps
}

func TestPowerOn(t *testing.T) {
	tests := []struct {
		model     Model
		kernel    string
		wantSteps []string
		wantLog   []string // of dnsmasq, which handles a request before it logs the one before
	}{
		{
			model:  Pi3B,
			kernel: "kernel8.img",
			wantSteps: []string{
				"discover", "offer", "file bootcode.bin", "missing bootsig.bin", "probe 3333347a/start.elf",
				"missing 3333347a/autoboot.txt", "file 3333347a/config.txt", "missing 3333347a/recovery.elf", "file 3333347a/start.elf", "file 3333347a/fixup.dat",
				"missing 3333347a/recovery.elf", "probe 3333347a/config.txt", "file 3333347a/config.txt", "missing 3333347a/dt-blob.bin",
				"missing 3333347a/recovery.elf", "probe 3333347a/config.txt", "file 3333347a/config.txt", "missing 3333347a/bootcfg.txt",
				"probe 3333347a/bcm2710-rpi-3-b.dtb", "file 3333347a/bcm2710-rpi-3-b.dtb", "missing 3333347a/overlays/overlay_map.dtb",
				"probe 3333347a/config.txt", "file 3333347a/config.txt", "missing 3333347a/overlays/disable-bt.dtbo",
				"probe 3333347a/cmdline.txt", "file 3333347a/cmdline.txt", "missing 3333347a/recovery8.img", "probe 3333347a/kernel8.img", "missing 3333347a/armstub8.bin",
				"probe 3333347a/initrd.img", "file 3333347a/initrd.img", "probe 3333347a/kernel8.img", "file 3333347a/kernel8.img", "kernel kernel8.img",
			},
			wantLog: []string{
				"653460281 vendor class: PXEClient:Arch:00000:UNDI:002001", "653460281 DHCPDISCOVER(br0) b8:27:eb:33:34:7a", "653460281 DHCPOFFER(br0) 10.77.0.50",
				"/bootcode.bin to 10.77.0.50", "bootsig.bin not found", "Early terminate", "3333347a/recovery.elf not found", "3333347a/start.elf to 10.77.0.50",
				"3333347a/cmdline.txt to 10.77.0.50", "3333347a/kernel8.img to 10.77.0.50",
			},
		},
		{
			model:  Pi4B,
			kernel: "kernel-for-4.img",
			wantSteps: []string{
				"discover", "offer", "request", "ack", "probe 3333347a/start4.elf",
				"file 3333347a/config.txt", "missing 3333347a/vl805.sig", "missing 3333347a/pieeprom.sig", "missing 3333347a/recover4.elf", "missing 3333347a/recovery.elf",
				"file 3333347a/start4.elf", "missing 3333347a/fixup4.dat", "file 3333347a/config.txt", "file 3333347a/cmdline.txt", "file 3333347a/initrd.img",
				"file 3333347a/bcm2711-rpi-4-b.dtb", "missing 3333347a/overlays/overlay_map.dtb", "missing 3333347a/overlays/disable-bt.dtbo",
				"missing 3333347a/armstub8-gic.bin", "file 3333347a/kernel-for-4.img", "kernel kernel-for-4.img",
			},
			wantLog: []string{
				"vendor class: PXEClient:Arch:00000:UNDI:002001", "DHCPDISCOVER(br0) b8:27:eb:33:34:7a", "DHCPOFFER(br0) 10.77.0.50", "DHCPREQUEST(br0) 10.77.0.50", "DHCPACK(br0) 10.77.0.50",
				"Early terminate", "3333347a/config.txt to 10.77.0.50", "3333347a/vl805.sig not found", "3333347a/start4.elf to 10.77.0.50", "3333347a/kernel-for-4.img to 10.77.0.50",
			},
		},
	}
	for _, tt := range tests {
		t.Run(string(tt.model), func(t *testing.T) {
			t.Parallel()
			lan, files := newLAN(t), boardFiles(tt.model)
			server := startDnsmasq(t, lan, bootFiles(t, files), pxeService)
			boot, steps, err := powerOn(t, testBoard(tt.model), lan)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(steps, tt.wantSteps) {
				t.Errorf("steps =\n%s\nwant\n%s", strings.Join(steps, "\n"), strings.Join(tt.wantSteps, "\n"))
			}
			server.wantLogged(t, tt.wantLog)
			checkBoot(t, boot, files, tt.kernel)
		})
	}
}

func checkBoot(t *testing.T, boot *Boot, files map[string]string, kernel string) {
	t.Helper()
	if want := netip.MustParsePrefix("10.77.0.50/24"); boot.Addr != want {
		t.Errorf("Addr = %s; want %s", boot.Addr, want)
	}
	server := netip.MustParseAddr("10.77.0.1")
	if boot.Server != server || boot.TFTP != server || boot.Router != server {
		t.Errorf("Server, TFTP, Router = %s, %s, %s; want %s for all", boot.Server, boot.TFTP, boot.Router, server)
	}
	if boot.Prefix != serialDir {
		t.Errorf("Prefix = %q; want %q", boot.Prefix, serialDir)
	}
	if got, want := string(boot.Kernel), files[serialDir+kernel]; got != want {
		t.Errorf("Kernel has %d bytes; want the %d of %s", len(got), len(want), kernel)
	}
	if string(boot.Initramfs) != "initramfs" || string(boot.DeviceTree) != "device tree" {
		t.Errorf("Initramfs, DeviceTree = %q, %q", boot.Initramfs, boot.DeviceTree)
	}
	if want := "console=ttyAMA0,115200 root=/dev/nfs"; boot.Cmdline != want {
		t.Errorf("Cmdline = %q; want %q", boot.Cmdline, want)
	}
	if boot.Config != files[serialDir+"config.txt"] {
		t.Errorf("Config = %q", boot.Config)
	}
	for _, f := range boot.Files {
		if int64(len(files[f.Name])) != f.Bytes {
			t.Errorf("File %s has %d bytes; want %d", f.Name, f.Bytes, len(files[f.Name]))
		}
	}
}

func TestPowerOnWithoutSerialDirectory(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for name, content := range boardFiles(Pi3B) {
		files[strings.TrimPrefix(name, serialDir)] = content
	}
	lan := newLAN(t)
	startDnsmasq(t, lan, bootFiles(t, files), pxeService)
	boot, _, err := powerOn(t, testBoard(Pi3B), lan)
	if err != nil {
		t.Fatal(err)
	}
	if boot.Prefix != "" {
		t.Errorf("Prefix = %q; want none", boot.Prefix)
	}
}

func TestPowerOnFails(t *testing.T) {
	tests := []struct {
		name    string
		model   Model
		options []string // of dnsmasq; nil: no server
		drop    string   // from the files
		wantIs  error
		want    string
	}{
		{name: "no server", model: Pi3B, wantIs: ErrNoOffer, want: "3 DISCOVERs in 900ms: no DHCP server answered"},
		{name: "no server for a Pi 4", model: Pi4B, wantIs: ErrNoOffer, want: "3 DISCOVERs in 900ms"},
		{name: "no option 43", model: Pi3B, options: []string{"--dhcp-option-force=60,PXEClient"}, want: `3 offers, none with "Raspberry Pi Boot" in option 43`},
		{name: "no option 60", model: Pi4B, options: []string{"--dhcp-option-force=43,Raspberry Pi Boot"}, want: "an option 60 that begins with PXEClient"},
		{name: "a NUL in option 66", model: Pi4B, options: []string{pxeService, "--dhcp-option-force=66,10.77.0.1"}, want: `option 66 from 10.77.0.1 is "10.77.0.1\x00"`},
		{name: "bootcode.bin", model: Pi3B, options: []string{pxeService}, drop: "bootcode.bin", wantIs: fs.ErrNotExist, want: "a Raspberry Pi 3B does not boot without bootcode.bin"},
		{name: "start4.elf", model: Pi4B, options: []string{pxeService}, drop: serialDir + "start4.elf", wantIs: fs.ErrNotExist, want: "without 3333347a/start4.elf"},
		{name: "config.txt", model: Pi4B, options: []string{pxeService}, drop: serialDir + "config.txt", wantIs: fs.ErrNotExist, want: "without 3333347a/config.txt"},
		{name: "kernel", model: Pi3B, options: []string{pxeService}, drop: serialDir + "kernel8.img", wantIs: fs.ErrNotExist, want: "without 3333347a/kernel8.img"},
		{name: "initramfs", model: Pi3B, options: []string{pxeService}, drop: serialDir + "initrd.img", wantIs: fs.ErrNotExist, want: "without 3333347a/initrd.img"},
		{name: "cmdline.txt", model: Pi4B, options: []string{pxeService}, drop: serialDir + "cmdline.txt", wantIs: fs.ErrNotExist, want: "without 3333347a/cmdline.txt"},
		{name: "device tree", model: Pi4B, options: []string{pxeService}, drop: serialDir + "bcm2711-rpi-4-b.dtb", wantIs: fs.ErrNotExist, want: "without 3333347a/bcm2711-rpi-4-b.dtb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lan, files := newLAN(t), maps.Clone(boardFiles(tt.model))
			delete(files, tt.drop)
			if tt.options != nil {
				startDnsmasq(t, lan, bootFiles(t, files), tt.options...)
			}
			boot, _, err := powerOn(t, testBoard(tt.model), lan)
			if err == nil {
				t.Fatalf("PowerOn = %+v; want an error", boot)
			}
			if tt.wantIs != nil && !errors.Is(err, tt.wantIs) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v; want %q in it, matching %v", err, tt.want, tt.wantIs)
			}
		})
	}
}

func TestPowerOnEndsWithItsContext(t *testing.T) {
	for _, at := range []string{Discover, Fetched} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			lan := newLAN(t)
			startDnsmasq(t, lan, bootFiles(t, boardFiles(Pi3B)), pxeService)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := testBoard(Pi3B)
			b.OnStep = func(s Step) {
				if s.Name == at {
					cancel()
				}
			}
			if boot, err := b.PowerOn(ctx, lan); !errors.Is(err, context.Canceled) {
				t.Errorf("PowerOn = %v, %v; want context.Canceled", boot, err)
			}
			wantNoPort(t, lan, "rom")
		})
	}
}

func TestPowerOnWithoutABridge(t *testing.T) {
	lan := newLAN(t)
	for bridge, want := range map[string]string{"lo": `"lo" is not a bridge`, "br7": "finding interface br7"} {
		_, err := testBoard(Pi3B).PowerOn(t.Context(), Socket{Namespace: lan.Namespace, Bridge: bridge})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("PowerOn at %s: error = %v; want %q in it", bridge, err, want)
		}
	}
}
