//go:build netns

package adapt

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/rootfs/roottest"
)

// The script of Raspberry Pi OS's kernels, as a fixture, copies a new kernel where the fstab of an
// adapted root is mounted, and only there.
func TestKernelOfRaspberryPiOS(t *testing.T) {
	dir := t.TempDir()
	const version = "6.12.47+rpt-rpi-v8"
	roottest.Spec{
		"etc/fstab":                "proc /proc proc defaults 0 0\nPARTUUID=1-01  /boot/firmware  vfat  defaults  0  2\nPARTUUID=1-02  /  ext4  defaults,noatime  0  1\n",
		"boot/firmware/config.txt": "auto_initramfs=1\n", "boot/firmware/kernel8.img": "old",
		"boot/vmlinuz-" + version: "new", "boot/initrd.img-" + version: "its initramfs",
		"usr/lib/linux-image-" + version + "/broadcom/bcm2711-rpi-4-b.dtb": "its device tree",
	}.Make(t, dir)
	if out, err := postinst(t, dir, version, ":"); err == nil || !strings.Contains(out, "did you forget to mount it?") {
		t.Errorf("the script on an imported root of before = %v, %q; want it to stop", err, out)
	}
	if _, err := Root(roottest.OpenRoot(t, dir), "boot/firmware", Options{}); err != nil {
		t.Fatal(err)
	}
	// What mount -a does there: the fstab's line, below dir.
	mount := `while read -r from to kind options _; do case "$kind $options" in "none bind") mount --bind "$ROOT$from" "$ROOT$to" ;; esac; done <"$ROOT/etc/fstab"`
	if out, err := postinst(t, dir, version, mount); err != nil {
		t.Errorf("the script on an adapted root: %v: %s", err, out)
	}
	for name, want := range map[string]string{"kernel8.img": "new", "initramfs8": "its initramfs", "bcm2711-rpi-4-b.dtb": "its device tree"} {
		if got := roottest.ReadFile(t, dir, "boot/firmware/"+name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
}

// postinst runs the fixture after first, with mounts of its own.
func postinst(t *testing.T, root, version, first string) (string, error) {
	t.Helper()
	script, err := filepath.Abs("testdata/raspios/z50-raspi-firmware")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-e", "-c", first+`; sh "$1" "$2"`, "sh", script, version)
	cmd.Env = append(cmd.Environ(), "ROOT="+root)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
