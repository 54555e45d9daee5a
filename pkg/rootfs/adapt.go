package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A Change is something that an import altered so that the root can live on
// NFS and be cloned.
type Change struct {
	File string // relative to the root
	What string
}

// An adapter takes from a root what belongs to an SD card or to one board.
type adapter struct {
	root    *os.Root
	changes []Change
}

func adapt(root *os.Root, boot string) ([]Change, error) {
	a := &adapter{root: root}
	err := errors.Join(
		a.edit("etc/fstab", "commented out the file systems of the SD card", withoutCard),
		a.bootCommand(boot),
		a.services(),
		a.identity(),
	)
	return a.changes, err
}

func (a *adapter) note(file, what string) {
	a.changes = append(a.changes, Change{File: file, What: what})
}

func (a *adapter) edit(name, what string, edit func(string) string) error {
	changed, err := editFile(a.root, name, edit)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if changed {
		a.note(name, what)
	}
	return nil
}

// withoutCard comments out the lines of an fstab that mount partitions of the
// card: systemd would wait for them, and fsck them.
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

// onCard reports whether the fields of an fstab line (fstab(5)) name a
// partition of the card the root came on: any mmcblk, and whatever device
// holds the root, the boot files or swap. Other disks may be the user's own.
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

// cardArguments are the kernel arguments that make a root look for its card
// or grow its partition.
var cardArguments = regexp.MustCompile(`^(root=.*|rootfstype=.*|rootwait|fsck\.\w+=.*|resize|init=.*(resize|firstboot).*)$`)

func (a *adapter) bootCommand(boot string) error {
	if boot == "" {
		a.note("boot", "has no kernel, firmware or config.txt: boards with this root cannot be netbooted")
		return nil
	}
	return a.edit(path.Join(boot, "cmdline.txt"), "took out what looks for a root on the SD card", func(text string) string {
		words := strings.Fields(text)
		kept := slices.DeleteFunc(slices.Clone(words), cardArguments.MatchString)
		if len(kept) == len(words) {
			return text
		}
		return strings.Join(kept, " ") + "\n"
	})
}

// cardServices begin the names of services that swap to the card, or grow its
// file system at the first boot.
var cardServices = []string{"dphys-swapfile", "rpi-swap", "zram", "systemd-zram", "resize2fs_once", "rpi-resize"}

// startLink matches the name of a System V start link, S01resize2fs_once.
var startLink = regexp.MustCompile(`^S\d\d`)

// services disables cardServices by removing the links that enable them.
func (a *adapter) services() error {
	var failed []error
	for _, pattern := range []string{"etc/systemd/system/*.wants/*", "etc/rc?.d/S*"} {
		links, err := fs.Glob(a.root.FS(), pattern)
		failed = append(failed, err)
		for _, link := range links {
			service := startLink.ReplaceAllString(path.Base(link), "")
			if slices.ContainsFunc(cardServices, func(name string) bool { return strings.HasPrefix(service, name) }) {
				failed = append(failed, a.remove(link, "disabled: there is no card to swap to or to grow"))
			}
		}
	}
	return errors.Join(failed...)
}

// identity removes what must differ between boards. Clone gives it anew.
func (a *adapter) identity() error {
	failed := []error{a.edit("etc/machine-id", "emptied: every clone gets its own", func(string) string { return "" })}
	keys, err := fs.Glob(a.root.FS(), "etc/ssh/ssh_host_*key*")
	failed = append(failed, err)
	for _, key := range keys {
		failed = append(failed, a.remove(key, "removed: every clone gets its own"))
	}
	// A link to etc/machine-id, as Debian makes it, may stay.
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
