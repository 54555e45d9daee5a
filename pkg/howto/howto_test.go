package howto

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// howtoTree makes what the older pool's instructions lead to, below a directory,
// and returns its sources.
func howtoTree(t *testing.T) (dir string, s Sources) {
	t.Helper()
	dir = t.TempDir()
	roots, tftp := filepath.Join(dir, "PiRoots"), filepath.Join(dir, "tftp")
	cmdline := "selinux=0 dwc_otg.lpm_enable=0 console=tty1 nfsroot=192.168.1.87:" + roots + "/NAME,v3 ip=dhcp root=/dev/nfs rw elevator=deadline rootwait"
	for _, name := range []string{"HLSPi1", "HLSPi2", "HLSPi4"} {
		put(t, filepath.Join(roots, name, "boot/cmdline.txt"), "console=serial0,115200 console=tty1 root=PARTUUID=1-02 rootfstype=ext4 elevator=deadline rootwait\n")
		put(t, filepath.Join(roots, name, "boot/config.txt"), "dtparam=audio=on\n[pi4]\ndtoverlay=vc4-fkms-v3d\n[all]\n")
		put(t, filepath.Join(roots, name, "boot/start.elf"), "start")
		put(t, filepath.Join(roots, name, "boot/kernel7.img"), "kernel")
	}
	put(t, filepath.Join(tftp, "start.elf"), "start")
	put(t, filepath.Join(tftp, "kernel7.img"), "kernel")
	for serial, name := range map[string]string{"3333347a": "HLSPi1", "99aabbcc": "HLSPi2", "10203040": "HLSPi4"} {
		put(t, filepath.Join(tftp, serial, "cmdline.txt"), strings.Replace(cmdline, "NAME", name, 1)+"\n")
		put(t, filepath.Join(tftp, serial, "config.txt"), "dtparam=audio=on\ngpu_mem=192\n")
		for _, file := range []string{"start.elf", "kernel7.img"} {
			if err := os.Symlink("../"+file, filepath.Join(tftp, serial, file)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(t, filepath.Join(tftp, "3333347a/cmdline.txt"), strings.Replace(cmdline, "NAME", "HLSPi1", 1)+" muxid=1 muxhwdec=1\n")
	put(t, filepath.Join(tftp, "3333347a/config.txt"), "dtparam=audio=on\ngpu_mem=192\ndecode_MPG2=0x12345678\n[pi4]\nover_voltage=2\n")
	top, err := os.OpenRoot(tftp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { top.Close() })
	s = Sources{TFTP: top, Exports: exportsOf(t, roots)}
	if s.DHCPD, err = ParseDHCPD(read(t, "testdata/dhcpd.conf")); err != nil {
		t.Fatal(err)
	}
	return dir, s
}

// exportsOf reads the test's exports, with the roots where the test has them.
func exportsOf(t *testing.T, roots string) []Export {
	t.Helper()
	exports, err := ParseExports([]byte(strings.ReplaceAll(string(read(t, "testdata/exports")), "/mnt/PiRoots", roots)))
	if err != nil {
		t.Fatal(err)
	}
	return exports
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A TFTP directory without boards is said to be one.
func TestPlanOfNoBoards(t *testing.T) {
	top, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	p, err := Sources{TFTP: top}.Plan()
	if err != nil || len(p.Boards) > 0 || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "serial number, such as 3333347a") {
		t.Errorf("Plan = %+v, %v; want a note that says what is missing", p, err)
	}
}

// The configuration of the instructions themselves makes the boards that it is for.
func TestPlan(t *testing.T) {
	dir, s := howtoTree(t)
	p, err := s.Plan()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"selinux=0", "dwc_otg.lpm_enable=0"}
	want := Plan{
		Boards: []Board{
			{Serial: 0x10203040, MAC: mac(t, "dc:a6:32:01:02:03"), Name: "hlspi4", IP: netip.MustParseAddr("192.168.1.12"), Template: "hlspi4", Root: dir + "/PiRoots/HLSPi4",
				Settings: registry.Settings{GPUMem: 192, Args: args}, Notes: []string{"its root " + dir + "/PiRoots/HLSPi4 is not in the exports"}},
			{Serial: 0x3333347a, MAC: mac(t, "b8:27:eb:33:34:7a"), Name: "hlspi1", IP: netip.MustParseAddr("192.168.1.10"), Template: "hlspi1", Root: dir + "/PiRoots/HLSPi1",
				Settings: registry.Settings{MuxID: 1, HWDecode: true, GPUMem: 192, Args: args, Config: []string{"decode_MPG2=0x12345678"}},
				Notes:    []string{`the line "over_voltage=2" of its config.txt is for [pi4] alone and not taken over`}},
			{Serial: 0x99aabbcc, MAC: mac(t, "b8:27:eb:aa:bb:cc"), Name: "hlspi2", IP: netip.MustParseAddr("192.168.1.11"), Template: "hlspi2", Root: dir + "/PiRoots/HLSPi2",
				Settings: registry.Settings{GPUMem: 192, Args: args}},
		},
		Config: []string{"[dhcp]", `mode = "pool"`, `pool = "192.168.1.150-192.168.1.200"`, `router = "192.168.1.254"`, `dns = ["8.8.8.8", "8.8.4.4"]`, `domain = "home"`},
		Notes:  []string{"host printer (00:11:22:33:44:55) has no directory of boot files and is left out"},
	}
	if diff := cmp.Diff(want, p, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("Plan (-want +got):\n%s", diff)
	}
}

func mac(t *testing.T, text string) pi.MAC {
	t.Helper()
	m, err := pi.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What keeps a board from being imported is said of that board alone.
func TestPlanProblems(t *testing.T) {
	for name, test := range map[string]struct {
		change func(dir string, s *Sources)
		want   string // in the problems or notes of 10203040
	}{
		"no host":      {func(_ string, s *Sources) { s.DHCPD.Hosts = s.DHCPD.Hosts[:2] }, "--pair 10203040=HOST"},
		"two hosts":    {func(_ string, s *Sources) { s.DHCPD.Hosts = append(s.DHCPD.Hosts, Host{Name: "x", HostName: "HLSPi4"}) }, "2 host blocks of dhcpd.conf may be its"},
		"a wrong pair": {func(_ string, s *Sources) { s.Pairs = map[pi.Serial]string{0x10203040: "hlspi"} }, "are not of one board"},
		"no such pair": {func(_ string, s *Sources) { s.Pairs = map[pi.Serial]string{0x10203040: "nosuch"} }, "no host block of dhcpd.conf is called nosuch"},
		"no root":      {func(dir string, _ *Sources) { os.RemoveAll(dir + "/PiRoots/HLSPi4") }, "is no directory of this machine"},
		"no boot":      {func(dir string, _ *Sources) { os.RemoveAll(dir + "/PiRoots/HLSPi4/boot") }, "its root has no boot directory"},
		"no nfsroot": {func(dir string, _ *Sources) {
			os.WriteFile(dir+"/tftp/10203040/cmdline.txt", []byte("root=/dev/mmcblk0p2"), 0o644)
		}, "names no root"},
		"no cmdline": {func(dir string, _ *Sources) { os.Remove(dir + "/tftp/10203040/cmdline.txt") }, "its cmdline.txt cannot be read"},
		"a long one": {func(dir string, _ *Sources) {
			os.WriteFile(dir+"/tftp/10203040/cmdline.txt", make([]byte, maxCmdline+1), 0o644)
		}, "is longer than 4096 bytes"},
		"a link out": {func(dir string, _ *Sources) {
			os.Remove(dir + "/tftp/10203040/config.txt")
			os.Symlink("/etc/passwd", dir+"/tftp/10203040/config.txt")
		}, "path escapes from parent"},
		"another file": {func(dir string, _ *Sources) { os.WriteFile(dir+"/tftp/kernel7.img", []byte("older"), 0o644) }, "it was served kernel7.img, which"},
		"a twin's root": {func(dir string, _ *Sources) {
			os.WriteFile(dir+"/tftp/99aabbcc/cmdline.txt", []byte("nfsroot="+dir+"/PiRoots/HLSPi4"), 0o644)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, s := howtoTree(t)
			test.change(dir, &s)
			p, err := s.Plan()
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Join(append(p.Boards[0].Problems, p.Boards[0].Notes...), "\n")
			if p.Boards[0].Serial != 0x10203040 || !strings.Contains(said, test.want) {
				t.Errorf("%s: %q; want %q in it", p.Boards[0].Serial, said, test.want)
			}
			if len(p.Boards) != 3 || len(p.Boards[1].Problems) > 0 {
				t.Errorf("the other boards: %+v; want no problem", p.Boards[1:])
			}
		})
	}
}

func TestParseExports(t *testing.T) {
	for text, want := range map[string][]Export{
		"":                                nil,
		"# nothing\n\n":                   nil,
		"/a":                              {{Path: "/a"}},
		"/a b(rw) c # d":                  {{Path: "/a", Clients: []string{"b", "c"}}},
		"/a -ro b c(rw)":                  {{Path: "/a", Clients: []string{"b", "c"}}},
		"/a \\\n  b(rw)\n/c d":            {{Path: "/a", Clients: []string{"b"}}, {Path: "/c", Clients: []string{"d"}}},
		`"/with blank" b`:                 {{Path: "/with blank", Clients: []string{"b"}}},
		`/with\040blank (ro)`:             {{Path: "/with blank", Clients: []string{""}}},
		"/a @group(rw) *.home 10.0.0.0/8": {{Path: "/a", Clients: []string{"@group", "*.home", "10.0.0.0/8"}}},
	} {
		if got, err := ParseExports([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseExports(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	if _, err := ParseExports([]byte("/a b\n\"/c d\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a quote that is not closed: %v; want an error that names line 2", err)
	}
}

func TestParseDHCPDErrors(t *testing.T) {
	for text, want := range map[string]string{
		"host a {":                    "line 1: the file ends in the middle",
		"}":                           "unexpected }",
		"a b\n}":                      "line 2: unexpected }",
		"\n\noption x \"y;\n":         "line 3: a string has no closing quote",
		strings.Repeat("a {", 40):     "more than 32 blocks",
		strings.Repeat("#", 1<<20+1):  "want at most 1048576",
		"option domain-name \"home\"": "the file ends in the middle",
	} {
		if _, err := ParseDHCPD([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDHCPD(%.30q) = %v; want %q in the error", text, err, want)
		}
	}
}

func TestNFSPath(t *testing.T) {
	for value, want := range map[string]string{
		"192.168.1.50:/mnt/PiRoots/HLSPi1,v3": "/mnt/PiRoots/HLSPi1",
		"/mnt/a":                              "/mnt/a",
		"/mnt/a:b,v3":                         "/mnt/a:b",
		"nas:/a":                              "/a",
	} {
		if got := nfsPath(value); got != want {
			t.Errorf("nfsPath(%q) = %q; want %q", value, got, want)
		}
	}
}

func FuzzParseDHCPD(f *testing.F) {
	text, err := os.ReadFile("testdata/dhcpd.conf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`host "a" { hardware ethernet 1; fixed-address a, b; option host-name; } subnet 1 netmask 2 { range; range dynamic-bootp; }`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ParseDHCPD(text)
		if err == nil && len(got.Hosts)+len(got.Subnets) > len(text) {
			t.Errorf("%d hosts and %d subnets in %d bytes", len(got.Hosts), len(got.Subnets), len(text))
		}
	})
}

func FuzzParseExports(f *testing.F) {
	text, err := os.ReadFile("testdata/exports")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("\"a\\040\" \\\n b(c)"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ParseExports(text)
		for _, export := range got {
			if err == nil && len(export.Path) > len(text) {
				t.Errorf("a path of %d bytes in %d", len(export.Path), len(text))
			}
		}
	})
}

func FuzzReadTFTP(f *testing.F) {
	f.Add("nfsroot=1.2.3.4:/a,v3 muxid=1 muxhwdec=1 init=/bin/sh", "gpu_mem=192\n[pi4]\na=b\n[all]\nc=d")
	f.Add("muxid=x nfsroot= = root", "=\n[\ngpu_mem=y")
	f.Fuzz(func(t *testing.T, cmdline, config string) {
		var d Directory
		d.setArgs(cmdline)
		d.setConfig(config)
		for _, line := range d.Settings.Config {
			if err := registry.CheckConfigLine(line); err != nil {
				t.Error(err)
			}
		}
	})
}
