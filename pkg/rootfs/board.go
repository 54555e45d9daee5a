package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"pibootd/images"
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
		for _, name := range glob(a.root, pattern) {
			if err := a.root.RemoveAll(name); err != nil {
				failed = append(failed, fmt.Errorf("removing %q: %w", name, err))
				continue
			}
			a.note(name, "removed: "+why)
		}
	}
	return errors.Join(failed...)
}

// glob returns the entries of a root that a pattern matches, as fs.Glob does,
// but opens nothing that is not a directory: a FIFO would be waited for.
func glob(root *os.Root, pattern string) []string {
	found := []string{"."}
	for element := range strings.SplitSeq(pattern, "/") {
		var next []string
		for _, dir := range found {
			entries, err := readDir(root, dir)
			if err != nil {
				continue // no directory, so nothing is in it
			}
			for _, entry := range entries {
				if matchesAny(entry.Name(), []string{element}) {
					next = append(next, path.Join(dir, entry.Name()))
				}
			}
		}
		found = next
	}
	return found
}
