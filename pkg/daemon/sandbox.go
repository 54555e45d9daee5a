package daemon

import (
	"fmt"
	"os"

	"pibootd/internal/fdstore"
)

// The unit gives the daemon a mount namespace of its own, in which most of the
// machine is read-only. Overlay roots are mounted in the machine's, where nfsd
// finds them. The daemon has no right to open that namespace, so another process opens
// it before the daemon starts, and lets systemd keep it for the daemon.
const (
	mountsName = "mounts"

	// MachineNamespace is PID 1's mount namespace. systemd gives what runs before
	// the daemon one of its own too, even without a sandbox (ExecStartPre=+).
	MachineNamespace = "/proc/1/ns/mnt"
)

// HandOverMounts sends the mount namespace in file to the service manager that
// listens at socket, to keep for Serve.
func HandOverMounts(socket, file string) error {
	namespace, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("handing over mounts: %w", err)
	}
	defer namespace.Close()
	if err := fdstore.Replace(socket, mountsName, namespace); err != nil {
		return fmt.Errorf("handing over mounts: %w", err)
	}
	return nil
}
