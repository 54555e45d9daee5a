package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/doctor"
	"pibootd/pkg/timeline"
)

func doctorCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "say in words what is wrong: network, other DHCP servers, disks, exports, boards",
		ArgsUsage: "[PI...] (all if none is named)",
		Flags: daemonFlags(
			&cli.StringFlag{Name: "interface", Aliases: []string{"i"}, Usage: "network `INTERFACE` to look at while no daemon runs"},
			&cli.StringFlag{Name: "config", Usage: "configuration `FILE` to look at while no daemon runs"},
		),
		Action: func(c *cli.Context) error { return examine(c, std) },
	}
}

func examine(c *cli.Context, std streams) error {
	m := meter{w: std.err, terminal: std.terminal}
	if std.terminal {
		m.update("looking around, which takes some seconds", 0, 0, meterNote{})
	}
	found, err := client(c).Examine(c.Context, c.Args().Slice())
	m.clear()
	if isNotRunning(err) {
		found, err = examineWithoutDaemon(c), nil
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = printJSON(std.out, found)
	} else {
		err = printFindings(std.out, found)
	}
	problems := 0
	for _, f := range found {
		if f.Level == doctor.Problem {
			problems++
		}
	}
	if problems > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d findings are problems", problems, len(found)))
	}
	return err
}

// printFindings prints a finding as one line, and what to do below it.
func printFindings(w io.Writer, found []doctor.Finding) error {
	width := 0
	for _, f := range found {
		width = max(width, len(f.Subject))
	}
	var out strings.Builder
	for _, f := range found {
		fmt.Fprintf(&out, "%-8s %-*s  %s\n", f.Level, width, f.Subject, f.Text)
		if f.Todo != "" {
			fmt.Fprintf(&out, "%-8s %-*s  -> %s\n", "", width, "", f.Todo)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// examineWithoutDaemon looks at what would keep a daemon from starting.
func examineWithoutDaemon(c *cli.Context) []doctor.Finding {
	found := []doctor.Finding{{
		Subject: "daemon", Level: doctor.Problem, Text: "no pibootd answers on " + config.Config{StateDir: c.String("state-dir"), Socket: c.String("socket")}.SocketFile(),
		Todo: "pibootd serve --interface eth0, or systemctl start pibootd; its log says why it ended",
	}}
	if os.Geteuid() != 0 {
		return append(found, doctor.Finding{Subject: "rights", Level: doctor.Problem, Text: "you are not root, so the rest cannot be looked at", Todo: "sudo pibootd doctor"})
	}
	cfg, err := serveConfig(c)
	if err != nil {
		return append(found, failing("configuration", err, "name the interface: pibootd doctor --interface eth0"))
	}
	found = append(found, doctor.Finding{Subject: "configuration", Level: doctor.OK, Text: "it can be read"})
	return append(found, tryStart(c.Context, cfg)...)
}

// tryStart does what serve begins with, and undoes it.
func tryStart(ctx context.Context, cfg config.Config) []doctor.Finding {
	network, err := interfaceAddr(cfg.Interface)
	if err != nil {
		return []doctor.Finding{failing("network", err, "")}
	}
	found := []doctor.Finding{{Subject: "network", Level: doctor.OK, Text: fmt.Sprintf("interface %s has %s", cfg.Interface, network)}}
	if cfg.NFS.Driver, err = chooseDriver(ctx, cfg, network.Addr(), slog.New(slog.DiscardHandler)); err != nil {
		return append(found, failing("nfs", err, ""))
	}
	dir, err := os.MkdirTemp("", "pibootd")
	if err != nil {
		return append(found, failing("ports", err, ""))
	}
	defer os.RemoveAll(dir)
	cfg.Socket = filepath.Join(dir, "sock") // the real one is the daemon's to make
	socks, err := listen(ctx, cfg, network.Addr())
	if err != nil {
		return append(found, failing("ports", err, ""))
	}
	if err := socks.close(); err != nil {
		return append(found, failing("ports", err, ""))
	}
	return append(found, doctor.Finding{Subject: "ports", Level: doctor.OK, Text: "all that serve needs are free"})
}

// failing is a problem, with the error's own hint if it has one.
func failing(subject string, err error, todo string) doctor.Finding {
	if hinted := (hintedError{}); errors.As(err, &hinted) {
		todo = hinted.hint
	}
	return doctor.Finding{Subject: subject, Level: doctor.Problem, Text: err.Error(), Todo: todo}
}

// portsOf lists what listen and startQueue bind.
func portsOf(cfg config.Config) string {
	out := []string{fmt.Sprintf("dhcp %d", cfg.DHCP.Port)}
	add := func(service string, port int) { out = append(out, fmt.Sprintf("%s %d", service, port)) }
	if cfg.DHCP.Mode == config.Proxy {
		add("pxe", pxePort)
	}
	add("tftp", cfg.TFTP.Port)
	if cfg.NFS.Driver != config.Kernel {
		add("nfs", cfg.NFS.Port)
		if cfg.NFS.PortmapPort != 0 {
			add("portmap", cfg.NFS.PortmapPort)
		}
	}
	add("queue", cfg.Queue.Port)
	add("http", cfg.HTTP.Port)
	return strings.Join(out, ", ")
}

// lookForRivals notes once after the start who else answers DHCP.
func (d *daemon) lookForRivals(ctx context.Context) {
	rivals, err := d.web.Doctor.Rivals(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("other DHCP servers could not be looked for", "component", "dhcp", "err", err)
		}
		return
	}
	for _, r := range rivals {
		d.noteRival(r)
	}
}

func (d *daemon) noteRival(r dhcp.Rival) {
	f := d.web.Doctor.Judge(r)
	level := slog.LevelInfo
	if f.Level != doctor.OK {
		level = slog.LevelWarn
	}
	d.log.Log(context.Background(), level, "another DHCP server answers", "component", "dhcp", "addr", r.Addr, "detail", f.Text, "todo", f.Todo)
	d.state.timeline.Record(timeline.Event{At: time.Now(), Board: r.MAC.String(), Kind: timeline.Rival, MAC: r.MAC, Addr: r.Addr, Detail: f.Text})
}
