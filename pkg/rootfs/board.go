package rootfs

import (
	"errors"
	"fmt"
	"path"

	"pibootd/images"
	"pibootd/pkg/rootfs/confine"
)

// boardFiles are what makes a root one board's own, beside what no template may
// have, as patterns, and why they must not be in another's.
func boardFiles() map[string]string {
	const own, secret, past = "every clone gets its own", "it is a secret of one board", "it tells of one board's past"
	return map[string]string{
		"etc/hostname": own, path.Dir(WorkerConfigFile) + "/*": own, WorkerFile: own, formerWorkerFile: own, images.VolatileInitFile: own,
		path.Join(systemUnits, workerUnit): own, path.Join(systemUnits, "*.wants", workerUnit): own,
		"var/lib/systemd/credential.secret": secret, "var/lib/NetworkManager/secret_key": secret,
		"var/lib/NetworkManager/*.lease": past, "var/lib/dhcp/*": past, "var/lib/dhcpcd/*": past,
		"var/lib/pibootd/*": past, "var/log/journal/*": past,
	}
}

// board takes from a root what pibootd, and the board itself, made its own.
func (a *adapter) board() error {
	failed := []error{a.edit("etc/hosts", "took out the board's name", withoutOwnName)}
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
