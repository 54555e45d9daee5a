//go:build release

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The real maintainer scripts of Debian's raspi-firmware upgrade kernel and firmware of a board
// whose root was imported: they stop where nothing is mounted on /boot/firmware, and an import has
// that directory mounted on itself.
func TestFirmwarePackageInAnImportedRoot(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	l.buildTemplate(t)
	for serial, release := range map[string]string{"10000004": "bookworm", "10000005": "trixie"} {
		t.Run(release, func(t *testing.T) {
			card := debianCard(t, l, release)
			l.pibootd(t, "template", "import", "--allow-mismatch", "--state-dir", l.state, release, card)
			l.pibootd(t, "add-pi", "--mac", "dc:a6:32:00:00:"+serial[6:], "--serial", serial, "--name", release, "--template", release)
			console := filepath.Join(t.TempDir(), "console")
			board := l.start(t, "rehearse", release, "--qemu", "--console", console)
			root := filepath.Join(l.state, "roots", serial)
			board.scriptsRan(t, root, console)
			if err := board.end(t, syscall.SIGINT); err != nil {
				t.Errorf("the rehearsal ends with %v; want nil", err)
			}
			checkUpgrade(t, root)
		})
	}
}

// cardUnit and cardScript upgrade the firmware as dpkg does, under systemd: where the boot directory is
// mounted on itself, and where it is not, as on a card without its boot partition.
const cardUnit = `[Unit]
After=local-fs.target
[Service]
Type=oneshot
ExecStart=/bin/sh /usr/local/sbin/upgrade
`

const cardScript = `export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export DPKG_MAINTSCRIPT_PACKAGE=raspi-firmware DPKG_MAINTSCRIPT_NAME=postinst
upgrade() {
	/var/lib/raspi-firmware/postinst configure >/"$1.said" 2>&1
	echo $? >/"$1.result"
}
systemctl is-active boot-firmware.mount >/mount.said
until umount /boot/firmware && ! mountpoint -q /boot/firmware; do
	sleep 1 # systemd may be looking at it
done >>/mount.log 2>&1
upgrade unmounted
mount /boot/firmware >>/mount.log 2>&1
upgrade mounted
touch /done
`

// cutDown is a start file of the package that the boards of this test do not load.
const cutDown = "start4cd.elf"

// debianCard makes a root as a card has it, of Debian's own packages with systemd, unpacked and not
// configured, so that no program of another processor runs here. Kernel and initramfs are the minimal
// template's.
func debianCard(t *testing.T, l *lab, release string) string {
	t.Helper()
	card := filepath.Join(t.TempDir(), "card")
	build := exec.CommandContext(t.Context(), "mmdebstrap", "--mode=root", "--variant=extract", "--arch=arm64", "--components=main non-free-firmware",
		"--include=raspi-firmware,systemd-sysv,dpkg,debianutils,util-linux,mount,coreutils,dash,grep,sed,findutils,libc-bin,base-files",
		`--extract-hook=dpkg-deb -e "$1"/var/cache/apt/archives/raspi-firmware_*.deb "$1/var/lib/raspi-firmware"`,
		release, card)
	if mirror := os.Getenv("PIBOOTD_TEST_MIRROR"); mirror != "" {
		build.Args = append(build.Args, mirror)
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	boot := filepath.Join(card, "boot/firmware")
	if err := os.CopyFS(boot, os.DirFS(filepath.Join(l.state, "templates/minimal/1/root/boot/firmware"))); err != nil {
		t.Fatal(err)
	}
	// The package brings it back. A board whose GPU has more than 16 MB starts without it.
	if err := os.Remove(filepath.Join(boot, cutDown)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"etc/fstab":                          "LABEL=RASPIROOT / ext4 rw 0 1\nLABEL=RASPIFIRM /boot/firmware vfat rw 0 2\n",
		"boot/vmlinuz-9.9.9":                 "a newer kernel",
		"boot/initrd.img-9.9.9":              "its initramfs",
		"etc/passwd":                         "root:x:0:0:root:/root:/bin/sh\n",
		"etc/group":                          "root:x:0:\n",
		"etc/systemd/system/upgrade.service": cardUnit,
		"usr/local/sbin/upgrade":             cardScript,
	} {
		path := filepath.Join(card, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The scripts look for the mount only where this does not find them in a virtual machine.
	if err := os.Remove(filepath.Join(card, "usr/bin/systemd-detect-virt")); err != nil {
		t.Fatal(err)
	}
	wants := filepath.Join(card, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/systemd/system/upgrade.service", filepath.Join(wants, "upgrade.service")); err != nil {
		t.Fatal(err)
	}
	return card
}

// scriptsRan waits until the board has run the scripts.
func (p *process) scriptsRan(t *testing.T, root, console string) {
	t.Helper()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for late := time.Now().Add(labTimeout); ; {
		select {
		case <-again.C:
		case <-p.ended:
			t.Fatalf("the rehearsal has ended: %v", p.err)
		}
		if _, err := os.Stat(filepath.Join(root, "done")); err == nil {
			return
		}
		if time.Now().After(late) {
			text, err := os.ReadFile(console)
			t.Fatalf("the board has not run the scripts; its console (%v):\n%s", err, text)
		}
	}
}

func checkUpgrade(t *testing.T, root string) {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	if said := read("mount.said"); said != "active\n" {
		t.Errorf("systemd says that the mount of the boot directory is %q; want active", said)
	}
	if said := read("unmounted.said"); read("unmounted.result") == "0\n" || !strings.Contains(said, "missing /boot/firmware, did you forget to mount it?") {
		t.Errorf("without a mount the scripts say %q; want that they stop", said)
	}
	if result := read("mounted.result"); result != "0\n" {
		t.Errorf("with it they end with %q: %s%s", result, read("mount.log"), read("mounted.said"))
	}
	if kernel := read("boot/firmware/vmlinuz-9.9.9"); kernel != "a newer kernel" {
		t.Errorf("the boot directory has %q; want the newer kernel", kernel)
	}
	if config := read("boot/firmware/config.txt"); !strings.Contains(config, "kernel=vmlinuz-9.9.9\n") {
		t.Errorf("config.txt = %q; want the newer kernel in it", config)
	}
	if start := read("boot/firmware/" + cutDown); len(start) < 100<<10 {
		t.Errorf("%s has %d bytes; want the package's", cutDown, len(start))
	}
}
