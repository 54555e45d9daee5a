package adapt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/rootfs/roottest"
)

func TestAdapt(t *testing.T) {
	dir := t.TempDir()
	roottest.Small().Make(t, dir)
	if err := os.Chmod(filepath.Join(dir, "etc/fstab"), 0o600); err != nil {
		t.Fatal(err)
	}
	changes, err := Root(roottest.OpenRoot(t, dir), "boot/firmware", Options{})
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, change := range changes {
		files = append(files, change.File)
	}
	want := []string{
		"etc/fstab",
		"boot/firmware/cmdline.txt",
		"etc/systemd/system/multi-user.target.wants/dphys-swapfile.service",
		"etc/rc3.d/S01resize2fs_once",
		"etc/machine-id",
		"etc/ssh/ssh_host_rsa_key",
		"etc/ssh/ssh_host_rsa_key.pub",
		"var/lib/systemd/random-seed",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("changed files (-want +got):\n%s", diff)
	}
	if got := roottest.ReadFile(t, dir, "boot/firmware/cmdline.txt"); got != "console=tty1 quiet\n" {
		t.Errorf("cmdline.txt = %q; want console=tty1 quiet", got)
	}
	if got := roottest.ReadFile(t, dir, "etc/machine-id"); got != "" {
		t.Errorf("machine-id = %q; want it empty", got)
	}
	if info, err := os.Stat(filepath.Join(dir, "etc/fstab")); err != nil || info.Mode() != 0o600 {
		t.Errorf("fstab has mode %v, %v; want it kept at 600", info.Mode(), err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "etc/systemd/system/multi-user.target.wants/ssh.service")); err != nil {
		t.Errorf("ssh: %v; want it still enabled", err)
	}
	again, err := Root(roottest.OpenRoot(t, dir), "boot/firmware", Options{})
	if err != nil || again != nil {
		t.Errorf("Root again = %v, %v; want nothing left to change", again, err)
	}
}

func TestAdaptWithoutBoot(t *testing.T) {
	dir := t.TempDir()
	roottest.Spec{"etc/hostname": "x"}.Make(t, dir)
	changes, err := Root(roottest.OpenRoot(t, dir), "", Options{})
	if err != nil || len(changes) != 1 || !strings.Contains(changes[0].What, "cannot be netbooted") {
		t.Errorf("Root = %v, %v; want a word that this root cannot be netbooted", changes, err)
	}
}

func TestOnCard(t *testing.T) {
	for line, want := range map[string]bool{
		"/dev/mmcblk0p2 / ext4 defaults 0 1":          true,
		"/dev/mmcblk0p3 /data ext4 defaults 0 1":      true,
		"PARTUUID=1-02 / ext4 defaults,noatime 0 1":   true,
		"LABEL=writable / ext4 defaults 0 1":          true,
		"LABEL=system-boot /boot/firmware vfat x 0 1": true,
		"UUID=1 /boot vfat defaults 0 2":              true,
		"/var/swap none swap sw 0 0":                  true,
		"UUID=2 /srv/disk ext4 nofail 0 2":            false,
		"proc /proc proc defaults 0 0":                false,
		"tmpfs /tmp tmpfs defaults 0 0":               false,
		"nas:/media /media nfs ro 0 0":                false,
		"# PARTUUID=1-02 / ext4 defaults 0 1":         false,
		"# not on NFS: PARTUUID=1-02 / ext4 x 0 1":    false,
		"":                                     false,
		"LABEL=x /":                            false,
		"/dev/sda1 /bootleg ext4 defaults 0 2": false,
	} {
		if got := onCard(strings.Fields(line)); got != want {
			t.Errorf("onCard(%q) = %v; want %v", line, got, want)
		}
	}
}

func FuzzWithoutCard(f *testing.F) {
	f.Add("PARTUUID=1-02 / ext4 defaults 0 1\n")
	f.Fuzz(func(t *testing.T, fstab string) {
		once := withoutCard(fstab)
		if withoutCard(once) != once {
			t.Errorf("withoutCard changes its own result: %q", once)
		}
		if strings.Count(once, "\n") != strings.Count(fstab, "\n") {
			t.Errorf("withoutCard(%q) = %q; want as many lines", fstab, once)
		}
	})
}
