//go:build netns

package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/rootfs/roottest"
)

// ramdiskTree is a root whose boot files are all in boot.img, as with secure boot.
func ramdiskTree(t *testing.T) string {
	t.Helper()
	source, inside := piTree(t), t.TempDir()
	roottest.Spec{
		"config.txt": "boot_ramdisk=1\narm_64bit=1\n", "cmdline.txt": "console=tty1 root=PARTUUID=1-02\n",
		"kernel8.img": "kernel", "overlays/x.dtbo": "overlay",
	}.Make(t, inside)
	boot := filepath.Join(source, "boot/firmware")
	if err := os.RemoveAll(boot); err != nil {
		t.Fatal(err)
	}
	roottest.Spec{"boot/firmware/config.txt": "[pi4]\nboot_ramdisk=1\n", "boot/firmware/boot.sig": "signature"}.Make(t, source)
	image := filepath.Join(boot, "boot.img")
	makeSized(t, image, testBootMB)
	command(t, "mkfs.vfat", image)
	command(t, "sh", "-c", `cd "$1" && mcopy -i "$2" -s -m -Q * ::`, "sh", inside, image)
	return source
}

// An import unpacks boot.img, because a board's own cmdline.txt cannot be put into it.
func TestImportUnpacksRamdisk(t *testing.T) {
	source := ramdiskTree(t)
	templates := &Templates{Dir: t.TempDir()}
	made, changes := importSmall(t, templates, source)
	for name, want := range map[string]string{
		"config.txt":  "# not over the network: boot_ramdisk=1\narm_64bit=1\n",
		"cmdline.txt": "console=tty1\n", "kernel8.img": "kernel", "overlays/x.dtbo": "overlay",
	} {
		if got := roottest.ReadFile(t, made.tree, "boot/firmware/"+name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	for _, name := range []string{"boot.img", "boot.sig"} {
		if _, err := os.Lstat(filepath.Join(made.tree, "boot/firmware", name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if names := changed(changes); !names["boot/firmware/boot.img"] || !names["boot/firmware/config.txt"] {
		t.Errorf("changes = %v; want both said", changes)
	}
}

func TestImportRefusesAnotherRamdisk(t *testing.T) {
	source := ramdiskTree(t)
	if err := os.WriteFile(filepath.Join(source, "boot/firmware/boot.img"), []byte("no file system"), 0o644); err != nil {
		t.Fatal(err)
	}
	templates := &Templates{Dir: filepath.Join(t.TempDir(), "templates")}
	_, _, err := templates.Import(t.Context(), "bad", source, ImportOptions{}, nil)
	if err == nil || !strings.Contains(err.Error(), "boot_ramdisk=1, so all boot files are in it: unpack it") {
		t.Errorf("Import = %v; want it refused with what to do", err)
	}
	checkNothingLeft(t, templates)
}

// Alpine's services are OpenRC's. A clone's worker is one of them.
func TestCloneForOpenRC(t *testing.T) {
	source := t.TempDir()
	rootlyTree(t, source)
	for _, name := range []string{"usr/lib/systemd", "lib/systemd"} {
		if err := os.RemoveAll(filepath.Join(source, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(source, "usr/sbin/init")); err != nil {
		t.Fatal(err)
	}
	roottest.Spec{"usr/sbin/openrc-run": "x", "usr/sbin/init": "x"}.Make(t, source)
	state := t.TempDir()
	made, _ := importSmall(t, &Templates{Dir: filepath.Join(state, "templates")}, source)
	roots := testRoots(t, filepath.Join(state, "roots"))
	if _, err := roots.Clone(t.Context(), made, Copy, 1, identityOf(1, "pi"), nil); err != nil {
		t.Fatal(err)
	}
	root := roots.Path(1)
	service := filepath.Join(root, "etc/init.d/pibootd-worker")
	if info, err := os.Stat(service); err != nil || info.Mode() != 0o755 {
		t.Errorf("%s: %v, %v; want a program", service, info, err)
	}
	if target, err := os.Readlink(filepath.Join(root, "etc/runlevels/default/pibootd-worker")); err != nil || target != "/etc/init.d/pibootd-worker" {
		t.Errorf("runlevel's link = %q, %v; want it to the service", target, err)
	}
}
