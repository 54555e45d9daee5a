package adapt

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/rootfs/roottest"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHM7GvM0pUNbCxGb3v6Hn2ScVPGqNFnw0qBpqyC0J4xq nas\n"

// raspberryRoot is what Raspberry Pi OS, Ubuntu and Debian have of what an
// import looks for, all in one.
func raspberryRoot() roottest.Spec {
	return roottest.Spec{
		"boot/firmware/cmdline.txt": "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 fsck.repair=yes rootwait resize ds=nocloud systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target\n",
		"etc/rpi/swap.conf":         "[Main]\n#Mechanism=auto\n",
		"etc/NetworkManager/":       "dir",
		"etc/resolv.conf":           "nameserver 192.0.2.1\n",
		"etc/netplan/50-cloud.yaml": "network: {}\n",
		"etc/cloud/cloud.cfg":       "users: []\n",
		"etc/dhcpcd.conf":           "persistent",
		"etc/network/interfaces":    "auto lo eth0\nauto lo\niface eth0 inet dhcp\nallow-hotplug end0\n",
		"etc/passwd":                "root:x:0:0::/root:/bin/bash\ndaemon:x:1:1::/:/bin/false\npi:x:1000:1001::/home/pi:/bin/bash\n",
		"etc/shadow":                "root:*:1::::::\npi:$y$j9T$hash:1::::::\nguest::1::::::\nlocked:!$y$x:1::::::\n",

		"usr/lib/systemd/system/ssh.service":                                          "[Unit]\n",
		"etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service": "-> /usr/lib/systemd/system/x",
		"etc/systemd/system/multi-user.target.wants/userconfig.service":               "-> /usr/lib/systemd/system/x",
		"etc/systemd/system/multi-user.target.wants/rpi-resize.service":               "-> /usr/lib/systemd/system/x",
		"etc/systemd/system/multi-user.target.wants/NetworkManager.service":           "-> /usr/lib/systemd/system/x",
		"etc/systemd/system/multi-user.target.wants/rpi-resize-swap-file.service":     "-> /usr/lib/systemd/system/x",
		"etc/systemd/system/local-fs.target.wants/rpi-setup-loop@var-swap.service":    "-> /usr/lib/systemd/system/x",
		"etc/systemd/system/multi-user.target.wants/systemd-networkd-wait-x.service":  "-> /usr/lib/systemd/system/x",
	}
}

func TestAdaptRaspberry(t *testing.T) {
	dir := t.TempDir()
	raspberryRoot().Make(t, dir)
	if _, err := Root(roottest.OpenRoot(t, dir), "boot/firmware", Options{AuthorizedKeys: testKey}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"boot/firmware/cmdline.txt":                 "console=tty1 ds=nocloud\n",
		"etc/rpi/swap.conf.d/90-pibootd.conf":       "[Main]\nMechanism=none\n",
		"etc/NetworkManager/conf.d/90-pibootd.conf": managerConfig,
		"etc/cloud/cloud.cfg.d/99-pibootd.cfg":      cloudConfig,
		"etc/dhcpcd.conf":                           "persistent" + dhcpcdConfig,
		"etc/network/interfaces":                    "# not on NFS: auto lo eth0\nauto lo\niface eth0 inet dhcp\n# not on NFS: allow-hotplug end0\n",
		"etc/shadow":                                "root:*:1::::::\npi:!$y$j9T$hash:1::::::\nguest:!:1::::::\nlocked:!$y$x:1::::::\n",
		"home/pi/.ssh/authorized_keys":              testKey,
	}
	got := map[string]string{}
	for name := range want {
		got[name] = roottest.ReadFile(t, dir, name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	links, err := filepath.Glob(filepath.Join(dir, "etc/systemd/system/*.wants/*"))
	if err != nil {
		t.Fatal(err)
	}
	var enabled []string
	for _, link := range links {
		enabled = append(enabled, filepath.Base(link))
	}
	if diff := cmp.Diff([]string{"NetworkManager.service", "ssh.service", "systemd-networkd-wait-x.service"}, enabled); diff != "" {
		t.Errorf("enabled services (-want +got):\n%s", diff)
	}
	if target, err := os.Readlink(filepath.Join(dir, "etc/resolv.conf")); err != nil || target != "/proc/net/pnp" {
		t.Errorf("resolv.conf -> %q, %v; want /proc/net/pnp", target, err)
	}
	again, err := Root(roottest.OpenRoot(t, dir), "boot/firmware", Options{AuthorizedKeys: testKey})
	if err != nil || again != nil {
		t.Errorf("Root again = %v, %v; want nothing left to change", again, err)
	}
}

func TestKeepPassword(t *testing.T) {
	dir := t.TempDir()
	raspberryRoot().Make(t, dir)
	if _, err := Root(roottest.OpenRoot(t, dir), "boot/firmware", Options{KeepPassword: true}); err != nil {
		t.Fatal(err)
	}
	if got := roottest.ReadFile(t, dir, "etc/shadow"); got != raspberryRoot()["etc/shadow"] {
		t.Errorf("shadow = %q; want it as it was", got)
	}
}

func FuzzLockPasswords(f *testing.F) {
	f.Add("pi:$y$hash:1::::::\nroot::1\n")
	f.Fuzz(func(t *testing.T, shadow string) {
		once := lockPasswords(shadow)
		if again := lockPasswords(once); again != once {
			t.Errorf("lockPasswords(%q) = %q; want no change", once, again)
		}
	})
}
