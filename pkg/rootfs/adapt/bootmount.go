package adapt

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"pibootd/pkg/rootfs/confine"
)

// The scripts of the packages with the kernel and the firmware of a Pi copy these to the boot
// directory, but only if something is mounted there: on a card that is its own partition, and
// without it they would fill a directory that boots nothing (raspberrypi/firmware#1842). Over
// NFS the directory is the real one, so it is mounted on itself.

const fstab = "etc/fstab"

// fileSystems changes what a root mounts: not the card, but its boot directory, on itself. A root
// that mounts nothing and has no packages gets no file.
func (a *adapter) fileSystems(boot string) error {
	if !confine.Exists(a.root, fstab) {
		if boot == "" || !hasPackages(a.root) {
			return nil
		}
		return a.put(fstab, withBoot("", boot), mountedOnItself(boot))
	}
	var what []string
	_, err := confine.EditFile(a.root, fstab, func(text string) string {
		without := withoutCard(text)
		if without != text {
			what = append(what, "commented out the file systems of the SD card")
		}
		if boot == "" || mountsOn(without, "/"+boot) {
			return without
		}
		what = append(what, mountedOnItself(boot))
		return withBoot(without, boot)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", fstab, err)
	}
	if len(what) > 0 {
		a.note(fstab, strings.Join(what, "; "))
	}
	return nil
}

func mountedOnItself(boot string) string {
	return "mounts /" + boot + " on itself, because packages upgrade kernel and firmware only where something is mounted"
}

// hasPackages reports whether packages of Debian or of one of its relatives upgrade a root.
func hasPackages(root *os.Root) bool { return confine.Exists(root, "var/lib/dpkg") }

// BootMountLine is the line of fstab(5) that mounts a boot directory on itself.
func BootMountLine(boot string) string { return "/" + boot + " /" + boot + " none bind 0 0" }

// withBoot adds BootMountLine to an fstab.
func withBoot(text, boot string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + BootMountLine(boot) + "\n"
}

func mountsOn(fstab, dir string) bool {
	const where, least = 1, 4
	return slices.ContainsFunc(strings.Split(fstab, "\n"), func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) >= least && !strings.HasPrefix(fields[0], "#") && strings.TrimSuffix(fields[where], "/") == dir
	})
}

// LacksBootMount reports whether a root's packages would not upgrade its kernel and firmware,
// because nothing is mounted on the boot directory.
func LacksBootMount(root *os.Root, boot string) bool {
	if boot == "" {
		return false
	}
	scripts := confine.Glob(root, "etc/kernel/postinst.d/*raspi-firmware*")
	text, err := confine.ReadText(root, fstab)
	return len(scripts) > 0 && (err != nil || !mountsOn(string(text), "/"+boot))
}
