package bootcheck

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/roottest"
)

const testBanner = "Linux version 6.12.47+rpt-rpi-v8 (serge@raspberrypi.com) #1 SMP"

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBannerVersion(t *testing.T) {
	padding := strings.Repeat("\x00code", 300000)
	const want = "6.12.47+rpt-rpi-v8"
	for name, kernel := range map[string]string{
		"plain":        padding + testBanner,
		"gzip":         gzipped(t, padding+testBanner+padding),
		"zImage":       "\x00\x00\xa0\xe1" + zImageGzip + "\x08\x00false start" + gzipped(t, padding+testBanner) + "tail",
		"on the seam":  strings.Repeat("x", 1<<20-20) + testBanner,
		"seam, packed": gzipped(t, strings.Repeat("x", 1<<20-20)+testBanner),
	} {
		if got := bannerVersion([]byte(kernel)); got != want {
			t.Errorf("%s: bannerVersion = %q; want %q", name, got, want)
		}
	}
	if got := bannerVersion([]byte("Linux version unknown (" + padding)); got != "" {
		t.Errorf("bannerVersion = %q; want none", got)
	}
}

func FuzzBannerVersion(f *testing.F) {
	f.Add([]byte(testBanner))
	f.Add([]byte(zImageGzip + "x"))
	f.Fuzz(func(t *testing.T, kernel []byte) {
		if strings.Contains(bannerVersion(kernel), "/") {
			t.Error("a version has a slash: it becomes part of a path")
		}
	})
}

// bootable is a root that boots every model.
func bootable(t *testing.T) roottest.Spec {
	t.Helper()
	return roottest.Spec{
		"usr/lib/modules/6.12.47+rpt-rpi-v8/":    "dir",
		"lib":                                    "-> usr/lib",
		"boot/firmware/config.txt":               "kernel=other.img\n",
		"boot/firmware/kernel8.img":              gzipped(t, testBanner),
		"boot/firmware/other.img":                testBanner,
		"boot/firmware/bootcode.bin":             "x",
		"boot/firmware/start.elf":                "x",
		"boot/firmware/fixup.dat":                "x",
		"boot/firmware/start4.elf":               "x",
		"boot/firmware/fixup4.dat":               "x",
		"boot/firmware/bcm2710-rpi-3-b.dtb":      "x",
		"boot/firmware/bcm2711-rpi-4-b.dtb":      "x",
		"boot/firmware/bcm2712-rpi-5-b.dtb":      "x",
		"boot/firmware/overlays/overlay_map.dtb": "x",
	}
}

func TestCheckTree(t *testing.T) {
	for name, test := range map[string]struct {
		change func(roottest.Spec)
		model  pi.Model
		want   []string // the files of the mismatches
	}{
		"whole":       {func(roottest.Spec) {}, "", nil},
		"whole, Pi 3": {func(roottest.Spec) {}, pi.Pi3, nil},
		"whole, Pi 4": {func(roottest.Spec) {}, pi.Pi4, nil},
		"whole, Pi 5": {func(roottest.Spec) {}, pi.Pi5, nil},
		"modules of another kernel": {func(s roottest.Spec) {
			delete(s, "usr/lib/modules/6.12.47+rpt-rpi-v8/")
			s["usr/lib/modules/6.12.48+rpt-rpi-v8/"] = "dir"
		}, "", []string{"boot/firmware/kernel8.img", "boot/firmware/other.img"}},
		"half a firmware":              {func(s roottest.Spec) { delete(s, "boot/firmware/fixup4.dat") }, "", []string{"boot/firmware/start4.elf"}},
		"no firmware of the Pi 4":      {func(s roottest.Spec) { delete(s, "boot/firmware/start4.elf") }, pi.Pi4, []string{"boot/firmware/start4.elf"}},
		"it does not matter to a Pi 3": {func(s roottest.Spec) { delete(s, "boot/firmware/start4.elf") }, pi.Pi3, nil},
		"no device tree":               {func(s roottest.Spec) { delete(s, "boot/firmware/bcm2712-rpi-5-b.dtb") }, pi.Pi5, []string{"boot/firmware/bcm2712-rpi-5-b.dtb"}},
		"kernel that tells nothing":    {func(s roottest.Spec) { s["boot/firmware/kernel7.img"] = "secret" }, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			spec := bootable(t)
			test.change(spec)
			spec.Make(t, dir)
			found, err := CheckTree(dir, test.model)
			if err != nil {
				t.Fatal(err)
			}
			var files []string
			for _, m := range found {
				files = append(files, m.File)
			}
			if diff := cmp.Diff(test.want, files); diff != "" {
				t.Errorf("mismatches (-want +got):\n%s\n%v", diff, found)
			}
		})
	}
}

func TestSupported(t *testing.T) {
	dir := t.TempDir()
	spec := bootable(t)
	delete(spec, "boot/firmware/bcm2710-rpi-3-b.dtb")
	spec.Make(t, dir)
	root := roottest.OpenRoot(t, dir)
	if diff := cmp.Diff([]pi.Model{pi.Pi4, pi.Pi5}, New(root, BootDir(root)).Supported()); diff != "" {
		t.Errorf("supported (-want +got):\n%s", diff)
	}
}

// ubuntu is a root as Ubuntu has it since 25.10: what boots is in a directory of its own.
func ubuntu(t *testing.T) roottest.Spec {
	t.Helper()
	return roottest.Spec{
		"usr/lib/modules/6.17.0-1004-raspi/": "dir",
		"lib":                                "-> usr/lib",
		"boot/firmware/config.txt": "[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\n[pi4]\nmax_framebuffers=2\n" +
			"[all]\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n",
		"boot/firmware/bootcode.bin":                          "x",
		"boot/firmware/start.elf":                             "x",
		"boot/firmware/fixup.dat":                             "x",
		"boot/firmware/start4.elf":                            "x",
		"boot/firmware/fixup4.dat":                            "x",
		"boot/firmware/current/vmlinuz":                       gzipped(t, "Linux version 6.17.0-1004-raspi (buildd@bos03) #4"),
		"boot/firmware/current/initrd.img":                    "x",
		"boot/firmware/current/cmdline.txt":                   "console=tty1\n",
		"boot/firmware/current/bcm2710-rpi-3-b.dtb":           "x",
		"boot/firmware/current/bcm2711-rpi-4-b.dtb":           "x",
		"boot/firmware/current/bcm2712-rpi-cm5-cm5io.dtb":     "x",
		"boot/firmware/current/overlays/README":               "x",
		"boot/firmware/current/overlays/vc4-kms-v3d-pi4.dtbo": "x",
	}
}

func TestPrefixes(t *testing.T) {
	all := []pi.Model{pi.Pi3, pi.Pi4, pi.Pi5}
	for name, test := range map[string]struct {
		change    func(roottest.Spec)
		supported []pi.Model
		want      []string // the files of the mismatches
	}{
		"Ubuntu 25.10":          {func(roottest.Spec) {}, all, nil},
		"without the initramfs": {func(s roottest.Spec) { delete(s, "boot/firmware/current/initrd.img") }, nil, nil},
		"without the modules": {func(s roottest.Spec) { delete(s, "usr/lib/modules/6.17.0-1004-raspi/") }, all,
			[]string{"boot/firmware/current/vmlinuz"}},
		"a second system that is tried": {func(s roottest.Spec) {
			s["boot/firmware/new/vmlinuz"] = "Linux version 6.18.0-1001-raspi (x)"
			s["boot/firmware/new/bcm2711-rpi-4-b.dtb"] = "x"
		}, all, []string{"boot/firmware/new/vmlinuz"}},
		"tryboot.txt": {func(s roottest.Spec) {
			s["boot/firmware/tryboot.txt"] = "kernel=try.img\n"
			s["boot/firmware/try.img"] = "Linux version 6.18.0-1001-raspi (x)"
		}, all, []string{"boot/firmware/try.img"}},
		"in upper case, as on FAT": {func(s roottest.Spec) {
			for name, text := range s {
				if file, ok := strings.CutPrefix(name, "boot/firmware/"); ok {
					delete(s, name)
					s["boot/firmware/"+strings.ToUpper(file)] = text
				}
			}
		}, all, nil},
		"in upper case, without the modules": {func(s roottest.Spec) {
			delete(s, "usr/lib/modules/6.17.0-1004-raspi/")
			s["boot/firmware/current/VMLINUZ"] = s["boot/firmware/current/vmlinuz"]
			delete(s, "boot/firmware/current/vmlinuz")
		}, all, []string{"boot/firmware/current/VMLINUZ"}},
		"by an included file": {func(s roottest.Spec) {
			s["boot/firmware/config.txt"] = "kernel=vmlinuz\ninclude sys/conf.txt\n"
			s["boot/firmware/sys/conf.txt"] = "[pi4]\nos_prefix=current/\n"
		}, []pi.Model{pi.Pi4}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			spec := ubuntu(t)
			test.change(spec)
			spec.Make(t, dir)
			root := roottest.OpenRoot(t, dir)
			c := New(root, BootDir(root))
			if diff := cmp.Diff(test.supported, c.Supported(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("supported (-want +got):\n%s", diff)
			}
			c.Check()
			var files []string
			for _, m := range c.Found {
				files = append(files, m.File)
			}
			if diff := cmp.Diff(test.want, files); diff != "" {
				t.Errorf("mismatches (-want +got):\n%s\n%v", diff, c.Found)
			}
		})
	}
}
