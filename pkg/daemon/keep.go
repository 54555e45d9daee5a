package daemon

import (
	"net"

	"pibootd/internal/fdstore"
)

// keepSockets has the service manager keep the sockets for the next daemon, so that no
// request is refused while there is none.
func (d *daemon) keepSockets(kept *fdstore.Store) {
	if !kept.Keeps() {
		return
	}
	if control, ok := d.socks.control.(*net.UnixListener); ok {
		control.SetUnlinkOnClose(false)
	}
	stale, err := kept.KeepSockets(d.socks.named)
	for _, name := range stale {
		d.log.Info("a socket of the last daemon is closed: the configuration has changed", "component", "daemon", "socket", name)
	}
	if err != nil {
		d.log.Warn("sockets are not kept: requests are refused during the next restart", "component", "daemon", "err", err)
	}
}
