package main

import (
	"errors"
	"github.com/urfave/cli/v2"

	"pibootd/pkg/config"
	"pibootd/pkg/web"
)

const (
	envStateDir = "PIBOOTD_STATE_DIR"
	envSocket   = "PIBOOTD_SOCKET"
)

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON, for scripts"}
}

func stateDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "state-dir", Usage: "`DIR` with all that pibootd keeps", Value: config.Default().StateDir, EnvVars: []string{envStateDir}}
}

// daemonFlags are those of every command that speaks to the daemon.
func daemonFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		jsonFlag(),
		stateDirFlag(),
		&cli.StringFlag{Name: "socket", Usage: "control `SOCKET` of the daemon (default: pibootd.sock in the state directory)", EnvVars: []string{envSocket}},
	)
}

// client returns a client of the daemon that the flags name.
func client(c *cli.Context) *web.Client {
	cfg := config.Config{StateDir: c.String("state-dir"), Socket: c.String("socket")}
	return web.NewClient(cfg.SocketFile())
}

// errDaemonGone ends a command that shows what a daemon does when that ends.
var errDaemonGone = errors.New("pibootd has ended, or was restarted")

// isNotRunning reports whether err means that there is no daemon to ask.
func isNotRunning(err error) bool { return errors.Is(err, web.ErrNotRunning) }
