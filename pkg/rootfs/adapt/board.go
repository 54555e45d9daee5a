package adapt

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"pibootd/images"
	"pibootd/pkg/rootfs/confine"
)

// boardFiles maps patterns of the files that belong to one board, besides those that no template
// may contain, to the reason why another board must not get them.
func boardFiles() map[string]string {
	const own, secret, past = "every clone gets its own", "it is a secret of one board", "it tells of one board's past"
	return map[string]string{
		"etc/hostname": own, path.Dir(images.WorkerConfigFile) + "/*": own, images.WorkerFile: own, images.FormerWorkerFile: own, images.VolatileInitFile: own,
		images.WorkerService: own, images.WorkerServiceLink: own,
		images.WorkerUnit: own, "etc/systemd/system/*.wants/" + path.Base(images.WorkerUnit): own,
		"var/lib/systemd/credential.secret": secret, "var/lib/NetworkManager/secret_key": secret,
		"var/lib/NetworkManager/*.lease": past, "var/lib/dhcp/*": past, "var/lib/dhcpcd/*": past,
		"var/lib/pibootd/*": past, "var/log/journal/*": past,
	}
}

// board removes from a root what pibootd and the board itself have added to it.
func (a *adapter) board() error {
	failed := []error{a.edit("etc/hosts", "took out the board's name", WithoutOwnName)}
	for pattern, why := range boardFiles() {
		for _, name := range confine.Glob(a.root, pattern) {
			if err := a.root.RemoveAll(name); err != nil {
				failed = append(failed, fmt.Errorf("removing %q: %w", name, err))
				continue
			}
			a.note(name, "removed: "+why)
		}
	}
	return errors.Join(failed...)
}

// OwnAddress is the address to which Debian resolves a machine's own name.
const OwnAddress = "127.0.1.1"

// WithoutOwnName removes from a hosts(5) file the lines of OwnAddress.
func WithoutOwnName(hosts string) string {
	lines := slices.DeleteFunc(strings.Split(strings.TrimRight(hosts, "\n"), "\n"), func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) > 0 && fields[0] == OwnAddress
	})
	return strings.Join(lines, "\n") + "\n"
}
