// Package adapt removes from a root file system what belongs to an SD card or to one board, so that
// any board can run it over NFS.
package adapt

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/filetree"
)

// Options are the optional changes. The zero value is a good default.
type Options struct {
	AuthorizedKeys string // lines for the first user's authorized_keys (sshd(8)); "" adds none
	KeepPassword   bool   // keep passwords instead of locking them
	FromBoard      bool   // the root is a board's: remove what pibootd and the board have added to it
}

// An adapter changes a root and lists what it changed.
type adapter struct {
	root    *os.Root
	changes []filetree.Change
}

// Root adapts a root, whose boot files are in the directory boot, "" if it has none. It returns the
// files that it changed. A second call changes nothing.
func Root(root *os.Root, boot string, o Options) ([]filetree.Change, error) {
	a := &adapter{root: root}
	err := errors.Join(
		a.fileSystems(boot),
		a.bootCommand(boot),
		a.services(),
		a.swap(),
		a.network(),
		a.containers(),
		a.identity(),
		a.access(o),
	)
	if o.FromBoard {
		err = errors.Join(err, a.board())
	}
	return a.changes, err
}

func (a *adapter) note(file, what string) {
	a.changes = append(a.changes, filetree.Change{File: file, What: what})
}

func (a *adapter) edit(name, what string, edit func(string) string) error {
	changed, err := confine.EditFile(a.root, name, edit)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if changed {
		a.note(name, what)
	}
	return nil
}

// withoutCard comments out the lines of an fstab that mount partitions of the card, because
// systemd would wait for these partitions and check them.
func withoutCard(fstab string) string {
	var out strings.Builder
	for line := range strings.Lines(fstab) {
		if onCard(strings.Fields(line)) {
			out.WriteString("# not on NFS: ")
		}
		out.WriteString(line)
	}
	return out.String()
}

// onCard reports whether the fields of an fstab line (fstab(5)) name a partition of the card
// that the root was on: any mmcblk device, and any device that holds the root, the boot files or
// swap. Other disks may belong to the user.
func onCard(fields []string) bool {
	const where, kind, least = 1, 2, 3
	if len(fields) < least || strings.HasPrefix(fields[0], "#") {
		return false
	}
	if strings.HasPrefix(fields[0], "/dev/mmcblk") {
		return true
	}
	device := slices.ContainsFunc([]string{"/dev/", "PARTUUID=", "UUID=", "LABEL=", "PARTLABEL="}, func(prefix string) bool {
		return strings.HasPrefix(fields[0], prefix)
	})
	mount := fields[where]
	return fields[kind] == "swap" || device && (mount == "/" || mount == "/boot" || strings.HasPrefix(mount, "/boot/"))
}

// cardArguments matches the kernel arguments that make a root look for its card, grow its
// partition, or run a first-boot setup and reboot.
var cardArguments = regexp.MustCompile(`^(root=.*|rootfstype=.*|rootwait|fsck\.\w+=.*|resize|init=.*(resize|firstboot).*|systemd\.run=.*firstrun.*|systemd\.run_success_action=.*|systemd\.unit=kernel-command-line\.target)$`)

func (a *adapter) bootCommand(boot string) error {
	if boot == "" {
		a.note("boot", "has no kernel, firmware or config.txt: boards with this root cannot be netbooted")
		return nil
	}
	var failed []error
	for _, name := range a.commandLines(boot) {
		failed = append(failed, a.edit(path.Join(boot, name), "took out what looks for a root on the SD card", func(text string) string {
			words := strings.Fields(bootconfig.CommandLine(text))
			kept := slices.DeleteFunc(slices.Clone(words), cardArguments.MatchString)
			if len(kept) == len(words) {
				return text
			}
			return strings.Join(kept, " ") + "\n"
		}))
	}
	return errors.Join(failed...)
}

// commandLines returns the files with kernel arguments that boards load.
func (a *adapter) commandLines(boot string) []string {
	spelling := confine.Speller{Root: a.root}
	spelled := func(name string) string { return path.Join(boot, spelling.Spelled(boot, path.Clean(name))) }
	dir := bootconfig.Dir{
		Text: func(name string) ([]byte, error) { return confine.ReadText(a.root, spelled(name)) },
		Has:  func(name string) bool { return confine.Exists(a.root, spelled(name)) },
	}
	found := []string{spelling.Spelled(boot, "cmdline.txt")}
	for _, model := range bootconfig.Models() {
		for _, again := range []bool{false, true} {
			name := spelling.Spelled(boot, path.Clean(dir.Load(bootconfig.Board{Model: model, TryBoot: again}).Cmdline))
			if !slices.Contains(found, name) && dir.Has(name) {
				found = append(found, name)
			}
		}
	}
	return found
}

// unwantedServices maps prefixes of the names of services that do harm on NFS to the reason.
func unwantedServices() map[string]string {
	const card, keys = "there is no card to swap to or to grow", "every clone gets its own keys"
	return map[string]string{
		"dphys-swapfile": card, "rpi-swap": card, "zram": card, "systemd-zram": card, "resize2fs_once": card, "rpi-resize": card,
		"rpi-setup-loop": card, "systemd-growfs": card, "apply_noobs_os_config": card,
		"regenerate_ssh_host_keys": keys, "sshd-keygen": keys,
		"userconfig": "it would wait for somebody at a keyboard",
	}
}

// startLink matches the name of a System V start link, such as S01resize2fs_once.
var startLink = regexp.MustCompile(`^S\d\d`)

// services disables unwantedServices by removing the links that enable them.
func (a *adapter) services() error {
	var failed []error
	for _, pattern := range []string{"etc/systemd/system/*.wants/*", "etc/rc?.d/S*"} {
		for _, link := range confine.Glob(a.root, pattern) {
			service := startLink.ReplaceAllString(path.Base(link), "")
			for name, why := range unwantedServices() {
				if strings.HasPrefix(service, name) {
					failed = append(failed, a.remove(link, "disabled: "+why))
					break
				}
			}
		}
	}
	return errors.Join(failed...)
}

// swap keeps Raspberry Pi OS from making a swap file. Since Debian 13 a generator decides this
// at every boot, so there is no link to remove.
func (a *adapter) swap() error {
	if !confine.Exists(a.root, "etc/rpi/swap.conf") && !confine.Exists(a.root, "usr/lib/rpi-swap") {
		return nil
	}
	return a.put("etc/rpi/swap.conf.d/90-pibootd.conf", "[Main]\nMechanism=none\n", "added: there is no card to swap to")
}

// put writes a file of pibootd's own, unless the root already has it with this text.
func (a *adapter) put(name, text, what string) error {
	if is, err := confine.ReadText(a.root, name); err == nil && string(is) == text {
		return nil
	}
	if err := confine.PutFile(a.root, name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	a.note(name, what)
	return nil
}

// identity removes what must differ between boards. Clone creates it again.
func (a *adapter) identity() error {
	failed := []error{a.edit("etc/machine-id", "emptied: every clone gets its own", func(string) string { return "" })}
	for _, key := range confine.Glob(a.root, "etc/ssh/ssh_host_*key*") {
		failed = append(failed, a.remove(key, "removed: every clone gets its own"))
	}
	// Debian makes it a link to etc/machine-id, which can stay.
	const dbus = "var/lib/dbus/machine-id"
	if info, err := a.root.Lstat(dbus); err == nil && info.Mode().IsRegular() {
		failed = append(failed, a.remove(dbus, "removed: it was a copy of etc/machine-id"))
	}
	const seed = "var/lib/systemd/random-seed"
	if _, err := a.root.Lstat(seed); err == nil {
		failed = append(failed, a.remove(seed, "removed: no two boards may start from the same seed"))
	}
	return errors.Join(failed...)
}

func (a *adapter) remove(name, what string) error {
	if err := a.root.Remove(name); err != nil {
		return err
	}
	a.note(name, what)
	return nil
}
