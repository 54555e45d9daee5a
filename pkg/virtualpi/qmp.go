//go:build linux

package virtualpi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// monitor gives QEMU one end of a socket for QMP, and returns the other end and the arguments
// for it. The machine is paused until QEMU reads the commands that are already in the socket, so
// no event is lost.
func (l *launch) monitor() (*os.File, []string, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket for QEMU's monitor: %w", err)
	}
	number := l.give(os.NewFile(uintptr(fds[1]), "qmp"))
	events := os.NewFile(uintptr(fds[0]), "qmp")
	if _, err := io.WriteString(events, `{"execute":"qmp_capabilities"}{"execute":"cont"}`); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("writing to QEMU's monitor: %w", err), events.Close())
	}
	args := []string{"-S", "-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", number), "-mon", "chardev=qmp,mode=control"}
	return events, args, nil
}

// stopReason reads QMP until its end and returns the reason of the last SHUTDOWN event, which is
// a value of ShutdownCause: guest-shutdown is a power-off by the kernel, and guest-reset a
// reboot. It returns "" if there was no such event.
func stopReason(qmp io.Reader) string {
	var reason string
	for messages := json.NewDecoder(qmp); ; {
		var m struct {
			Event string `json:"event"`
			Data  struct {
				Reason string `json:"reason"`
			} `json:"data"`
		}
		if err := messages.Decode(&m); err != nil {
			return reason
		}
		if m.Event == "SHUTDOWN" {
			reason = m.Data.Reason
		}
	}
}
