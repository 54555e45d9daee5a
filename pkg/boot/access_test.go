package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/pi"
	"pibootd/pkg/tftp"
	"pibootd/pkg/timeline"
)

// Serial numbers are no secret: a client that names one and is not at an address
// of that board gets nothing, and the board's timeline shows it, once a minute.
func TestStrangersFilesAreOnTheTimeline(t *testing.T) {
	p := newPolicy(t)
	knows(p, map[string][]pi.MAC{"10.0.0.96": {{2, 0, 0, 0, 0, 9}}})
	for range 3 {
		for _, ask := range []struct{ client, name string }{
			{"10.0.0.99", "3333347a/start.elf"},
			{"10.0.0.99", "3333347A/cmdline.txt"},
			{"10.0.0.96", "b8-27-eb-33-34-7a/config.txt"},
			{"10.0.0.12", "3333347a/start.elf"}, // another board
		} {
			if got, err := open(t, p, ask.client, ask.name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s asking %s got %q, %v; want that there is none", ask.client, ask.name, got, err)
			}
			p.Transferred(tftp.Transfer{Client: netip.MustParseAddr(ask.client), File: ask.name, Outcome: tftp.Missing})
		}
	}
	if _, err := open(t, p, "10.0.0.11", "3333347a/start.elf"); err != nil {
		t.Error(err)
	}
	p.Transferred(tftp.Transfer{Client: hlspi1.IP, File: "3333347a/start.elf", Outcome: tftp.Sent})
	want := []string{"stranger 10.0.0.99 3333347a asked for from 10.0.0.99, registered with 10.0.0.11", "file 10.0.0.11 "}
	if got := until(t, p, hlspi1.Serial, timeline.File); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the timeline of %s has\n%q; want\n%q", hlspi1.Name, got, want)
	}
	// What the other board did is on its own timeline as ever.
	want = []string{"file_missing 10.0.0.12 "}
	if got := until(t, p, hlspi2.Serial, timeline.FileMissing); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the timeline of %s has\n%q; want\n%q", hlspi2.Name, got, want)
	}
}

// An address that was a board's own is a stranger's as soon as another host has
// it.
func TestAnAddressThatChangesHands(t *testing.T) {
	p := newPolicy(t)
	hosts := map[string][]pi.MAC{"10.0.0.99": {hlspi1.MAC}}
	knows(p, hosts)
	if _, err := open(t, p, "10.0.0.99", "3333347a/start.elf"); err != nil {
		t.Error(err)
	}
	hosts["10.0.0.99"] = []pi.MAC{{2, 0, 0, 0, 0, 9}}
	if got, err := open(t, p, "10.0.0.99", "3333347a/start.elf"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the next host of the address got %q, %v; want nothing", got, err)
	}
	p.Transferred(tftp.Transfer{Client: netip.MustParseAddr("10.0.0.99"), File: "3333347a/start.elf", Outcome: tftp.Missing})
	p.Transferred(tftp.Transfer{Client: hlspi1.IP, File: "start.elf", Outcome: tftp.Sent})
	want := []string{"stranger 10.0.0.99 3333347a asked for from 10.0.0.99, registered with 10.0.0.11", "file 10.0.0.11 "}
	if got := until(t, p, hlspi1.Serial, timeline.File); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the timeline has\n%q; want\n%q", got, want)
	}
}

// until returns the events of a board as far as the first of a kind.
func until(t *testing.T, p *Policy, board pi.Serial, last timeline.Kind) (events []string) {
	t.Helper()
	for e, err := range p.Timeline.Follow(t.Context(), board.String(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, fmt.Sprintf("%s %s %s", e.Kind, e.Addr, e.Detail))
		if e.Kind == last {
			break
		}
	}
	return events
}

// What a first boot finds in the boot directory may have a password in it, and
// is not for the network, whatever its mode and however it is spelled; it stays
// where the first boot reads it. Modes say nothing: Ubuntu's kernels have 0600.
func TestSecretsAreNotServed(t *testing.T) {
	p := newPolicy(t)
	dir := filepath.Join(p.Roots.Path(hlspi1.Serial), "boot/firmware")
	for _, name := range []string{
		"userconf", "userconf.txt", "UserConf.TXT", "userconf.txt.", "failed_userconf.txt", "custom.toml", "firstrun.sh", "firstrun.sh ",
		"wpa_supplicant.conf", "wpa_supplicant-wlan0.conf", "user-data", "USER-DATA", "network-config", "meta-data", "vendor-data",
		"nocloud/user-data", "current/network-config", "system-connections/house", "house.nmconnection", "dietpi.txt", "dietpi-wifi.txt",
		"octopi-wpa-supplicant.txt", "config.json", "box.apkovl.tar.gz", "device-init.yaml", "pikvm.txt", "config.ign", "current/shadow",
	} {
		file := filepath.Join(dir, name)
		write(t, file, "secret")
		for _, asked := range []string{name, "3333347a/" + name, "b8-27-eb-33-34-7a/" + name, "cluster-a/" + name} {
			if got, err := open(t, p, "10.0.0.11", asked); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s = %q, %v; want that there is no such file", asked, got, err)
			}
		}
		if text, err := os.ReadFile(file); string(text) != "secret" {
			t.Errorf("%s has %q afterwards, %v; want it left alone", name, text, err)
		}
	}
	for _, name := range []string{"vmlinuz", "initrd.img", "ssh", "users.dtb", "config.txt", "overlays/userconf.dtbo", "userconf.txt.bin"} {
		write(t, filepath.Join(dir, name), "boot file")
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := open(t, p, "10.0.0.11", "3333347a/"+name); err != nil || !strings.HasPrefix(got, "boot file") {
			t.Errorf("%s of mode 0600 = %q, %v; want it", name, got, err)
		}
	}
}

// Other names for a secret are made with links: by the board, or in its image.
func TestSecretsAreNotServedByLinks(t *testing.T) {
	p := newPolicy(t)
	root := p.Roots.Path(hlspi1.Serial)
	dir := filepath.Join(root, "boot/firmware")
	write(t, filepath.Join(dir, "userconf.txt"), "secret")
	write(t, filepath.Join(dir, "nocloud/user-data"), "secret")
	write(t, filepath.Join(root, "etc/shadow"), "secret")
	for name, target := range map[string]string{
		"start4.elf": "userconf.txt", "fixup.dat": "../firmware/userconf.txt", "kernel8.img": "/etc/shadow", "kernel7.img": "../../etc/shadow",
		"initrd": "start4.elf", "seed": "nocloud", "current": "/boot/firmware",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{
		"start4.elf", "fixup.dat", "kernel8.img", "kernel7.img", "initrd", "seed/user-data", "current/userconf.txt", "current/start4.elf",
	} {
		if got, err := open(t, p, "10.0.0.11", "3333347a/"+name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s = %q, %v; want that there is no such file", name, got, err)
		}
	}
	// Text that is made on the spot has the root's own in it.
	if err := errors.Join(os.Remove(filepath.Join(dir, "cmdline.txt")), os.Symlink("userconf.txt", filepath.Join(dir, "cmdline.txt")),
		os.Remove(filepath.Join(dir, "config.txt")), os.Symlink("/etc/shadow", filepath.Join(dir, "config.txt"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cmdline.txt", "config.txt", "current/cmdline.txt"} {
		if got, err := open(t, p, "10.0.0.11", "3333347a/"+name); strings.Contains(got, "secret") {
			t.Errorf("%s = %q, %v; want nothing secret in it", name, got, err)
		}
	}
	if made, err := p.Preview(hlspi1); strings.Contains(made.CommandLine+made.Config, "secret") {
		t.Errorf("Preview = %+v, %v; want nothing secret in it", made, err)
	}
}

// A name leads where it leads for the board, whose root is all there is, and
// what leads nowhere there is not found: no error of this machine's.
func TestLinksLeadWhereTheyDoForTheBoard(t *testing.T) {
	p := newPolicy(t)
	root := p.Roots.Path(hlspi1.Serial)
	dir := filepath.Join(root, "boot/firmware")
	write(t, filepath.Join(root, "usr/lib/linux/vmlinuz"), "kernel of hlspi1")
	write(t, filepath.Join(root, "etc/motd"), "motd of hlspi1")
	outside := t.TempDir()
	write(t, filepath.Join(outside, "start.elf"), "of this machine")
	for name, target := range map[string]string{
		"absolute": "/usr/lib/linux/vmlinuz", "relative": "../../usr/lib/linux/vmlinuz", "dir": "/usr/lib/linux", "updir": "../../usr/lib",
		"top": "/", "far": "../../../../../../etc/motd", "outside": outside, "far-out": "../../../../../../../../../../" + outside, "loop": "loop", "a": "b", "b": "a",
		"dangling": "nothing", "proc": "/proc/self/root", "dev": "/dev",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"absolute": "kernel of hlspi1", "relative": "kernel of hlspi1", "dir/vmlinuz": "kernel of hlspi1", "updir/linux/vmlinuz": "kernel of hlspi1",
		"top/etc/motd": "motd of hlspi1", "far": "motd of hlspi1", "top/boot/firmware/start.elf": "start of hlspi1",
		"outside/start.elf": "", "far-out/start.elf": "", "outside": "", "loop": "", "loop/x": "", "a/b": "", "dangling": "", "dangling/x": "",
		"proc/etc/hostname": "", "dev/null": "", "start.elf/x": "", "fifo/x": "", "top": "", "overlays": "", strings.Repeat("x", 300): "",
		"overlays/" + strings.Repeat("x", 300): "", "start.elf/cmdline.txt": "", "outside/cmdline.txt": "", "loop/cmdline.txt": "",
	} {
		got, err := open(t, p, "10.0.0.11", "3333347a/"+name)
		if want == "" && !errors.Is(err, fs.ErrNotExist) || want != "" && (err != nil || got != want) {
			t.Errorf("%.40s = %q, %v; want %q", name, got, err, want)
		}
	}
}

// The boot directory may be a link of the board's, too.
func TestALinkedBootDirectory(t *testing.T) {
	p := newPolicy(t)
	root := p.Roots.Path(hlspi1.Serial)
	for target, want := range map[string]string{"/srv/boot": "start of hlspi1", "../srv/boot": "start of hlspi1", "/nowhere": "", t.TempDir(): "", "firmware": ""} {
		dir := filepath.Join(root, "boot/firmware")
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(filepath.Join(root, "srv"))); err != nil {
			t.Fatal(err)
		}
		makeBootDir(t, filepath.Join(root, "srv/boot"), hlspi1.Name)
		if err := os.Symlink(target, dir); err != nil {
			t.Fatal(err)
		}
		got, err := open(t, p, "10.0.0.11", "3333347a/start.elf")
		if want == "" && !errors.Is(err, fs.ErrNotExist) || want != "" && got != want {
			t.Errorf("with boot/firmware -> %s: start.elf = %q, %v; want %q", target, got, err, want)
		}
	}
}

// Whatever is asked for: a stranger gets nothing, a board gets nothing of another
// and nothing secret, and all that is refused is not found.
func FuzzOpen(f *testing.F) {
	for _, name := range []string{
		"bootcode.bin", "3333347a/start.elf", "3333347A/config.txt", "b8-27-eb-33-34-7a/cmdline.txt", "10000002/start.elf", "3333347a/10000002/start.elf",
		"text/userconf.txt", "userconf.txt", "USERCONF.TXT", "3333347a/seed/user-data", "link/userconf.txt", "hidden", "host/hostname", "top/etc/shadow", "loop/loop",
		"3333347a/overlays/README", "fifo", "current/cmdline.txt", "top/boot/firmware/hidden", "3333347a", "dc-a6-32-00-00-02/start.elf",
	} {
		f.Add(name)
	}
	p := newPolicy(f)
	knows(p, map[string][]pi.MAC{"10.0.0.98": {hlspi1.MAC}, "10.0.0.96": {{2, 0, 0, 0, 0, 9}}})
	root := p.Roots.Path(hlspi1.Serial)
	dir := filepath.Join(root, "boot/firmware")
	for _, name := range []string{"boot/firmware/userconf.txt", "boot/firmware/seed/user-data", "etc/shadow"} {
		write(f, filepath.Join(root, name), "secret")
	}
	for name, target := range map[string]string{"link": ".", "hidden": "userconf.txt", "host": "/etc", "top": "/", "loop": "loop", "up": "../../../.."} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
			return // tftp asks for no such name
		}
		for _, client := range []string{"10.0.0.11", "10.0.0.98"} {
			got, err := open(t, p, client, name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s asking %q: %v; want the file, or that there is none", client, name, err)
			}
			if strings.Contains(got, "secret") || strings.Contains(got, "hlspi2") {
				t.Errorf("%s asking %q got %q", client, name, got)
			}
		}
		for _, client := range []string{"10.0.0.96", "10.0.0.99", "10.0.0.1"} {
			if got, err := open(t, p, client, name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s asking %q got %q, %v; want nothing", client, name, got, err)
			}
		}
		if got, _ := open(t, p, "10.0.0.12", name); strings.Contains(got, "hlspi1") {
			t.Errorf("hlspi2 asking %q got %q", name, got)
		}
	})
}
