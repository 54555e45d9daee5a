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
	return &cli.BoolFlag{Name: "json", Usage: "print JSON"}
}

func stateDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "state-dir", Usage: "use the state directory `DIR`", Value: config.Default().StateDir, EnvVars: []string{envStateDir}}
}

// daemonFlags returns more with the flags of every command that connects to the
// daemon.
func daemonFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		jsonFlag(),
		stateDirFlag(),
		&cli.StringFlag{Name: "socket", Usage: "connect to the daemon's control `SOCKET`", DefaultText: "pibootd.sock in the state directory", EnvVars: []string{envSocket}},
	)
}

// client returns a client of the daemon that the flags name.
func client(c *cli.Context) *web.Client {
	cfg := config.Config{StateDir: c.String("state-dir"), Socket: c.String("socket")}
	return web.NewClient(cfg.SocketFile())
}

// errDaemonGone ends a command that follows the daemon when the daemon ends.
var errDaemonGone = errors.New("the daemon has ended or was restarted")

// isNotRunning reports whether err means that there is no daemon to ask.
func isNotRunning(err error) bool { return errors.Is(err, web.ErrNotRunning) }
