package daemon

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"pibootd/internal/fdstore"
	"pibootd/pkg/boardlog"
	"pibootd/pkg/boot"
	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
)

// openBoardLog makes the log of the boards.
func (d *daemon) openBoardLog() *boardlog.Log {
	l := boardlog.New(filepath.Join(d.cfg.StateDir, "logs"))
	l.MaxBytes, l.Keep, l.Logger, l.OnFinding = d.cfg.BoardLogBytes(), d.cfg.Logs.Keep, d.log, d.policy.Found
	return l
}

// A logSocket receives what boards log.
type logSocket struct {
	service string // as in the log
	port    int
	format  boardlog.Format
	conn    *net.UDPConn
}

// listenForLogs binds the ports for boards' logs. A port that is taken is no reason not to
// boot boards, so it costs their logs only.
func (d *daemon) listenForLogs(ctx context.Context, kept *fdstore.Store) {
	for _, s := range []logSocket{
		{service: "syslog", port: d.cfg.Logs.SyslogPort, format: boardlog.FormatSyslog},
		{service: "netconsole", port: d.cfg.Logs.NetconsolePort, format: boardlog.FormatNetconsole},
	} {
		if s.port == 0 {
			continue
		}
		if err := s.listen(ctx, d.cfg.Interface, kept); err != nil {
			err = portError("logs."+s.service+"_port", s.port, err)
			d.log.Error("logs of boards are not received", "component", "boardlog", "err", err, "todo", hintOf(err))
			d.doctor.NoLogs = append(d.doctor.NoLogs, err)
			continue
		}
		d.socks.add(s.service, s.conn)
		d.logSockets = append(d.logSockets, s)
	}
}

// hintOf returns what a user can do about an error.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// logBuffer holds what the boards of a rack log at once when they boot.
const logBuffer = 1 << 20

// listen binds the socket to the boards' interface, not to an address of it: boot code sends
// netconsole to all.
func (s *logSocket) listen(ctx context.Context, iface string, kept *fdstore.Store) error {
	if s.conn = kept.UDP(onInterface(iface, s.port)); s.conn != nil {
		return nil
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var bindErr error
		err := c.Control(func(fd uintptr) {
			bindErr = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, iface)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, logBuffer) // less is enough
		})
		return cmp.Or(err, bindErr)
	}}
	conn, err := config.ListenPacket(ctx, "udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(s.port)).String())
	if err != nil {
		return err
	}
	s.conn = conn.(*net.UDPConn)
	return nil
}

// receiveLogs receives what boards log until ctx ends. If a socket fails, the rest of the
// daemon runs on.
func (d *daemon) receiveLogs(ctx context.Context, g *errgroup.Group) {
	r := &boardlog.Receiver{Log: d.boardLog, Board: d.boardAt}
	for _, s := range d.logSockets {
		g.Go(func() error {
			if err := r.Serve(ctx, s.conn, s.format); err != nil {
				d.log.Error("logs of boards are no longer received", "component", "boardlog", "err", err)
			}
			return nil
		})
	}
}

// journals returns what receives the logs that workers send; nil if none are wanted.
func (d *daemon) journals() func(worker string, lines []transcode.LogLine) {
	if !d.cfg.Logs.Journal {
		return nil
	}
	return func(worker string, lines []transcode.LogLine) {
		serial, err := pi.ParseSerial(worker)
		if err != nil {
			return // another machine, which was not asked
		}
		now := time.Now()
		var converted []boardlog.Line
		for _, line := range lines {
			age := time.Duration(min(max(line.AgeMS, 0), maxAge.Milliseconds())) * time.Millisecond
			converted = append(converted, boardlog.Line{At: now.Add(-age), Source: boardlog.Journal, Severity: line.Severity, Program: line.Program, Text: line.Text})
		}
		d.boardLog.Add(serial.String(), converted...)
	}
}

// maxAge bounds how long ago a board may say that it has logged a line.
const maxAge = 365 * 24 * time.Hour

// boardAt returns the key of the logs of the board that is registered with an address.
func (d *daemon) boardAt(addr netip.Addr) (string, bool) {
	board, ok := d.state.registry.ByIP(addr)
	return board.Serial.String(), ok
}

// netconsole is where the kernels of boards are to send their log; nil: nowhere.
func (d *daemon) netconsole() *boot.Netconsole {
	if d.cfg.Logs.Netconsole == "" || d.cfg.Logs.NetconsolePort == 0 {
		return nil
	}
	return &boot.Netconsole{Device: d.cfg.Logs.Netconsole, Port: d.cfg.Logs.NetconsolePort, Network: d.network, MAC: func() pi.MAC { return macOf(d.cfg.Interface) }}
}

// macOf returns the Ethernet address of an interface, which that of a bridge can change;
// zero if it has none.
func macOf(iface string) pi.MAC {
	card, err := net.InterfaceByName(iface)
	if err != nil {
		return pi.MAC{}
	}
	mac, err := pi.ParseMAC(card.HardwareAddr.String())
	if err != nil {
		return pi.MAC{}
	}
	return mac
}
