package adapt

import (
	"strings"
	"testing"

	"pibootd/pkg/rootfs/roottest"
)

// Whatever the layout, the boot directory of an imported root is a mount, as the scripts of
// kernel and firmware packages want it.
func TestBootDirectoryIsMounted(t *testing.T) {
	const bind, bindOld = "/boot/firmware /boot/firmware none bind 0 0\n", "/boot /boot none bind 0 0\n"
	for name, test := range map[string]struct {
		boot  string
		files roottest.Spec
		want  string // fstab
		lacks bool   // before
	}{
		"Raspberry Pi OS, bookworm": {"boot/firmware", roottest.Spec{"etc/fstab": "proc /proc proc defaults 0 0\nPARTUUID=1-01 /boot/firmware vfat defaults 0 2\n"},
			"proc /proc proc defaults 0 0\n# not on NFS: PARTUUID=1-01 /boot/firmware vfat defaults 0 2\n" + bind, false},
		"Raspberry Pi OS, bullseye": {"boot", roottest.Spec{"etc/fstab": "PARTUUID=1-01  /boot  vfat  defaults  0  2"},
			"# not on NFS: PARTUUID=1-01  /boot  vfat  defaults  0  2\n" + bindOld, false},
		"an older import": {"boot/firmware", roottest.Spec{"etc/fstab": "# not on NFS: PARTUUID=1-01 /boot/firmware vfat defaults 0 2\n"},
			"# not on NFS: PARTUUID=1-01 /boot/firmware vfat defaults 0 2\n" + bind, true},
		"a built template":          {"boot/firmware", roottest.Spec{"etc/fstab": "# pibootd\n" + bind}, "# pibootd\n" + bind, false},
		"one that the user has":     {"boot/firmware", roottest.Spec{"etc/fstab": "/srv/boot /boot/firmware/ none bind 0 0\n"}, "/srv/boot /boot/firmware/ none bind 0 0\n", false},
		"another directory's":       {"boot/firmware", roottest.Spec{"etc/fstab": bindOld}, bindOld + bind, true},
		"packages without an fstab": {"boot/firmware", roottest.Spec{"var/lib/dpkg/": "dir"}, bind, true},
		"no packages, no fstab":     {"boot/firmware", roottest.Spec{"etc/hostname": "x"}, "", true},
		"no boot files":             {"", roottest.Spec{"etc/fstab": "x\n"}, "x\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.files["etc/kernel/postinst.d/z50-raspi-firmware"] = "#!/bin/sh\n"
			test.files.Make(t, dir)
			root := roottest.OpenRoot(t, dir)
			if lacks := LacksBootMount(root, test.boot); lacks != test.lacks {
				t.Errorf("LacksBootMount before = %v; want %v", lacks, test.lacks)
			}
			for range 2 {
				if _, err := Root(root, test.boot, Options{}); err != nil {
					t.Fatal(err)
				}
			}
			if test.want == "" {
				return
			}
			if got := roottest.ReadFile(t, dir, "etc/fstab"); got != test.want {
				t.Errorf("fstab = %q; want %q", got, test.want)
			}
			if LacksBootMount(root, test.boot) {
				t.Error("LacksBootMount = true; want false")
			}
		})
	}
}

// A card's file with kernel arguments is found in upper case, too.
func TestCommandLineInUpperCase(t *testing.T) {
	dir := t.TempDir()
	roottest.Spec{"boot/START4.ELF": "x", "boot/CMDLINE.TXT": "console=tty1 root=PARTUUID=1-02 rootwait\n"}.Make(t, dir)
	if _, err := Root(roottest.OpenRoot(t, dir), "boot", Options{}); err != nil {
		t.Fatal(err)
	}
	if got := roottest.ReadFile(t, dir, "boot/CMDLINE.TXT"); got != "console=tty1\n" {
		t.Errorf("CMDLINE.TXT = %q; want it without the card", got)
	}
}

// Each file with kernel arguments that a board loads is freed of its card.
func TestCommandLinesOfPrefixes(t *testing.T) {
	dir := t.TempDir()
	roottest.Spec{
		"boot/firmware/config.txt":                    "kernel=vmlinuz\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n",
		"boot/firmware/cmdline.txt":                   "# by hand\n\nconsole=tty1 root=LABEL=writable rootwait\n",
		"boot/firmware/current/cmdline.txt":           "console=tty2 root=LABEL=writable rootwait\n",
		"boot/firmware/current/vmlinuz":               "x",
		"boot/firmware/current/bcm2711-rpi-4-b.dtb":   "x",
		"boot/firmware/new/cmdline.txt":               "console=tty3 root=LABEL=writable rootwait\n",
		"boot/firmware/new/vmlinuz":                   "x",
		"boot/firmware/new/bcm2712-rpi-5-b.dtb":       "x",
		"boot/firmware/old/cmdline.txt":               "console=tty4 root=LABEL=writable\n",
		"usr/bin/dockerd":                             "x",
		"etc/systemd/system/docker.service":           "x",
		"etc/systemd/system/multi-user.target.wants/": "dir",
	}.Make(t, dir)
	changes, err := Root(roottest.OpenRoot(t, dir), "boot/firmware", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"cmdline.txt": "console=tty1\n", "current/cmdline.txt": "console=tty2\n", "new/cmdline.txt": "console=tty3\n", "old/cmdline.txt": "console=tty4 root=LABEL=writable\n",
	} {
		if got := roottest.ReadFile(t, dir, "boot/firmware/"+name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	said := false
	for _, change := range changes {
		said = said || change.File == "usr/bin/dockerd" && strings.Contains(change.What, "no overlay on NFS")
	}
	if !said {
		t.Errorf("changes = %v; want a word about Docker", changes)
	}
}
