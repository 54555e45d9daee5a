package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The unit gives the daemon a mount namespace of its own, in which most of the
// machine is read-only. Overlay roots are mounted in the machine's, where nfsd
// finds them. The daemon has no right to open that namespace, so another process opens
// it before the daemon starts, and lets systemd keep it for the daemon
// (sd_notify(3), FDSTORE=1; sd_listen_fds(3)).
const (
	mountsName  = "mounts"
	firstPassed = 3 // SD_LISTEN_FDS_START

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
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("handing over mounts: %w", err)
	}
	defer unix.Close(conn)
	to := &unix.SockaddrUnix{Name: socket}
	// The store holds one descriptor, so the one of the last start is removed first.
	err = unix.Sendmsg(conn, []byte("FDSTOREREMOVE=1\nFDNAME="+mountsName), nil, to, 0)
	if err == nil {
		err = unix.Sendmsg(conn, []byte("FDSTORE=1\nFDNAME="+mountsName), unix.UnixRights(int(namespace.Fd())), to, 0)
	}
	if err != nil {
		return fmt.Errorf("handing over mounts at %s: %w", socket, err)
	}
	return nil
}

// machineMounts returns the mount namespace that was handed over for this
// process; nil if none was. The caller closes it.
func machineMounts() *os.File {
	pid, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name) // fails for no name like these
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil
	}
	for i, name := range strings.Split(names, ":") {
		if name == mountsName {
			unix.CloseOnExec(firstPassed + i)
			return os.NewFile(uintptr(firstPassed+i), mountsName)
		}
	}
	return nil
}
