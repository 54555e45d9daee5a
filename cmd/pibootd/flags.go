package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/config"
	"pibootd/pkg/web"
)

const (
	envStateDir = "PIBOOTD_STATE_DIR"
	envSocket   = "PIBOOTD_SOCKET"

	envServer      = "PIBOOTD_SERVER"
	envTokenFile   = "PIBOOTD_TOKEN_FILE"
	envFingerprint = "PIBOOTD_FINGERPRINT"
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
	return append(append(more, serverFlags()...),
		jsonFlag(),
		stateDirFlag(),
		&cli.StringFlag{Name: "socket", Usage: "connect to the daemon's control `SOCKET`", DefaultText: "pibootd.sock in the state directory", EnvVars: []string{envSocket}},
	)
}

// serverFlags are the flags about a daemon on another machine. They may also stand
// before the command.
func serverFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "server", Usage: "connect to the daemon at this `URL` on another machine, such as https://10.0.0.1:8443", EnvVars: []string{envServer}},
		&cli.StringFlag{Name: "token-file", Usage: "log in there with the token in this `FILE`; pibootd token add on the NAS makes one", EnvVars: []string{envTokenFile}},
		&cli.StringFlag{Name: "fingerprint", Usage: "accept only the certificate with this `SHA256`; pibootd admin-link on the NAS shows it", EnvVars: []string{envFingerprint}},
	}
}

// isRemote reports whether the flags name a daemon on another machine. A socket that
// is named on the command line is preferred to a server of the environment.
func isRemote(c *cli.Context) bool {
	return c.String("server") != "" && c.String("socket") == ""
}

// errHere is the error of a command that works on this machine alone.
func errHere(c *cli.Context) error {
	return hintedError{fmt.Errorf("%s works only on the machine whose files it uses", strings.TrimPrefix(c.Command.HelpName, c.App.Name+" ")), "log in to the NAS and run it there, without --server and " + envServer}
}

// onlyHere refuses to do here what other commands do on another machine, as the
// environment says.
func onlyHere(c *cli.Context) error {
	if os.Getenv(envServer) == "" {
		return nil
	}
	return errHere(c)
}

// isAboutServer reports whether err is about a flag of serverFlags that a command does
// not have.
func isAboutServer(err error) bool {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	return unknown && slices.ContainsFunc(serverFlags(), func(f cli.Flag) bool { return f.Names()[0] == name })
}

// client returns a client of the daemon that the flags name. What is wrong with them
// is the error of its first request.
func client(c *cli.Context) *web.Client {
	if isRemote(c) {
		return web.NewRemoteClient(web.Remote{URL: c.String("server"), TokenFile: c.String("token-file"), Fingerprint: c.String("fingerprint")})
	}
	cfg := config.Config{StateDir: c.String("state-dir"), Socket: c.String("socket")}
	return web.NewClient(cfg.SocketFile())
}

// errDaemonGone ends a command that follows the daemon when the daemon ends.
var errDaemonGone = errors.New("the daemon has ended or was restarted")

// isNotRunning reports whether err means that there is no daemon to ask.
func isNotRunning(err error) bool { return errors.Is(err, web.ErrNotRunning) }
